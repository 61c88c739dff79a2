"""Idle time in words: causes, and who is to blame, as rows that every report shows alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracekit.reports.names import clean
from tracekit.reports.palette import CAUSE_LABEL_OF
from tracekit.units import MISSING, share_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracekit.results import Analysis, Blame, CauseTime

NOWHERE: Final = "between ops"
"""Who is to blame where no op of a trace that holds ops encloses the host's time."""

HOST: Final = "the host"
"""Who is to blame where a trace holds no ops."""


@dataclass(frozen=True, slots=True)
class Culprit:
    """Idle time of one cause in one stage that one place on the host is to blame for."""

    who: str
    cause: str
    stage: str | None
    time_ns: int
    time_share: float | None


def cause_label(cause: str | None) -> str:
    """Return what people read instead of a cause's slug; one that is unknown keeps its own name."""
    return MISSING if cause is None else CAUSE_LABEL_OF.get(cause, cause)


def causes_of(result: Analysis) -> tuple[Sequence[CauseTime], Sequence[Blame], bool]:
    """Return causes and blame: without the profiler where they are known, and whether they are."""
    corrected = result.corrected
    if corrected is not None and corrected.by_cause is not None:
        return corrected.by_cause, corrected.blame, True
    return result.idle.by_cause, result.idle.blame, False


def culprits(rows: Sequence[Blame], idle_ns: int, most: int) -> list[Culprit]:
    """Return the largest culprits; what differs in nothing that is shown is one."""
    has_ops = any(row.op is not None for row in rows)
    times: dict[tuple[str, str, str | None], int] = {}
    for row in rows:
        key = (_who(row, NOWHERE if has_ops else HOST), row.cause, row.stage)
        times[key] = times.get(key, 0) + row.time_ns
    largest = sorted(times.items(), key=lambda item: -item[1])[:most]
    return [
        Culprit(who, cause, stage, time_ns, share_of(time_ns, idle_ns))
        for (who, cause, stage), time_ns in largest
        if time_ns
    ]


def _who(row: Blame, otherwise: str) -> str:
    """Return the user's own function or annotation, else the op or function and its module."""
    if row.is_own and row.python is not None:
        return clean(row.python)
    what = row.annotation or row.op or row.python
    parts = [part for part in (what, row.module) if part is not None]
    return clean(" in ".join(parts)) if parts else otherwise
