"""Hold attention calls against labels: ``python -m benchmarks.attention_lengths TRACE…``.

The labels of collectors are taken out of each trace, its attention calls found from the shapes of
ops alone, and their lengths and heads, kinds and axes compared with what the label around each
call says. A label tells what a module is given; where that is not what its operator is given, the
softmax or fused op inside the module tells who is right. Writes the table into
``docs/attention.md``.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

import tracekit
from benchmarks.accuracy import split_name
from benchmarks.measuring import run_comparison
from benchmarks.tools import CHECKOUT
from tracekit.analysis.call_table import call_table
from tracekit.analysis.withholding import without_labels
from tracekit.errors import TracekitError
from tracekit.labels import AttentionLabel, parse_attention
from tracekit.linking.nesting import Forest, build_forest
from tracekit.trace import NO_TEXT, NULL, Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracekit.classifying.table import KernelTable
    from tracekit.trace import IntArray

MARKER: Final = "lengths"
_DOCS: Final = CHECKOUT / "docs" / "attention.md"
_MOST_MORE: Final = 8

EQUAL, MORE, FEWER, OTHER, MISSING = "equal", "more", "fewer", "other", "missing"
"""How a call and its label compare: alike; the call has up to 8 keys more; it has fewer queries or
keys; otherwise. That says what differs, not who is right. `MISSING` counts labelled modules in
which no call was found."""

KIND, AXIS, OPERATOR = "kind", "axis", "operator"
"""Counted besides: calls of the kind, and along the axis, that a label names or leaves open; calls
whose lengths are those of the label or, if not, of an operator in the labelled module."""

_COMPILED: Final = "compile"
_EAGER: Final = ("default", "written", "math")
"""How a run was recorded, by the end of its name."""

_WIDE_ENOUGH: Final = 0.99
_SOFTMAXES: Final = frozenset({"aten::_softmax", "aten::_safe_softmax"})
_FUSED: Final = frozenset({"aten::scaled_dot_product_attention", "FlashAttentionFunction"})
"""PyTorch's, and that of github.com/lucidrains/memory-efficient-attention-pytorch."""

WHY: Final = {
    "deepfloyd-if-unet": "one token pooled of the text is the query, beside keys of its own",
    "denoising-diffusion-unet": "four learned keys",
    "hunyuan-dit": "one token pooled of the text is the query, beside keys of its own",
    "imagen-video-unet": (
        "one learned key; 36 learned queries; text beside the video's own keys, which its labels "
        "leave out; one label says joint where no text is given"
    ),
    "karras-unet": "four learned keys",
    "linear-attention-transformer": (
        "half of the heads attend to a window and its neighbours, half linearly; the label is of "
        "both"
    ),
    "local-attention": "windows, each with the one before it",
    "muse-maskgit": (
        "one learned key; tokens of an image that nothing in the trace tells from a text, because "
        "no image is made of them"
    ),
    "nystromformer": "64 landmarks stand for all keys",
    "own-chunked": "queries in chunks",
    "parti": "one learned key",
    "phenaki-maskgit": "two learned keys in cross-attention",
    "segformer": "keys pooled by a convolution",
    "timm-levit": "every other row and column of the queries, in two calls",
    "timm-mvitv2": "queries and keys pooled by convolutions",
    "timm-xcit": (
        "queries and keys are channels, which are no positions; one class token is the query at "
        "the end"
    ),
    "video-diffusion-unet": "the label counts positions where the operator has frames",
    "vit-pytorch-cait": "one class token is the query, which is no position, and a key as well",
    "vit-pytorch-maxvit": "windows and grids",
    "vit-pytorch-twins": "windows, and keys pooled by a convolution",
}
"""Why calls of a model and their labels differ, where they do; each was looked at in its code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, write the table, and return 0."""
    return run_comparison("attention_lengths", __doc__, (MARKER, _DOCS), argv, _body)


def _body(traces: Sequence[Path]) -> str:
    rows: dict[str, Counter[str]] = {}
    for path in traces:
        try:
            rows[path.name] = compared(tracekit.load(path))
        except TracekitError as error:
            print(f"{path}: {error}", file=sys.stderr)
    eager = {split_name(path.name): path for path in traces}
    pairs = {
        path.name: like_eager(tracekit.load(path), tracekit.load(eager[model, way]))
        for path in traces
        for model, recorded in [split_name(path.name)]
        if recorded == _COMPILED
        for way in [next((way for way in _EAGER if (model, way) in eager), None)]
        if way is not None
    }
    text = table({name: counts for name, counts in rows.items() if counts})
    return f"{text}\n\n{compiled(pairs)}" if pairs else text


