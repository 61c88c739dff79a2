"""Stages of a run that neither labels nor annotations tell: from modules, else from its work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tracekit.classifying.module_calls import model_calls
from tracekit.classifying.module_stages import module_parts
from tracekit.classifying.parts import Part
from tracekit.classifying.run_sequence import RunSequence, run_sequence
from tracekit.classifying.sequence_stages import sequence_parts
from tracekit.classifying.table import KernelTable
from tracekit.linking.stages import RUN_SHARE, Stages
from tracekit.trace import NULL, IntArray


def with_found_stages(table: KernelTable) -> KernelTable:
    """Return the table with stages that are found where nothing marks any.

    Steps that `ProfilerStep` annotations give are kept. One annotation around nearly everything
    marks none: what it holds counts, if several stages or steps are found there.
    """
    is_run = _is_run(table.stages)
    if not len(table) or ((table.stages.stage >= 0).any() and not is_run):
        return table
    sequence = run_sequence(table)
    source, parts = "module", module_parts(sequence, model_calls(table, sequence))
    if not parts:
        source, parts = "sequence", sequence_parts(sequence)
    if not parts or (is_run and not _divides(parts)):
        return table
    return replace(table, stages=_stages(table, sequence, parts, source))


def _is_run(stages: Stages) -> bool:
    """Say whether the only stage is an annotation around nearly all work."""
    held = stages.stage >= 0
    is_one = stages.sources == ("annotation",) and len(np.unique(stages.step[held])) == 1
    return bool(is_one and np.count_nonzero(held) >= RUN_SHARE * len(held))


def _divides(parts: list[Part]) -> bool:
    """Say whether parts tell more of a run than that it is one."""
    return len(parts) > 1 or any(part.starts is not None and len(part.starts) > 1 for part in parts)


def _stages(table: KernelTable, sequence: RunSequence, parts: list[Part], source: str) -> Stages:
    names = tuple(dict.fromkeys(part.name for part in parts))
    stage = np.full(len(sequence), -1, np.int64)
    step = np.full(len(sequence), NULL, np.int64)
    for part in parts:
        stage[part.first : part.end] = names.index(part.name)
        if part.starts is not None:
            places = np.arange(part.first, part.end)
            step[part.first : part.end] = np.searchsorted(part.starts, places, side="right") - 1
    place = _places(table, sequence.rows)
    known = table.stages.step
    if len(np.unique(known[known != NULL])) == 1:
        # One step around everything tells as little as none.
        known = np.full(len(table), NULL)
    return Stages(
        names,
        (source,) * len(names),
        stage[place],
        np.where(known != NULL, known, step[place]),
    )


def _places(table: KernelTable, rows: IntArray) -> IntArray:
    """Return each row's place in the sequence: its own, else that of the row that it is beside.

    An op that works by itself begins with the first op inside it; what runs on another device
    goes along with what was started there last.
    """
    place = np.full(len(table), -1, np.int64)
    place[rows] = np.arange(len(rows))
    others = np.flatnonzero(place < 0)
    if len(others):
        started = np.maximum.accumulate(table.start_ns[rows])
        side, back = ("left", 0) if table.linked.basis == "cpu" else ("right", 1)
        found = np.searchsorted(started, table.start_ns[others], side=side) - back  # type: ignore[call-overload]
        place[others] = np.clip(found, 0, len(rows) - 1)
    return place
