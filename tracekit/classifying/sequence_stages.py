"""Stages of a run that nothing marks, from the sequence of its work: loops, and what is beside."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tracekit.classifying.loop_choice import runs_of, split_by_size
from tracekit.classifying.run_sequence import LOOK_UP, SAMPLE, TIME, RunSequence
from tracekit.linking.link import PHASES
from tracekit.linking.repetition import Loop, likeness, repeated_share
from tracekit.trace import NULL, BoolArray, IntArray

_BACKWARD: Final = PHASES.index("backward")
_TRAINS: Final = 0.1
"""Share of backward work from which on a loop is training."""
_LEAST_CONVS: Final = 8
_LEAST_CALLS: Final = 2
_VAE_LINEARS, _VAE_CALLS = 4, 1
"""Layers and attention calls of a decoder of images: those of its one attention block."""
_LEAST_WORK: Final = 8
"""Layers from which on work without any loop is a stage."""
_LEAST_REPEATED: Final = 0.6
_SAME: Final = 0.9
_ENCODER_PASSES: Final = 3
"""Passes up to which a loop before others encodes prompts, one after another."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the sequence that is one stage; `starts` are those of its steps, if it has any."""

    name: str
    first: int
    end: int
    starts: IntArray | None = None


def sequence_parts(sequence: RunSequence) -> list[Part]:
    """Return the stages that a sequence shows, in order.

    What belongs to none (preparations, the scheduler's first work) is left out. The name of a
    stage that a run has several of is numbered from the second on.
    """
    parts: list[Part] = []
    for first, end, loops in runs_of(sequence):
        loops = [loop for loop in loops if not _encodes(sequence, loop, (first, end))]
        pieces = [piece for loop in loops for piece in split_by_size(sequence, loop)]
        parts.extend(_numbered(sequence, _run_parts(sequence, (first, end), pieces)))
    return parts


def _run_parts(sequence: RunSequence, span: tuple[int, int], loops: list[Loop]) -> list[Part]:
    if not loops:
        return _without_loop(sequence, *span)
    found: list[Part] = []
    names = _loop_names(sequence, loops)
    before = span[0]
    for at, (loop, name) in enumerate(zip(loops, names, strict=True)):
        following = names[at] if len(loop) > 1 else None
        found.extend(_beside(sequence, (before, loop.start), is_first=at == 0, then=following))
        starts = None if name == "prefill" else loop.starts
        found.append(Part(name, loop.start, loop.end, starts))
        before = loop.end
    found.extend(_beside(sequence, (before, span[1]), is_first=False, then=None))
    return found


def _loop_names(sequence: RunSequence, loops: list[Loop]) -> list[str]:
    names = [_loop_name(sequence, loop) for loop in loops]
    for at, loop in enumerate(loops):
        following = names[at + 1] if at + 1 < len(loops) else None
        if following == "decode" and len(loop) == 1:
            names[at] = "prefill"
        elif names[at] == "denoise" and "denoise" in names[:at] and _is_unet(sequence, loop):
            names[at] = "super_resolution"
    return names


def _encodes(sequence: RunSequence, loop: Loop, span: tuple[int, int]) -> bool:
    """Say whether a loop is a few prompts being encoded, before most of a run."""
    return (
        len(loop) <= _ENCODER_PASSES
        and loop.end - span[0] < (span[1] - span[0]) / 2
        and _loop_name(sequence, loop) in ("decode", "parallel_decode")
        and not (sequence.rare[loop.start : loop.end] == SAMPLE).any()
    )


def _loop_name(sequence: RunSequence, loop: Loop) -> str:
    inside = slice(loop.start, loop.end)
    if (sequence.phase[inside] == _BACKWARD).mean() >= _TRAINS:
        return "train"
    rare = sequence.rare[inside]
    looks_up = np.count_nonzero(rare == LOOK_UP) >= len(loop)
    if not looks_up or _is_unet(sequence, loop):
        return "denoise"
    return "parallel_decode" if _queries_many(sequence, inside) else "decode"


def _is_unet(sequence: RunSequence, loop: Loop) -> bool:
    return bool(np.count_nonzero(sequence.is_conv[loop.start : loop.end]) >= 8 * len(loop))


def _queries_many(sequence: RunSequence, inside: slice) -> bool:
    """Say whether attention asks for many tokens a sequence; what is not known is for one."""
    queries = sequence.queries[inside]
    causal = sequence.causal[inside]
    known = queries[queries != NULL]
    if len(known):
        return bool(np.median(known) > 1)
    return bool((causal == 0).any() and not (causal == 1).any())


def _without_loop(sequence: RunSequence, first: int, end: int) -> list[Part]:
    """Return the one stage of work without a loop, or those of a run of one step."""
    inside = slice(first, end)
    works = _works(sequence, inside)
    if np.count_nonzero(works) < _LEAST_WORK:
        return []
    if (sequence.phase[inside] == _BACKWARD).any():
        return [Part("train", first, end)]
    parts = _of_one_step(sequence, first, end)
    if parts:
        return parts
    name = "forward"
    if (sequence.causal[inside] == 1).any() and (sequence.rare[inside] == LOOK_UP).any():
        name = "prefill" if _queries_many(sequence, inside) else "decode"
    return [Part(name, first, end)]


