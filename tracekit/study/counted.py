"""Cache hit rates of attention, where counters of Nsight Compute stand beside a kept run.

`ncu.csv` or `ncu.csv.gz` in the folder of a case is of the same work, counted in another run: of
attention, or of what runs inside modules that attend. It is taken where its kernels are the same,
by name, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from tracekit.cause_results import StudyCache
from tracekit.counters import (
    L1_HIT_RATE,
    L2_HIT_RATE,
    CountedLaunch,
    function_name,
    read_counters,
)
from tracekit.runfolder import COUNTERS
from tracekit.study.reading import ATTENTION, MeasuredCase

_NAMES: Final = (COUNTERS, f"{COUNTERS}.gz")


def caches(cases: Sequence[MeasuredCase]) -> Iterator[StudyCache]:
    """Yield hit rates of the cases that have counters beside them.

    Raises
    ------
    InputError
        A file of counters cannot be read.
    """
    for case in cases:
        for name in _NAMES:
            path = case.kept.folder / name
            if path.is_file():
                yield _cache(case, read_counters(str(path)))
                break


def _cache(case: MeasuredCase, launches: Sequence[CountedLaunch]) -> StudyCache:
    columns = ["name", "category", "attention_axis", "module", "dur_ns"]
    rows = case.kept.kernels().select(columns).to_pylist()
    counted = _matched(rows, launches)
    entry = case.entry

    def rate(axis: str, metric: str) -> float | None:
        return _mean(
            (launch.values.get(metric), row["dur_ns"])
            for row, launch in counted
            if row["attention_axis"] == axis and row["category"] in ATTENTION
        )

    return StudyCache(
        name=entry["name"],
        model=entry["model"],
        attention=entry["attention"],
        launches=len(launches),
        temporal_l1=rate("temporal", L1_HIT_RATE),
        spatial_l1=rate("spatial", L1_HIT_RATE),
        temporal_l2=rate("temporal", L2_HIT_RATE),
        spatial_l2=rate("spatial", L2_HIT_RATE),
    )


def _matched(
    rows: Sequence[dict[str, Any]], launches: Sequence[CountedLaunch]
) -> list[tuple[dict[str, Any], CountedLaunch]]:
    """Return each kernel with its launch; nothing where names and order are not the same."""
    theirs = [function_name(launch.name) for launch in launches]
    known = set(theirs)
    of_name = {name: function_name(name) for name in {row["name"] for row in rows}}
    attends = {row["module"] for row in rows if row["category"] in ATTENTION} - {None}
    scopes: tuple[Callable[[dict[str, Any]], bool], ...] = (
        lambda row: row["category"] in ATTENTION,
        lambda row: row["module"] in attends,
        lambda _: True,
    )
    for is_in in scopes:
        ours = [row for row in rows if of_name[row["name"]] in known and is_in(row)]
        if [of_name[row["name"]] for row in ours] == theirs:
            return list(zip(ours, launches, strict=True))
    return []


def _mean(values: Iterable[tuple[float | None, int]]) -> float | None:
    """Return the mean by time of what is known, null where nothing is."""
    known = [(value, weight) for value, weight in values if value is not None]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None
