"""Hold attention calls against labels: ``python -m benchmarks.attention_lengths TRACE…``.

The labels of collectors are taken out of each trace, its attention calls found from the shapes of
ops alone, and their lengths and heads, kinds and axes compared with what the label around each
call says. Writes the table into ``docs/attention.md``.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

import tracekit
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

KIND, AXIS = "kind", "axis"
"""Counted besides: calls of the kind, and along the axis, that a label names or leaves open."""


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
    return table({name: counts for name, counts in rows.items() if counts})


def compared(trace: Trace) -> Counter[str]:
    """Return how many forward calls of a labelled trace compare in which way with their labels."""
    labels, spans, which = _labelled(trace)
    counts: Counter[str] = Counter()
    if not labels:
        return counts
    found = tracekit.classify(tracekit.link(without_labels(trace)))
    calls, main, span = _calls_in(found, spans)
    is_seen = np.zeros(len(which), np.bool_)
    for call, row, inside in zip(calls.tolist(), main.tolist(), span.tolist(), strict=True):
        at = inside
        while at >= 0 and not is_seen[at]:
            is_seen[at] = True
            at = int(spans.parent[at])
        if inside >= 0:
            label = labels[which[inside]]
            counts[_how(found, call, label)] += 1
            counts[KIND] += label.kind in (None, _text(found.kinds, found.kind[row]))
            counts[AXIS] += label.axis in (None, _text(found.axes, found.axis[row]))
    if counts:
        counts[MISSING] = int(np.count_nonzero(~is_seen))
    return counts


def table(rows: dict[str, Counter[str]]) -> str:
    """Return the comparison in Markdown: sums, and the runs in which not all calls are equal."""
    total: Counter[str] = Counter()
    for counts in rows.values():
        total.update(counts)
    whole = _calls(total)
    alike = [
        name
        for name, counts in rows.items()
        if counts[EQUAL] == counts[KIND] == counts[AXIS] == _calls(counts)
    ]
    lines = [
        f"Of {whole:,} calls in {len(rows)} runs {total[EQUAL]:,} ({total[EQUAL] / whole:.1%}) "
        f"equal their labels in both lengths and in heads; {total[MORE]} have up to "
        f"{_MOST_MORE} keys more, {total[FEWER]} fewer queries or keys, {total[OTHER]} differ "
        f"otherwise; {total[MISSING]} labelled modules have no call. {total[KIND] / whole:.1%} are "
        f"of the kind that their label names, {total[AXIS] / whole:.1%} along its axis. In "
        f"{len(alike)} runs all calls are equal in everything; these are the others:",
        "",
        "| run | calls | equal | more keys | fewer | otherwise | kind equal | axis equal |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, counts in rows.items():
        if name not in alike:
            told = (EQUAL, MORE, FEWER, OTHER, KIND, AXIS)
            cells = [_calls(counts), *(counts[how] for how in told)]
            lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


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