def like_eager(trace: Trace, eager: Trace) -> tuple[int, int]:
    """Return how many calls a compiled run has, and how many are as one of its eager run is.

    That is of the same lengths, and of the kind and axis that the labels there name.
    """
    wanted = set(_traits(tracekit.classify(tracekit.link(eager))))
    found = _traits(tracekit.classify(tracekit.link(without_labels(trace))))
    return len(found), sum(one in wanted for one in found)


def _traits(found: KernelTable) -> list[tuple[int, int, str | None, str | None]]:
    """Return lengths, kind and axis of each forward call."""
    used, calls = call_table(found), found.calls
    rows = [
        (int(call), int(used.main[at]))
        for at, call in enumerate(used.call.tolist())
        if call < len(calls) and not used.is_backward[at]
    ]
    return [
        (
            int(calls.query_length[call]),
            int(calls.key_length[call]),
            _text(found.kinds, found.kind[row]),
            _text(found.axes, found.axis[row]),
        )
        for call, row in rows
    ]


def compiled(pairs: dict[str, tuple[int, int]]) -> str:
    """Return what compiled runs have of their eager runs, as a sentence."""
    calls, alike = (sum(pair[at] for pair in pairs.values()) for at in (0, 1))
    others = [
        f"{split_name(name)[0]} ({count - same} of {count})"
        for name, (count, same) in pairs.items()
        if same < count
    ]
    rest = f"; the others are of {', '.join(others)}" if others else ""
    return (
        f"Compiled, {len(pairs)} models have {calls} calls, found without labels; "
        f"{alike / calls:.1%} have the lengths, kind and axis of a call of their eager run, by the "
        f"labels there{rest}."
    )


def compared(trace: Trace) -> Counter[str]:
    """Return how many forward calls of a labelled trace compare in which way with their labels."""
    labels, spans, which = _labelled(trace)
    counts: Counter[str] = Counter()
    if not labels:
        return counts
    found = tracekit.classify(tracekit.link(without_labels(trace)))
    calls, main, span = _calls_in(found, spans)
    operators = operator_lengths(trace, spans)
    is_seen = np.zeros(len(which), np.bool_)
    for call, row, inside in zip(calls.tolist(), main.tolist(), span.tolist(), strict=True):
        at = inside
        while at >= 0 and not is_seen[at]:
            is_seen[at] = True
            at = int(spans.parent[at])
        if inside >= 0:
            label = labels[which[inside]]
            how = _how(found, call, label)
            counts[how] += 1
            counts[OPERATOR] += how == EQUAL or _is_confirmed(found, call, operators[inside])
            counts[KIND] += label.kind in (None, _text(found.kinds, found.kind[row]))
            counts[AXIS] += label.axis in (None, _text(found.axes, found.axis[row]))
    if counts:
        counts[MISSING] = int(np.count_nonzero(~is_seen))
    return counts


def operator_lengths(trace: Trace, spans: Forest) -> defaultdict[int, set[tuple[int, int]]]:
    """Return the query and key lengths that operators inside each span have, by their own shapes.

    Those of a softmax are its last two dimensions, those of a fused op its queries' and keys' last
    but one. Nothing else is asked, so other operators have none.
    """
    ops, found = trace.ops, defaultdict[int, set[tuple[int, int]]](set)
    is_one = [text in _SOFTMAXES | _FUSED for text in trace.strings]
    rows = np.flatnonzero(np.append(np.array(is_one, np.bool_), False)[ops.name])
    inside = spans.innermost_at(ops.thread[rows], ops.start_ns[rows])
    for row, span in zip(rows.tolist(), inside.tolist(), strict=True):
        shapes = json.loads(trace.text(int(ops.input_dims[row])) or "[]")
        sides = shapes[:2] if trace.text(int(ops.name[row])) in _FUSED else shapes[:1]
        lengths = [number for shape in sides for number in shape[-2:]]
        if len(lengths) == 4:
            found[span].add((lengths[0], lengths[2]))
        elif len(lengths) == 2:
            found[span].add((lengths[0], lengths[1]))
    return found


