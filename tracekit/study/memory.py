"""Bytes that attention needs beside its inputs, with the scores written out and without.

Golden et al. (arXiv 2312.14385) add up the scores of all attention of one pass of a UNet, whose
tokens are the positions of a latent, and find them to grow with the fourth power of its side. The
formulas here follow from what the operators are:

* Scores of one call: batch * heads * L * S numbers in the model's dtype, for L queries and S keys.
  With L = S = (side / p)^2 for tokens of p by p pixels, that is the fourth power of the side, with
  the keys of a text the second; along time L = S = frames, in batch * positions sequences.
* Written out, softmax reads one such matrix and writes another: two are there at once.
* Flash Attention writes neither, only the logarithm of each row's sum, in float32:
  4 * batch * heads * L bytes (Dao, *FlashAttention-2*, arXiv 2307.08691, section 3.1, algorithm 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from tracekit.errors import UsageError
from tracekit.memory_results import (
    MEMORY_SCHEMA,
    AttentionMemory,
    AxisMemory,
    Growth,
    MemoryStudy,
    ModelMemory,
)
from tracekit.study.geometry import Call, Denoiser, Layers, Size
from tracekit.study.models import MODELS, find_model

Dtype = Literal["bfloat16", "float16", "float32"]

BYTES_OF: Final[dict[str, int]] = {"bfloat16": 2, "float16": 2, "float32": 4}
COPIES: Final = 2
"""Matrices of scores that written-out attention holds at once: scores, and what softmax makes."""
_LOG_SUM_EXP_BYTES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryOptions:
    """What the model is asked: empty and null take what each model was published with.

    `sizes` are height and width in pixels, `frames` numbers of frames of a video; every size is
    taken with every number of frames. `batch` is the number of images or videos made at once, to
    which guidance adds. `heads` replaces the number of heads of every layer.
    """

    sizes: tuple[tuple[int, int], ...] = ()
    frames: tuple[int, ...] = ()
    batch: int = 1
    prompt_tokens: int | None = None
    heads: int | None = None
    dtype: Dtype = "bfloat16"


def study_memory(names: Sequence[str], options: MemoryOptions) -> MemoryStudy:
    """Return the attention memory of models, each at the sizes and numbers of frames asked for.

    A name is that of a model, `sd3`, or of one with its preset, `sd3:3.5-large`. Without names it
    is every model at its default preset, those of videos alone where frames are asked for.

    Raises
    ------
    UsageError
        There is no such model, or it cannot take a size or a number of frames.
    """
    _refuse(options)
    chosen = [find_model(name) for name in names or _all_names(options)]
    rows: list[ModelMemory] = []
    growth: list[Growth] = []
    for model, preset, denoiser in chosen:
        name = f"{model} {preset}"
        sizes = [_checked(name, denoiser, size, options) for size in _sizes(denoiser, options)]
        found = [_model(model, preset, denoiser, size, options) for size in sizes]
        rows += found
        growth += _growth(found)
    return MemoryStudy(
        schema=MEMORY_SCHEMA,
        batch=options.batch,
        dtype=options.dtype,
        heads=options.heads,
        copies=COPIES,
        models=tuple(rows),
        growth=tuple(growth),
    )


def call_memory(layers: Layers, calls: int, call: Call, dtype: str) -> AttentionMemory:
    """Return what one call of attention holds beside its inputs, in bytes."""
    width = BYTES_OF[dtype]
    rows = call.batch * call.heads * call.query_length
    scores = rows * call.key_length * width
    return AttentionMemory(
        kind=layers.kind,
        axis=layers.axis,
        calls=calls,
        **call._asdict(),
        scores_bytes=scores,
        held_bytes=COPIES * scores,
        log_sum_exp_bytes=rows * _LOG_SUM_EXP_BYTES,
        output_bytes=rows * call.head_size * width,
    )


def _all_names(options: MemoryOptions) -> list[str]:
    return [
        name
        for name, presets in MODELS.items()
        if not options.frames or next(iter(presets.values())).frames is not None
    ]


def _refuse(options: MemoryOptions) -> None:
    counts = {
        "--batch": options.batch,
        "--heads": options.heads,
        "--prompt-tokens": options.prompt_tokens,
    }
    sides = [side for size in options.sizes for side in size]
    asked = [
        *counts.items(),
        *(("--size", side) for side in sides),
        *(("--frames", count) for count in options.frames),
    ]
    for flag, value in asked:
        if value is not None and value < 1:
            raise UsageError(f"{flag} {value}: it must be at least 1")
    if options.dtype not in BYTES_OF:
        raise UsageError(f"--dtype {options.dtype}: it must be one of {', '.join(BYTES_OF)}")


def _sizes(denoiser: Denoiser, options: MemoryOptions) -> Iterator[Size]:
    tokens = options.prompt_tokens
    tokens = denoiser.prompt_tokens if tokens is None else tokens
    for height, width in options.sizes or ((denoiser.height, denoiser.width),):
        for frames in options.frames or (denoiser.frames or 1,):
            yield Size(height, width, frames, tokens)


def _checked(name: str, denoiser: Denoiser, size: Size, options: MemoryOptions) -> Size:
    """Return a size that the model can take, or raise."""
    for side in (size.height, size.width):
        if side % denoiser.multiple:
            raise UsageError(f"--size {side}: {name} takes multiples of {denoiser.multiple} pixels")
    if denoiser.frames is None:
        if options.frames:
            raise UsageError(f"--frames {size.frames}: {name} makes images; leave it out")
    elif (size.frames - 1) % denoiser.frame_multiple:
        raise UsageError(
            f"--frames {size.frames}: {name} takes one more than a multiple of "
            f"{denoiser.frame_multiple}"
        )
    return size


def _model(
    model: str, preset: str, denoiser: Denoiser, size: Size, options: MemoryOptions
) -> ModelMemory:
    attention = [
        call_memory(
            layers,
            calls,
            call if options.heads is None else call._replace(heads=options.heads),
            options.dtype,
        )
        for layers, calls, call in denoiser.calls(size, options.batch)
    ]
    attention.sort(key=lambda row: -row.scores_bytes)
    return ModelMemory(
        model=model,
        preset=preset,
        architecture=denoiser.architecture,
        height=size.height,
        width=size.width,
        frames=None if denoiser.frames is None else size.frames,
        prompt_tokens=size.prompt_tokens,
        tokens=max(row.query_length for row in attention),
        calls=sum(row.calls for row in attention),
        held_bytes=max(row.held_bytes for row in attention),
        step_bytes=sum(row.calls * row.scores_bytes for row in attention),
        flash_held_bytes=max(row.log_sum_exp_bytes for row in attention),
        flash_step_bytes=sum(row.calls * row.log_sum_exp_bytes for row in attention),
        by_axis=_by_axis(attention),
        attention=tuple(attention),
    )


def _by_axis(attention: Sequence[AttentionMemory]) -> tuple[AxisMemory, ...]:
    rows = []
    for axis in dict.fromkeys(row.axis for row in attention):
        along = [row for row in attention if row.axis == axis]
        rows.append(
            AxisMemory(
                axis=axis,
                calls=sum(row.calls for row in along),
                held_bytes=max(row.held_bytes for row in along),
                step_bytes=sum(row.calls * row.scores_bytes for row in along),
            )
        )
    return tuple(sorted(rows, key=lambda row: -row.step_bytes))


def _growth(rows: Sequence[ModelMemory]) -> Iterator[Growth]:
    """Yield how one model grows with its side at each number of frames, then the other way."""
    for along in ("side", "frames"):
        groups: dict[object, list[tuple[float, ModelMemory]]] = {}
        for row in rows:
            side = math.sqrt(row.height * row.width)
            if along == "side":
                # Only images of one shape differ in nothing but their side.
                shape = math.gcd(row.height, row.width)
                fixed: object = (row.height // shape, row.width // shape, row.frames)
                groups.setdefault(fixed, []).append((side, row))
            elif row.frames is not None:
                groups.setdefault((row.height, row.width), []).append((row.frames, row))
        for group in groups.values():
            ordered = sorted(group, key=lambda one: one[0])
            for (start, first), (stop, last) in pairwise(ordered):
                if stop > start:
                    yield _grown(along, (start, first), (stop, last))


def _grown(
    along: Literal["side", "frames"],
    first: tuple[float, ModelMemory],
    last: tuple[float, ModelMemory],
) -> Growth:
    (start, smaller), (stop, larger) = first, last
    ratio = math.log(stop / start)
    grown = {row.axis: row.step_bytes for row in larger.by_axis}

    def exponent(before: int, after: int) -> float:
        return math.log(after / before) / ratio

    return Growth(
        model=smaller.model,
        preset=smaller.preset,
        along=along,
        start=start,
        stop=stop,
        held_exponent=exponent(smaller.held_bytes, larger.held_bytes),
        step_exponent=exponent(smaller.step_bytes, larger.step_bytes),
        flash_held_exponent=exponent(smaller.flash_held_bytes, larger.flash_held_bytes),
        step_exponent_by_axis={
            row.axis: exponent(row.step_bytes, grown[row.axis]) for row in smaller.by_axis
        },
    )
