"""What every model shares: options checked, weights made or loaded, attention set, configuration.

Random weights are made where they will stay, on the device and in its dtype, by the libraries'
own initialisation: on a GPU seven billion take less than a second and never pass through the
host. Time does not depend on their values. On the `meta` device a model has its configuration and
its number of parameters and takes no memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from diffusers.models.attention_processor import (
    Attention,
    AttnAddedKVProcessor,
    AttnAddedKVProcessor2_0,
    AttnProcessor,
    AttnProcessor2_0,
)
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from tracekit.collectors.workload import ModelOptions
from tracekit.errors import HostError, InputError, UsageError

DTYPES: Final = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
}
WRITTEN_OUT: Final = "tracekit_eager"
"""Our name, in transformers, of attention as matmul, softmax, matmul in the model's dtype."""

_COUNTS = ("batch", "size", "frames", "steps", "prompt_tokens", "new_tokens", "trace_steps")


def check(options: ModelOptions, model: str, ignores: Sequence[str] = ()) -> None:
    """Refuse options that the model has no use for (`ignores`), and counts below 1."""
    for name in _COUNTS:
        value, flag = getattr(options, name), "--" + name.replace("_", "-")
        if value is not None and name in ignores:
            raise UsageError(f"{model} has no use for {flag}")
        if value is not None and value < 1:
            raise UsageError(f"{flag} {value}: it must be at least 1")
    if options.dtype not in DTYPES:
        raise UsageError(f"--dtype {options.dtype}: it must be one of {', '.join(DTYPES)}")
    if options.tiny and options.weights is not None:
        raise UsageError("--tiny has random weights: leave out either it or --weights")


def check_size(size: int, multiple: int = 8) -> None:
    """Refuse an image side, in pixels, that is no multiple of what the model divides it by."""
    if size % multiple:
        raise UsageError(f"--size {size}: it must be a multiple of {multiple}")


def check_frames(frames: int, multiple: int = 1) -> None:
    """Refuse a video's length that is not one frame more than a multiple of what is compressed."""
    if (frames - 1) % multiple:
        raise UsageError(f"--frames {frames}: it must be one more than a multiple of {multiple}")


def device_of(options: ModelOptions) -> torch.device:
    """Return the device asked for, or raise: unknown to torch, or not in this machine."""
    try:
        device = torch.device(options.device)
    except RuntimeError as error:
        raise UsageError(f"--device {options.device}: torch knows no such device") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise HostError("torch finds no GPU here: try --device cpu --tiny")
    return device


@contextmanager
def making(options: ModelOptions) -> Iterator[None]:
    """Make modules and tensors on the device, in the dtype and from the seed, inside the context.

    The caller's default dtype and random states are as before when it ends.
    """
    device = device_of(options)
    cards = [device] if device.type == "cuda" else []
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=cards), device:
        torch.manual_seed(options.seed)
        torch.set_default_dtype(DTYPES[options.dtype])
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def make_diffusers(kind: Any, config: Mapping[str, Any], options: ModelOptions, part: str) -> Any:
    """Return a diffusers model: of this configuration, or the `part` of `options.weights`.

    `kind` is a class of diffusers. A folder of weights has its own configuration.
    """
    if options.weights is None:
        with making(options):
            model = kind(**config)
    else:
        model = _load(kind, _part_folder(options.weights, part), torch_dtype=DTYPES[options.dtype])
    model = model.to(device_of(options)).eval().requires_grad_(False)
    written_out = options.attention == "eager"
    for module in model.modules():
        if isinstance(module, Attention):
            if written_out:
                module.upcast_attention = module.upcast_softmax = False
            module.set_processor(_processor(module, written_out))
    return model


def _processor(module: Attention, written_out: bool) -> Any:
    """Return the processor of the module's kind: some add a text's keys and values to their own."""
    if "AddedKV" in type(module.processor).__name__:
        return AttnAddedKVProcessor() if written_out else AttnAddedKVProcessor2_0()
    return AttnProcessor() if written_out else AttnProcessor2_0()


