"""The answer of an analysis in plain sentences, the same in the terminal and in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracekit.categories import WEAK_EVIDENCES
from tracekit.reports.idle_cells import causes_of
from tracekit.reports.names import clean
from tracekit.reports.palette import label_of
from tracekit.units import MISSING, format_count, format_ns, format_share, share_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracekit.results import (
        Analysis,
        AnalysisSet,
        Basis,
        CategoryTime,
        Corrected,
        EvidenceTime,
        OutlierStep,
        StageTime,
        TraceInfo,
    )

CPU_ONLY: Final = (
    "CPU-only trace: the file holds no GPU activity, so all of this is the self time of CPU ops."
)
"""First line of every report on a trace without GPU activity."""

TRUNCATED: Final = (
    "The file is cut off: it ends before its list of events does. "
    "All numbers describe the part that is there."
)
"""Said of a truncated file."""

NOTHING_LEFT_OUT: Final = "Nothing was left out: every event of the file was used."
"""Said where `left_out` is empty."""

SET_HINT: Final = (
    "For stages, attention, kernels and gaps, analyze one input at a time or ask for JSON."
)
"""Said at the end of a report on several inputs."""

_WEAK_LIMIT: Final = 0.05
_TOP: Final = 3
_DILATION: Final = (
    "Profiling slows the host down (rich traces take 1.3–2.1x the wall time), so read the idle "
    "time as an upper bound."
)


def subject(trace: TraceInfo) -> str:
    """Return what was traced: device, torch, rank, pass and the number of events."""
    parts: list[str] = []
    if trace.device_name is not None:
        parts.append(clean(trace.device_name))
    elif trace.basis == "gpu":
        parts.append("unknown device")
    if trace.torch is not None:
        parts.append(f"torch {clean(trace.torch)}")
    if trace.rank is not None:
        of = "" if trace.world_size is None else f" of {trace.world_size}"
        parts.append(f"rank {trace.rank}{of}")
    if trace.pass_ is not None:
        parts.append(f"{clean(trace.pass_)} pass")
    parts.append(events(trace))
    return " · ".join(parts)


def events(trace: TraceInfo) -> str:
    """Return the number of events and, where there are some, of GPU activities among them."""
    text = f"{format_count(trace.events)} {plural(trace.events, 'event')}"
    if trace.basis == "cpu":
        return text
    return f"{text}, {format_count(trace.gpu_events)} of them GPU activity"


def where_time_goes(kernel_ns: int, categories: Sequence[CategoryTime], basis: Basis) -> str:
    """Return the categories that take most of `kernel_ns`, with their times and shares."""
    whole = "GPU time" if basis == "gpu" else "self time"
    ranked = largest({row.category: row.time_ns for row in categories}, kernel_ns)
    if not ranked:
        nothing = "GPU activity" if basis == "gpu" else "timed op"
        return f"There is no {nothing} to sort into categories: the result is empty."
    takes = [
        f"{label} {'takes ' if index == 0 else ''}{format_ns(time_ns)} ({format_share(share)})"
        for index, (label, time_ns, share) in enumerate(ranked)
    ]
    return f"Of {format_ns(kernel_ns)} of {whole}, {join(takes)}."


_CAUSES: Final = {
    "host_late": "the host is late",
    "sync": "the host waits for the GPU",
    "launch_latency": "work is launched and has not begun",
    "profiler": "the profiler is at work",
}


def idle(result: Analysis) -> str | None:
    """Return how idle the GPU was and how to read that; null without GPU activity."""
    time = result.time
    if result.trace.basis == "cpu" or time.span_ns <= 0:
        return None
    several = len(result.devices) > 1
    who = f"The {len(result.devices)} GPUs were" if several else "The GPU was"
    summed = ", summed over them" if several else ""
    span = f"the {format_ns(time.span_ns)} between first and last activity{summed}"
    if result.corrected is not None:
        return _idle_without_profiler(result, result.corrected) + _mostly(result)
    if time.idle_ns <= 0:
        return f"{who} never idle in {span}."
    share = format_share(share_of(time.idle_ns, time.span_ns))
    idle_for = f"{who} idle for {format_ns(time.idle_ns)} ({share}) of {span}."
    return f"{idle_for}{_mostly(result)} {_DILATION}"


def idleness(result: Analysis) -> str | None:
    """Return how idle the GPU was, corrected where that is known; null without GPU activity."""
    time, corrected = result.time, result.corrected
    if result.trace.basis == "cpu" or time.span_ns <= 0:
        return None
    several = len(result.devices) > 1
    are = f"the {len(result.devices)} GPUs are" if several else "the GPU is"
    shown = format_share(share_of(time.idle_ns, time.span_ns))
    if corrected is None:
        summed = ", summed over them" if several else ""
        return (
            f"{are[0].upper()}{are[1:]} idle for {format_ns(time.idle_ns)} ({shown}) of "
            f"{format_ns(time.span_ns)}{summed}, as the trace shows it, profiler included."
        )
    wall, average = format_ns(corrected.wall_ns), " on average" if several else ""
    about = "about " if corrected.source == "estimated" else ""
    return (
        f"Without the profiler {are} idle for {about}{format_ns(corrected.idle_ns)} "
        f"({_whole(corrected.idle_share)}) of {wall}{average} ({corrected.source}; the trace "
        f"itself shows {shown}{_window(result, corrected)})."
    )


def _window(result: Analysis, corrected: Corrected) -> str:
    """Say of which part of a trace its idle time is, where the unprofiled run has more.

    The wall time begins with the host: what a short run launches takes longer than it waits then.
    """
    shown, share = share_of(result.time.idle_ns, result.time.span_ns), corrected.idle_share
    has_more = shown is not None and share is not None and share > shown
    return " from its first kernel to its last" if has_more else ""


def cause_clause(cause: str) -> str:
    """Return a cause of idle time as a clause."""
    return _CAUSES.get(cause, "no launch is known")


def _mostly(result: Analysis) -> str:
    """Return the largest cause of idle time as a sentence, nothing where none is known."""
    causes, _, _ = causes_of(result)
    largest = max(causes, key=lambda row: row.time_ns, default=None)
    clause = None if largest is None else _CAUSES.get(largest.cause)
    if largest is None or clause is None or not largest.time_ns:
        return ""
    return f" In {_whole(largest.time_share)} of the idle time {clause}."


def _idle_without_profiler(result: Analysis, corrected: Corrected) -> str:
    """Return how idle the unprofiled run is, and what the trace itself shows."""
    several = len(result.devices) > 1
    who = f"the {len(result.devices)} GPUs are" if several else "the GPU is"
    wall = f"{format_ns(corrected.wall_ns)}{' on average' if several else ''}"
    shown = _whole(share_of(result.time.idle_ns, result.time.span_ns))
    shown += _window(result, corrected)
    low, high = format_ns(corrected.low_ns), format_ns(corrected.high_ns)
    if corrected.source == "estimated":
        return (
            f"Without the profiler {who} idle about {_whole(corrected.idle_share)} of {wall} "
            f"(an estimate: {low} to {high}; the trace itself shows {shown})."
        )
    sentence = (
        f"Without the profiler {who} idle {_whole(corrected.idle_share)} of {wall} "
        f"({corrected.source}; the trace itself shows {shown})."
    )
    return sentence if low == high else f"{sentence} Its repeats took {low} to {high}."


def communication(result: Analysis) -> str | None:
    """Return how long devices communicate, and how much of it nothing hides; null without any."""
    work = [one for row in result.overlap for one in row.work if one.kind == "communication"]
    busy_ns = sum(one.busy_ns for one in work)
    if not busy_ns:
        return None
    exposed_ns = sum(one.exposed_ns for one in work)
    summed = f", summed over {len(work)} GPUs" if len(work) > 1 else ""
    return (
        f"Collectives run for {format_ns(busy_ns)}{summed}, {format_ns(exposed_ns)} of them "
        "exposed: nothing else runs on the GPU meanwhile."
    )


def _whole(share: float | None) -> str:
    return MISSING if share is None else f"{share:.0%}"


def idle_of_set(result: AnalysisSet) -> str | None:
    """Return how idle the GPUs of several inputs were; null without GPU activity."""
    time = result.overall.time
    if set_basis(result) == "cpu" or time.span_ns <= 0:
        return None
    share = format_share(share_of(time.idle_ns, time.span_ns))
    return (
        f"The GPUs were idle for {format_ns(time.idle_ns)} ({share}) of {format_ns(time.span_ns)}, "
        f"summed over all inputs. {_DILATION}"
    )


def set_basis(result: AnalysisSet) -> Basis:
    """Return `cpu` when all inputs are CPU-only traces, else `gpu`."""
    return "cpu" if result.runs and all(r.trace.basis == "cpu" for r in result.runs) else "gpu"


def notes(trace: TraceInfo) -> list[str]:
    """Return what the reader should know before trusting the numbers."""
    truncated = [TRUNCATED] if trace.truncated else []
    return [*truncated, *map(clean, trace.warnings)]


def doubts(run: Analysis) -> list[str]:
    """Return its notes, and whether its categories are guesses."""
    guess = guesses(run.evidence, run.trace.basis)
    return [*notes(run.trace), *([guess] if guess else [])]


def notes_of_run(run: Analysis) -> list[str]:
    """Return what sets one of several inputs apart: its basis, its notes, its guesses."""
    return [*([CPU_ONLY] if run.trace.basis == "cpu" else []), *doubts(run)]


def decided_by(evidence: Sequence[EvidenceTime]) -> str | None:
    """Return the share of time that each kind of evidence decided; null when there is none."""
    shares = [f"{row.evidence} {format_share(row.time_share)}" for row in evidence if row.kernels]
    return f"Decided by: {', '.join(shares)}." if shares else None


def guesses(evidence: Sequence[EvidenceTime], basis: Basis) -> str | None:
    """Return a warning when names and sequences alone decided more than 5% of the time."""
    whole = sum(row.time_ns for row in evidence)
    weak = share_of(sum(r.time_ns for r in evidence if r.evidence in WEAK_EVIDENCES), whole)
    if weak is None or weak <= _WEAK_LIMIT:
        return None
    what, names = ("GPU", "kernel names") if basis == "gpu" else ("self", "op names")
    return (
        f"For {format_share(weak)} of the {what} time there were only {names} and sequences to go "
        "by: the categories of that part are guesses."
    )


def found_stages(stages: Sequence[StageTime]) -> str | None:
    """Return from what the stages were found, where neither labels nor annotations mark them."""
    sources = {row.source for row in stages}
    if "module" in sources:
        return "Nothing marks these stages; they are the models that the run calls."
    if "sequence" in sources:
        return "Nothing marks these stages; they were found in the sequence of the work."
    return None


def unmarked_whole(stages: Sequence[StageTime]) -> bool:
    """Say whether the only stage is all of the work: there is nothing to show of it."""
    named = [row for row in stages if row.stage is not None]
    return len(named) < 2 and all(r.source == "sequence" and not r.per_step for r in named)


def outlier_steps(stages: Sequence[StageTime]) -> list[str]:
    """Return the steps that are far from the median of their stage, the farthest first."""
    far = {
        (row.stage, one.step): one
        for row in stages
        for one in sorted(row.outlier_steps, key=_times_off)
    }
    ranked = sorted(far.items(), key=lambda item: -_times_off(item[1]))
    lines = [
        f"Step {one.step} of {clean(stage)} "
        f"{'lasted' if one.measure == 'span' else 'took'} {format_ns(one.value_ns)}, "
        f"{one.value_ns / max(1, one.median_ns):.2g}x the median of its stage."
        for (stage, _), one in ranked[:_TOP]
    ]
    if len(ranked) > _TOP:
        lines.append(f"{len(ranked) - _TOP} more steps are as far from the median as to stand out.")
    return lines


def _times_off(one: OutlierStep) -> float:
    low, high = sorted((max(1, one.value_ns), max(1, one.median_ns)))
    return high / low


def largest(
    times: dict[str, int], whole_ns: int, top: int = _TOP
) -> list[tuple[str, int, float | None]]:
    """Return label, ns and share of `whole_ns` of the categories that take most time."""
    ranked = sorted((item for item in times.items() if item[1] > 0), key=lambda item: -item[1])
    return [(label_of(c), ns, share_of(ns, whole_ns)) for c, ns in ranked[:top]]


def plural(count: int, word: str) -> str:
    """Return `word` in the number that `count` asks for."""
    return word if count == 1 else f"{word}s"


def join(parts: list[str]) -> str:
    """Return parts of a sentence with commas and an `and`."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
