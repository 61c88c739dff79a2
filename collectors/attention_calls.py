"""Which attention implementation ran, call by call, from the ops inside each attention label.

What PyTorch is asked for is not always what runs: flash attention refuses masks and large heads,
and another implementation takes those calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tracekit.labels import AttentionLabel, parse_attention, parse_stage

WRITTEN_OUT: Final = "written_out"
"""Attention as a matrix product, a softmax and a matrix product."""

_BACKENDS: Final = (
    (re.compile(r"aten::_scaled_dot_product_(flash|efficient|cudnn|fused)_attention"), None),
    (re.compile(r"aten::_scaled_dot_product_attention_(math)"), None),
    (re.compile(r"aten::_(flash|efficient|cudnn)_attention_forward"), None),
    (re.compile(r"xformers\w*::"), "xformers"),
    (re.compile(r"_?flash_attn\w*::"), "flash_attn"),
    (re.compile(r"_?sage_?attention\w*::"), "sage"),
    (re.compile(r"(?:\w+::)?flex_attention"), "flex"),
)
"""Ops of each implementation, with its name where the op does not hold it."""
_PRODUCTS: Final = ("aten::bmm", "aten::baddbmm")
_SOFTMAX: Final = re.compile(r"aten::_?(?:safe_|masked_)?softmax$")
_LABELS: Final = ("tk1|attn|", "tk1|stage|")


@dataclass(slots=True)
class _Op:
    """An event that matters here; `backend` is null for products and softmaxes."""

    name: str
    thread: int
    start_ns: int
    end_ns: int
    shapes: Callable[[], Any]
    backend: str | None = None


@dataclass(slots=True)
class _Call:
    """A labelled call, and the ops of it that lie in no other attention op."""

    label: AttentionLabel
    stage: str | None
    ops: list[_Op] = field(default_factory=list)


def attention_calls(profiler: Any) -> list[dict[str, Any]] | None:
    """Return the labelled attention calls that a stopped profiler has recorded, equal ones once.

    Each has stage, module, backend, calls, query_length, key_length and head_size; unknown is null.
    Where the calls differ by key length alone, as in decoding, `key_lengths` has the least and the
    largest. Several backends in one call are joined with a plus. The whole is null where this
    version of PyTorch does not tell its events.
    """
    try:
        ops = _relevant(profiler.profiler.kineto_results.events())
        return _grouped(_calls(ops))
    except (AttributeError, TypeError):
        return None


def backend_of(name: str) -> str | None:
    """Return the attention implementation that an op belongs to, null for any other op."""
    for pattern, backend in _BACKENDS:
        if match := pattern.match(name):
            return backend or match[1]
    return None


def _relevant(events: Sequence[Any]) -> list[_Op]:
    """Return labels, attention ops, products and softmaxes, outer ones first on each thread."""
    kinds: dict[str, tuple[bool, str | None]] = {}
    found = []
    for event in events:
        name = event.name()
        if name not in kinds:
            backend = backend_of(name)
            is_part = name in _PRODUCTS or _SOFTMAX.match(name) is not None
            kinds[name] = (is_part or backend is not None or name.startswith(_LABELS), backend)
        is_relevant, backend = kinds[name]
        if is_relevant and "CPU" in str(event.device_type()):
            start_ns = event.start_ns()
            end_ns = start_ns + event.duration_ns()
            thread = event.start_thread_id()
            found.append(_Op(name, thread, start_ns, end_ns, event.shapes, backend))
    return sorted(found, key=lambda op: (op.thread, op.start_ns, -op.end_ns))


def _calls(ops: Sequence[_Op]) -> Iterator[_Call]:
    """Return each labelled call with its ops, in the order of their starts on a thread."""
    around: list[tuple[_Op, str | _Call | None]] = []
    """What is open: stages, calls, and attention ops, which hide what is in them."""
    for op in ops:
        while around and (around[-1][0].thread != op.thread or around[-1][0].end_ns <= op.start_ns):
            around.pop()
        what = around[-1][1] if around else ""
        if stage := parse_stage(op.name):
            around.append((op, stage[0]))
        elif label := parse_attention(op.name):
            stages = [entry for _, entry in around if isinstance(entry, str)]
            call = _Call(label, stages[-1] if stages else None)
            around.append((op, call))
            yield call
        elif isinstance(what, _Call):
            what.ops.append(op)
            if op.backend is not None:
                around.append((op, None))


def _grouped(calls: Iterator[_Call]) -> list[dict[str, Any]]:
    groups: dict[tuple[Any, ...], list[int | None]] = {}
    # A call's ops are complete only when the sweep is over.
    for call in list(calls):
        backend, head_size = _what_ran(call.ops)
        label = call.label
        key = (call.stage, label.path, backend, label.query_length, head_size)
        groups.setdefault(key, []).append(label.key_length)
    return [_entry(key, lengths) for key, lengths in groups.items()]


def _entry(key: tuple[Any, ...], lengths: list[int | None]) -> dict[str, Any]:
    stage, module, backend, query_length, head_size = key
    known = [length for length in lengths if length is not None]
    are_equal = len(set(lengths)) == 1
    entry = {
        "stage": stage,
        "module": module,
        "backend": backend,
        "calls": len(lengths),
        "query_length": query_length,
        "key_length": lengths[0] if are_equal else None,
        "head_size": head_size,
    }
    if not are_equal:
        entry["key_lengths"] = [min(known), max(known)]
    return entry


def _what_ran(ops: Sequence[_Op]) -> tuple[str | None, int | None]:
    """Return the backend of a call and the size of its heads."""
    fused = [op for op in ops if op.backend is not None]
    if fused:
        names = dict.fromkeys(op.backend or "" for op in fused)
        return "+".join(names), _last_size(fused[0], 0)
    scores: _Op | None = None
    softmax = False
    for op in ops:
        if op.name not in _PRODUCTS:
            softmax = scores is not None
        elif softmax and scores is not None:
            return WRITTEN_OUT, _last_size(scores, _PRODUCTS.index(scores.name))
        else:
            scores = op
    return None, None


def _last_size(op: _Op, argument: int) -> int | None:
    """Return the last size of one of an op's tensors, null without shapes."""
    shapes = op.shapes()
    if not shapes or len(shapes) <= argument:
        return None
    shape = shapes[argument]
    is_shape = bool(shape) and all(isinstance(size, int) for size in shape)
    return int(shape[-1]) if is_shape else None
