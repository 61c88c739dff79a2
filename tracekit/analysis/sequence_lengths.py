"""How long the sequences of attention are: their distribution, levels and profile over a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.analysis.call_table import CallTable
from tracekit.attention_results import LengthLevels, LengthProfile, LengthRatio, SequenceLength
from tracekit.classifying.table import KernelTable
from tracekit.linking.codes import distinct_rows
from tracekit.trace import NULL, IntArray
from tracekit.units import share_of

_MOST_POINTS: Final = 1000
_JOINT: Final = "joint"
_OWN: Final = ("self", _JOINT)
"""Kinds of attention in which the tokens look at themselves."""
_TEMPORAL: Final = "temporal"


def sequence_lengths(table: KernelTable, calls: CallTable) -> tuple[SequenceLength, ...]:
    """Return the forward calls by query length, key length, kind and axis; most time first."""
    chosen = np.flatnonzero(~calls.is_backward)
    rows, main = calls.call[chosen], calls.main[chosen]
    queries, keys = calls.calls.query_length[rows], calls.calls.key_length[rows]
    kind, axis = table.kind[main], table.axis[main]
    # No size is negative, so -1 may stand for what is missing.
    first, group = distinct_rows((np.maximum(queries, -1), np.maximum(keys, -1), kind, axis))
    time_ns = np.zeros(len(first), np.int64)
    np.add.at(time_ns, group, calls.time_ns[chosen])
    count = np.bincount(group, minlength=len(first))
    whole = int(time_ns.sum())
    return tuple(
        SequenceLength(
            query_length=_known(queries[first[at]]),
            key_length=_known(keys[first[at]]),
            kind=_name(table.kinds, int(kind[first[at]])),
            axis=_name(table.axes, int(axis[first[at]])),
            calls=int(count[at]),
            time_ns=int(time_ns[at]),
            time_share=share_of(int(time_ns[at]), whole),
        )
        for at in np.lexsort((first, -time_ns)).tolist()
    )


def length_ratio(table: KernelTable, calls: CallTable) -> LengthRatio | None:
    """Return how much the query lengths of self-attention differ in one step.

    A stage's step is the first of those with most calls. Null where no length is known.
    """
    groups = list(_groups(table, calls))
    if not groups:
        return None
    levels = [_levels(calls, group) for group in groups]
    order = sorted(
        range(len(groups)), key=lambda at: (groups[at].axis == _TEMPORAL, -groups[at].time_ns)
    )
    chosen = levels[order[0]]
    return LengthRatio(
        stage=chosen.stage,
        step=chosen.step,
        axis=chosen.axis,
        longest=chosen.levels[0],
        shortest=chosen.levels[-1],
        ratio=chosen.ratio,
        neighbour_ratio=chosen.neighbour_ratio,
        by_stage=tuple(levels),
    )


def length_profiles(table: KernelTable, calls: CallTable) -> tuple[LengthProfile, ...]:
    """Return how many tokens look at themselves, over each stage and axis in time order."""
    return tuple(_profile(table, calls, group) for group in _groups(table, calls))


@dataclass(frozen=True, slots=True)
class _Group:
    """Calls of self-attention of one stage along one axis, in time order, with their steps."""

    stage: str | None
    axis: str | None
    rows: IntArray
    step: IntArray
    time_ns: int

    def parts(self) -> list[tuple[int, IntArray]]:
        """Return the calls of each step, in the order of the first."""
        _, first, code = np.unique(self.step, return_index=True, return_inverse=True)
        return [
            (int(self.step[first[at]]), self.rows[code == at]) for at in np.argsort(first).tolist()
        ]


def own_tokens(table: KernelTable, calls: CallTable) -> tuple[IntArray, IntArray]:
    """Return the forward calls in which tokens look at themselves, in time order, and how many."""
    rows = _own_rows(table, calls)
    return rows, _tokens(table, calls, rows)


def _own_rows(table: KernelTable, calls: CallTable) -> IntArray:
    own = [table.kinds.index(kind) for kind in _OWN if kind in table.kinds]
    is_own = np.isin(table.kind[calls.main], own) & ~calls.is_backward
    known = (calls.calls.query_length[calls.call] > 0) & (calls.calls.key_length[calls.call] > 0)
    return np.flatnonzero(is_own & known)


def _groups(table: KernelTable, calls: CallTable) -> Iterator[_Group]:
    """Yield the stages in the order of their first call, each axis by itself."""
    rows = _own_rows(table, calls)
    stage, axis = table.stages.stage[calls.main[rows]], table.axis[calls.main[rows]]
    first, group = distinct_rows((stage, axis))
    for at in np.argsort(first).tolist():
        ours = rows[group == at]
        main = int(calls.main[ours[0]])
        yield _Group(
            stage=table.stage_at(main),
            axis=_name(table.axes, int(table.axis[main])),
            rows=ours,
            step=table.stages.step[calls.main[ours]],
            time_ns=int(calls.time_ns[ours].sum()),
        )


def _levels(calls: CallTable, group: _Group) -> LengthLevels:
    step, rows = max(group.parts(), key=lambda part: len(part[1]))
    levels = np.unique(calls.calls.query_length[calls.call[rows]])[::-1]
    return LengthLevels(
        stage=group.stage,
        step=_known(step),
        axis=group.axis,
        levels=tuple(levels.tolist()),
        ratio=float(levels[0] / levels[-1]),
        neighbour_ratio=float((levels[:-1] / levels[1:]).max(initial=1.0)),
    )


def _profile(table: KernelTable, calls: CallTable, group: _Group) -> LengthProfile:
    lengths = [_tokens(table, calls, rows) for _, rows in group.parts()]
    repeats = all(np.array_equal(one, lengths[0]) for one in lengths[1:])
    by_step = not repeats and all(len(np.unique(one)) == 1 for one in lengths)
    if repeats:
        points = lengths[0]
    elif by_step:
        points = np.array([one[0] for one in lengths], np.int64)
    else:
        points = _tokens(table, calls, group.rows)
    kept = np.linspace(0, len(points) - 1, min(len(points), _MOST_POINTS)).round().astype(np.int64)
    return LengthProfile(
        stage=group.stage,
        axis=group.axis,
        calls=len(group.rows),
        steps=len(lengths),
        repeats=repeats and len(lengths) > 1,
        points="step" if by_step else "call",
        lengths=tuple(points[kept].tolist()),
    )


def _tokens(table: KernelTable, calls: CallTable, rows: IntArray) -> IntArray:
    """Return how many tokens look at themselves: the keys, or the queries beside added text."""
    call, kind = calls.call[rows], table.kind[calls.main[rows]]
    queries, keys = calls.calls.query_length[call], calls.calls.key_length[call]
    is_joint = np.isin(kind, [at for at, name in enumerate(table.kinds) if name == _JOINT])
    return np.where(is_joint & (queries > 1), queries, keys)


def _known(value: int) -> int | None:
    return None if value == NULL else int(value)


def _name(names: tuple[str, ...], code: int) -> str | None:
    return None if code < 0 else names[code]