def table(rows: dict[str, Counter[str]]) -> str:
    """Return the comparison in Markdown: sums, and the models in which calls and labels differ."""
    models: dict[str, Counter[str]] = {}
    runs: Counter[str] = Counter()
    for name, counts in rows.items():
        model = split_name(name)[0]
        models.setdefault(model, Counter()).update(counts)
        runs[model] += 1
    total = sum(models.values(), Counter())
    equal = [name for name, counts in models.items() if _agrees(counts, EQUAL, KIND, AXIS)]
    lengths = [name for name, counts in models.items() if _agrees(counts, OPERATOR)]
    whole = _calls(total)
    lines = [
        f"Of {whole:,} calls in {len(rows)} runs of {len(models)} models, "
        f"{_share(total, EQUAL)} equal their labels in both lengths and in heads, "
        f"{_share(total, KIND)} are of the kind that their label names, {_share(total, AXIS)} "
        f"along its axis; {total[MISSING]} labelled modules have no call. "
        f"{_share(total, OPERATOR)} have the lengths of their label or, where those are not what "
        f"the module hands on, of the operator in it. In {len(equal)} models at least 99% of the "
        f"calls equal their labels in lengths, kind and axis each, in {len(lengths)} they have the "
        "lengths of label or operator. Those in which calls and labels differ more:",
        "",
        "| model | runs | calls | lengths as labelled | or in the operator | kind | axis | why |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for model, counts in models.items():
        if model not in equal or model not in lengths:
            shares = [_share(counts, how) for how in (EQUAL, OPERATOR, KIND, AXIS)]
            cells = [model, str(runs[model]), str(_calls(counts)), *shares, WHY.get(model, "–")]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _agrees(counts: Counter[str], *hows: str) -> bool:
    return all(counts[how] >= _WIDE_ENOUGH * _calls(counts) for how in hows)


def _share(counts: Counter[str], how: str) -> str:
    return f"{counts[how] / _calls(counts):.1%}"


def _calls(counts: Counter[str]) -> int:
    return sum(counts[how] for how in (EQUAL, MORE, FEWER, OTHER))


def _text(texts: tuple[str, ...], code: int) -> str | None:
    return texts[code] if code >= 0 else None


def _labelled(trace: Trace) -> tuple[dict[int, AttentionLabel], Forest, IntArray]:
    """Return labels by the code of their text, their spans, and the code of each span."""
    names = trace.annotations.name
    labels: dict[int, AttentionLabel] = {}
    for code in np.unique(names[names != NO_TEXT]).tolist():
        label = parse_attention(trace.strings[code])
        if label is not None:
            labels[code] = label
    spans = trace.annotations.take(np.flatnonzero(np.isin(names, list(labels))))
    forest = build_forest(spans.thread, spans.start_ns, spans.end_ns)
    return labels, forest, spans.name.astype(np.int64)


def _calls_in(found: KernelTable, spans: Forest) -> tuple[IntArray, IntArray, IntArray]:
    """Return the forward calls that have kernels, the longest, and the innermost span around."""
    used = call_table(found)
    forward = np.flatnonzero(~used.is_backward & (used.call < len(found.calls)))
    calls, first = np.unique(used.call[forward], return_index=True)
    op = found.calls.op[calls]
    ops = found.linked.trace.ops
    return calls, used.main[forward[first]], spans.innermost_at(ops.thread[op], ops.start_ns[op])


def _is_confirmed(found: KernelTable, call: int, lengths: set[tuple[int, int]]) -> bool:
    """Say whether an operator has the lengths of a call.

    Linear attention has no scores; its softmaxes are over the tokens or sizes of either side.
    """
    own = int(found.calls.query_length[call]), int(found.calls.key_length[call])
    if found.calls.is_linear[call]:
        return set(own) <= {number for pair in lengths for number in pair}
    return own in lengths


def _how(found: KernelTable, call: int, label: AttentionLabel) -> str:
    calls = found.calls
    queries, keys, heads = (
        None if column[call] == NULL else int(column[call])
        for column in (calls.query_length, calls.key_length, calls.heads)
    )
    same = [
        told is None or told == own
        for own, told in (
            (queries, label.query_length), (keys, label.key_length), (heads, label.heads),
        )
    ]  # fmt: skip
    if all(same):
        return EQUAL
    if not same[2] or None in (queries, keys, label.query_length, label.key_length):
        return OTHER
    assert queries is not None
    assert keys is not None
    more_keys = keys - (label.key_length or 0)
    if same[0] and 0 < more_keys <= _MOST_MORE:
        return MORE
    has_fewer = queries < (label.query_length or 0) or (same[0] and more_keys < 0)
    return FEWER if has_fewer else OTHER


if __name__ == "__main__":
    sys.exit(main())
