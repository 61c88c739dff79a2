"""Which launch that Nsight Compute has counted each kernel of a trace is, by name and order.

The two are of different runs of the same work: of all kernels, of those inside attention modules or
of attention alone, and of all steps or of one. Nothing is matched whose number does not tell.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from tracekit.analysis.call_table import is_attention
from tracekit.classifying.table import KernelTable
from tracekit.counters import CountedLaunch, function_name
from tracekit.linking.codes import distinct_rows
from tracekit.linking.link import PHASES
from tracekit.trace import ACTIVITY_KINDS, NO_TEXT, BoolArray, IntArray

_NUMBER: Final = re.compile(r"\d+")
_KERNEL: Final = ACTIVITY_KINDS.index("kernel")

_Key: TypeAlias = tuple[str, tuple[int, ...] | None, tuple[int, ...] | None]
"""Function, grid and block."""


@dataclass(frozen=True, slots=True)
class CountedKernels:
    """`launch` is the launch of each row of a kernel table, -1 for none.

    `is_repeated` says that the launch was of another step: the row takes its counters.
    """

    launch: IntArray
    is_repeated: BoolArray


def counted_kernels(table: KernelTable, launches: Sequence[CountedLaunch]) -> CountedKernels:
    """Return the launch of each kernel.

    Kernels of one function, grid and block are those launches in their order, where there are as
    many of both; where there are as many as in one step of each stage, every step repeats them;
    where launches were left off at the end, those that are there are the first. Which kernels were
    profiled (all, those in attention modules, attention) is what most launches agree with.
    """
    best = _nothing(len(table))
    if table.linked.basis == "cpu" or not launches:
        return best
    keys = _Keys(table, launches)
    most = 0
    for scope in _scopes(table):
        found = _matched(table, keys, np.flatnonzero(scope & keys.is_counted))
        used = len(np.unique(found.launch[found.launch >= 0]))
        if used > most:
            best, most = found, used
    return best


def _nothing(count: int) -> CountedKernels:
    return CountedKernels(np.full(count, -1, np.int64), np.zeros(count, np.bool_))


def _scopes(table: KernelTable) -> tuple[BoolArray, ...]:
    """Return what may have been profiled; modules are those that labels of collectors are of."""
    kernel = table.linked.trace.activities.kind == _KERNEL
    in_modules = table.linked.labels.attention >= 0
    forward = table.phase == PHASES.index("forward")
    return kernel, kernel & in_modules & forward, kernel & is_attention(table)


class _Keys:
    """What is compared of kernels and launches, and their whole names.

    `is_counted` says of each row of the table whether a launch has its key.
    """

    def __init__(self, table: KernelTable, launches: Sequence[CountedLaunch]) -> None:
        trace, activities = table.linked.trace, table.linked.trace.activities
        kernels = activities.kind == _KERNEL
        self._has_grid = all(one.grid is not None for one in launches) and not bool(
            (activities.grid[kernels] == NO_TEXT).any()
        )
        self._has_block = all(one.block is not None for one in launches) and not bool(
            (activities.block[kernels] == NO_TEXT).any()
        )
        self._table = table
        self.launch_names = [one.name for one in launches]
        self.of_launches = [
            self._key(function_name(one.name), one.grid, one.block) for one in launches
        ]
        first, self._group = distinct_rows(
            [
                each.astype(np.int64)
                for each in (table.linked.name, activities.grid, activities.block)
            ]
        )
        self._of_group = [
            self._key(
                function_name(self.name(row)),
                _size(trace.text(int(activities.grid[row]))),
                _size(trace.text(int(activities.block[row]))),
            )
            for row in first.tolist()
        ]
        counted = set(self.of_launches)
        is_counted = np.array([key in counted for key in self._of_group], np.bool_)
        self.is_counted: BoolArray = is_counted[self._group]

    def of_row(self, row: int) -> _Key:
        """Return the key of a row of the kernel table."""
        return self._of_group[int(self._group[row])]

    def name(self, row: int) -> str:
        """Return the name of a row of the kernel table."""
        return self._table.name_at(row) or ""

    def _key(
        self, function: str, grid: tuple[int, ...] | None, block: tuple[int, ...] | None
    ) -> _Key:
        return (function, grid if self._has_grid else None, block if self._has_block else None)


def _size(text: str | None) -> tuple[int, ...]:
    return tuple(int(number) for number in _NUMBER.findall(text or ""))


def _matched(table: KernelTable, keys: _Keys, scope: IntArray) -> CountedKernels:
    """Match the launches with rows, those of their keys in what may have been profiled."""
    found = _nothing(len(table))
    rows_of: defaultdict[_Key, list[int]] = defaultdict(list)
    in_order = scope.tolist()
    for row in in_order:
        rows_of[keys.of_row(row)].append(row)
    launches_of: defaultdict[_Key, list[int]] = defaultdict(list)
    for number, key in enumerate(keys.of_launches):
        launches_of[key].append(number)
    for key, rows in rows_of.items():
        launches = launches_of[key]
        turn = _turns(table, rows, len(launches))
        if turn is None or not _names_agree(keys, rows, [launches[at] for at in turn]):
            continue
        seen: set[int] = set()
        for row, at in zip(rows, turn, strict=True):
            found.launch[row] = launches[at]
            found.is_repeated[row] = at in seen
            seen.add(at)
    _take_first(keys, in_order, found)
    return found


def _turns(table: KernelTable, rows: Sequence[int], count: int) -> Sequence[int] | None:
    """Return which of `count` launches each kernel is, null where their numbers do not tell."""
    if len(rows) == count:
        return range(count)
    stage, step = table.stages.stage, table.stages.step
    place: list[int] = []
    sizes: dict[int, dict[int, int]] = {}
    for row in rows:
        of_stage = sizes.setdefault(int(stage[row]), {})
        number = int(step[row])
        place.append(of_stage.get(number, 0))
        of_stage[number] = place[-1] + 1
    if any(len(set(of_stage.values())) > 1 for of_stage in sizes.values()):
        return None
    offset, total = {}, 0
    for name, of_stage in sizes.items():
        offset[name] = total
        total += next(iter(of_stage.values()))
    if total == count:
        return [offset[int(stage[row])] + at for row, at in zip(rows, place, strict=True)]
    if len(sizes) == 1 and count % total == 0 and count < len(rows) and len(rows) % count == 0:
        return [at % count for at in range(len(rows))]
    return None


def _names_agree(keys: _Keys, rows: Sequence[int], launches: Sequence[int]) -> bool:
    """Say whether one whole name of the one side always meets the same of the other.

    Template arguments are written differently, and may be missing on one side. They vary between
    kernels that an order that is not the same would mix up.
    """
    ours = [keys.name(row) for row in rows]
    theirs = [keys.launch_names[launch] for launch in launches]
    pairs = len(set(zip(ours, theirs, strict=True)))
    return pairs == max(len(set(ours)), len(set(theirs)))


def _take_first(keys: _Keys, in_order: Sequence[int], found: CountedKernels) -> None:
    """Match what is left where all launches, in their order, are the first of the trace."""
    count = len(keys.of_launches)
    first = in_order[:count]
    if len(in_order) <= count or [keys.of_row(row) for row in first] != keys.of_launches:
        return
    if not _names_agree(keys, first, range(count)):
        return
    for launch, row in enumerate(first):
        if found.launch[row] < 0:
            found.launch[row] = launch