def make_transformers(kind: Any, config: Any, options: ModelOptions, part: str = "") -> Any:
    """Return a transformers model: of this configuration, or the `part` of `options.weights`.

    `kind` is a model class of transformers and `config` an object of its configuration class.
    """
    attention = WRITTEN_OUT if options.attention == "eager" else "sdpa"
    if options.weights is None:
        config._attn_implementation = attention
        with making(options):
            model = kind(config)
        as_loaded(model, DTYPES[options.dtype])
    else:
        folder = _part_folder(options.weights, part)
        model = _load(kind, folder, dtype=DTYPES[options.dtype], attn_implementation=attention)
    return model.to(device_of(options)).eval().requires_grad_(False)


def kept_in_float32(model: Any, dtype: torch.dtype) -> set[str]:
    """Return names in the paths of parameters that stay in float32 when a model is of this dtype.

    Its class names them. diffusers keeps them whatever the dtype is; transformers only because of
    the range of float16, but for those that it calls strict.
    """
    loose = set(getattr(model, "_keep_in_fp32_modules", None) or ())
    strict = set(getattr(model, "_keep_in_fp32_modules_strict", None) or ())
    if isinstance(model, PreTrainedModel) and dtype != torch.float16:
        loose = set()
    return loose | strict


def as_loaded(model: Any, dtype: torch.dtype) -> None:
    """Give what is stored of a new model the dtypes that it would have, had it been loaded."""
    kept = kept_in_float32(model, dtype)
    for name, tensor in model.state_dict(keep_vars=True).items():
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.float32 if kept & set(name.split(".")) else dtype)


def _part_folder(weights: str, part: str) -> Path:
    folder = Path(weights)
    if not folder.is_dir():
        raise InputError(f"{weights}: no such folder; give one that save_pretrained has written")
    if not (folder / part).is_dir():
        raise InputError(f"{weights}: holds no folder {part}; give a whole pipeline's folder")
    return folder / part


def _load(kind: Any, folder: Path, **settings: Any) -> Any:
    try:
        return kind.from_pretrained(str(folder), local_files_only=True, **settings)
    except (OSError, ValueError) as error:
        line = str(error).strip().splitlines()[0]
        raise InputError(f"{folder}: cannot be loaded as {kind.__name__}: {line}") from error


def _written_out(
    module: torch.nn.Module, query: Any, key: Any, value: Any, attention_mask: Any, **more: Any
) -> tuple[Any, None]:
    """Attention of one layer, softmax in the dtype of the scores; transformers' own is float32."""
    groups = getattr(module, "num_key_value_groups", 1)
    if groups > 1:
        key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
    scaling = more.get("scaling")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query, key.transpose(-1, -2)) * scale
    # T5 gives the bias of relative positions apart from the mask.
    for added in (more.get("position_bias"), attention_mask):
        if added is not None:
            scores = scores + added
    output = torch.matmul(scores.softmax(dim=-1), value)
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register(WRITTEN_OUT, _written_out)
AttentionMaskInterface.register(WRITTEN_OUT, eager_mask)


def spread(total: int, count: int | None) -> tuple[int, ...]:
    """Return `count` of the steps 0 … total-1, the first, the last and others evenly between.

    A single one is the middle, so that the mean of a cost that grows evenly is kept. All of them
    when `count` is null or no smaller than `total`.
    """
    if count is None or count >= total:
        return tuple(range(total))
    if count == 1:
        return ((total - 1) // 2,)
    return tuple(round(i * (total - 1) / (count - 1)) for i in range(count))


def describe(
    parts: Mapping[str, Any],
    inputs: Mapping[str, Any],
    options: ModelOptions,
    assumed: Sequence[str],
) -> dict[str, Any]:
    """Return the full configuration as JSON: of each part, the inputs, weights, parameters.

    `assumed` names the dimensions that no source gives.
    """
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    config = {name: part.config for name, part in parts.items()}
    whole = {
        **{n: c.to_dict() if hasattr(c, "to_dict") else dict(c) for n, c in config.items()},
        "inputs": dict(inputs),
        "weights": options.weights or "random",
        "parameters": {**counts, "total": sum(counts.values())},
        "assumed": list(assumed),
    }
    result: dict[str, Any] = json.loads(json.dumps(whole, default=str))
    return result