def _of_one_step(sequence: RunSequence, first: int, end: int) -> list[Part]:
    """Return text encoder, step and decoder where a run has one step, else nothing."""
    time = np.flatnonzero(sequence.rare[first:end] == TIME) + first
    calls = np.cumsum(sequence.attends[first:end])
    looks_up = np.flatnonzero(sequence.rare[first:end] == LOOK_UP) + first
    told = [at for at in time.tolist() if calls[at - first] >= _LEAST_CALLS]
    if not told or not len(looks_up) or looks_up[0] > told[0]:
        return []
    at = told[0]
    if calls[-1] - calls[at - first] < _LEAST_CALLS or (time < at).any():
        return []
    tail = _decoder_tail(sequence, at, end)
    text = _beside(sequence, (first, at), is_first=True, then="denoise")
    step = Part("denoise", at, tail, np.array([at]))
    return [*text, step, *_beside(sequence, (tail, end), is_first=False, then=None)]


def _decoder_tail(sequence: RunSequence, first: int, end: int) -> int:
    """Return where the longest end begins that convolves and has one attention block at most."""
    linear = np.cumsum(sequence.is_linear[first:end][::-1])
    calls = np.cumsum(sequence.attends[first:end][::-1])
    convs = np.cumsum(sequence.is_conv[first:end][::-1])
    length = int(np.count_nonzero((linear <= _VAE_LINEARS) & (calls <= _VAE_CALLS)))
    if not length or convs[length - 1] < _LEAST_CONVS:
        return end
    return end - length


def _beside(
    sequence: RunSequence, span: tuple[int, int], *, is_first: bool, then: str | None
) -> list[Part]:
    """Return the stages of what stands before, between or after loops.

    Each model that looks up tokens begins a part; what comes before the first layer and after the
    last one of a part belongs to none.
    """
    first, end = span
    cuts = [first, *_text_starts(sequence, first, end), end]
    found = []
    for low, high in zip(cuts[:-1], cuts[1:], strict=True):
        inside = slice(low, high)
        works = np.flatnonzero(_works(sequence, inside))
        if not len(works):
            continue
        name = _name_beside(sequence, inside, is_first=is_first, then=then)
        starts = low if sequence.rare[low] == LOOK_UP else low + int(works[0])
        found.append(Part(name, starts, low + int(works[-1]) + 1))
    return found


def _text_starts(sequence: RunSequence, first: int, end: int) -> list[int]:
    """Return where models begin that look up tokens: after all layers of the one before.

    Relative positions are looked up too, within the first layer.
    """
    looks_up = np.flatnonzero(sequence.rare[first:end] == LOOK_UP) + first
    calls = np.concatenate([[0], np.cumsum(sequence.attends[first:end])])
    found: list[int] = []
    for at in looks_up.tolist():
        if calls[-1] - calls[at - first] < _LEAST_CALLS:
            break
        since = found[-1] if found else at
        has_layers = (
            calls[at - first] - calls[since - first] >= _LEAST_CALLS
            and repeated_share(sequence.codes[since:at]) >= _LEAST_REPEATED
        )
        if not found or has_layers:
            found.append(at)
    return found


def _name_beside(
    sequence: RunSequence, inside: slice, *, is_first: bool, then: str | None
) -> str:
    convs = np.count_nonzero(sequence.is_conv[inside])
    calls = np.count_nonzero(sequence.attends[inside])
    looks_up = (sequence.rare[inside] == LOOK_UP).any()
    if then == "decode" and looks_up and (sequence.causal[inside] == 1).any():
        return "prefill"
    if convs >= _LEAST_CONVS and convs >= calls:
        return "vae_encode" if is_first else "vae_decode"
    if then is not None and looks_up and calls >= _LEAST_CALLS:
        return "text_encoder"
    if then is not None and calls >= _LEAST_CALLS and convs:
        return "image_encoder"
    if then is None:
        return "after"
    return "before" if is_first else "between"


def _works(sequence: RunSequence, inside: slice) -> BoolArray:
    return sequence.is_linear[inside] | sequence.is_conv[inside] | sequence.attends[inside]


def _numbered(sequence: RunSequence, parts: list[Part]) -> list[Part]:
    """Number the names that come again, but for one model that works twice."""
    found = list(parts)
    for name in dict.fromkeys(part.name for part in parts):
        places = [at for at, part in enumerate(parts) if part.name == name]
        for at, number in zip(
            places, _models(sequence, [parts[at] for at in places]), strict=True
        ):
            if number:
                found[at] = replace(parts[at], name=f"{name}_{number + 1}")
    return found


def _models(sequence: RunSequence, parts: list[Part]) -> list[int]:
    """Return the number of the model that each part is the work of.

    Parts of equal work are of one model, unless several come again in one order: two encoders of
    one size, for one prompt and for another.
    """
    kinds: list[int] = []
    for at, part in enumerate(parts):
        same = (kinds[before] for before in range(at) if _is_same(sequence, part, parts[before]))
        kinds.append(next(same, at))
    for period in range(2, len(parts) // 2 + 1):
        if len(set(kinds)) > 1 and kinds[period:] == kinds[:-period]:
            return [at % period for at in range(len(parts))]
    order = {kind: number for number, kind in enumerate(dict.fromkeys(kinds))}
    return [order[kind] for kind in kinds]


def _is_same(sequence: RunSequence, part: Part, other: Part) -> bool:
    """Say whether two parts are the same work, to the size."""
    if part.starts is not None or other.starts is not None:
        return False
    codes = sequence.codes if sequence.exact is None else sequence.exact
    both = np.concatenate([codes[part.first : part.end], codes[other.first : other.end]])
    bounds = np.array([0, part.end - part.first, len(both)])
    return bool(likeness(both, bounds)[0] >= _SAME)
