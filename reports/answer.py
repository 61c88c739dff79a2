"""The answer of a report in three sentences, and how its numbers were made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracekit.categories import EVIDENCES
from tracekit.reports import sentences
from tracekit.reports.idle_cells import HOST, NOWHERE, causes_of, culprits
from tracekit.reports.names import clean, fit
from tracekit.units import format_bytes, format_count, format_ns, format_share, share_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracekit.report_results import RunFacts
    from tracekit.results import Analysis, StageTime

_STAGES_NAMED: Final = 3
_NAME_WIDTH: Final = 96
_NOTHING: Final = (
    "Nothing that tracekit knows of would make this run 5% faster: neither a CUDA graph, nor fewer "
    "waits, nor fused attention, nor kernels of one category twice as fast."
)
_CPU: Final = "There is no GPU activity in the file, so nothing can be said of how idle a GPU was."
_CPU_BOUNDS: Final = (
    "What a change would give is not known of a CPU-only trace: only GPU work is timed anew."
)
_NO_BOUNDS: Final = (
    "What a change would give is not known: only the work of one GPU, whose launches are in the "
    "file, is timed anew."
)


def answer(result: Analysis) -> list[str]:
    """Return three sentences: where the time goes, how idle the GPU is, and what to do first."""
    return [_where(result), _idle(result), _what_to_do(result)]


def _where(result: Analysis) -> str:
    basis = result.trace.basis
    sentence = sentences.where_time_goes(result.time.kernel_ns, result.categories, basis)
    named = [row for row in result.stages if row.stage is not None and row.time_ns]
    if len(named) < 2:
        return sentence
    named.sort(key=lambda row: -row.time_ns)
    parts = [_stage(row, result.time.kernel_ns) for row in named[:_STAGES_NAMED]]
    return f"{sentence.removesuffix('.')}; by stage, {sentences.join(parts)}."


def _stage(row: StageTime, whole_ns: int) -> str:
    share = format_share(share_of(row.time_ns, whole_ns))
    largest = sentences.largest(row.categories, row.time_ns, 1)
    most = f" ({format_share(largest[0][2])} of it {largest[0][0].lower()})" if largest else ""
    return f"{fit(clean(row.stage), _NAME_WIDTH)} takes {share}{most}"


def _idle(result: Analysis) -> str:
    """Return how idle the GPU was, corrected where that is known, and who is to blame."""
    if result.trace.basis == "cpu":
        return _CPU
    sentence = sentences.idleness(result)
    if sentence is None:
        return "There is no GPU activity, so nothing was idle."
    causes, blame, is_corrected = causes_of(result)
    first = next(iter(culprits(blame, sum(row.time_ns for row in causes), 1)), None)
    if first is None:
        return sentence
    is_of_trace = result.corrected is not None and not is_corrected
    whose = "in the trace itself the largest part is" if is_of_trace else "the largest part is"
    at = "" if first.stage is None else f" in {fit(clean(first.stage), _NAME_WIDTH)}"
    return (
        f"{sentence.removesuffix('.')}; {whose} {format_ns(first.time_ns)} "
        f"({format_share(first.time_share)} of it) in which "
        f"{sentences.cause_clause(first.cause)}, {_place(first.who)}{at}."
    )


def _place(who: str) -> str:
    """Return where the host was, after a comma."""
    if who in (NOWHERE, HOST):
        return who if who == NOWHERE else f"on {who}"
    return f"at {fit(who, _NAME_WIDTH)}"


def _what_to_do(result: Analysis) -> str:
    if result.advice:
        first = result.advice[0]
        gain = "" if first.speedup is None else f" ({first.speedup:.2f}x at most)"
        return f"{clean(first.text).removesuffix('.')}{gain}."
    if not result.time.kernel_ns:
        return "There is nothing to speed up."
    if result.trace.basis == "cpu":
        return _CPU_BOUNDS
    return _NOTHING if result.what_if else _NO_BOUNDS


def made(result: Analysis, facts: RunFacts | None) -> list[tuple[str, str]]:
    """Return how the numbers were made, as labels with texts: nothing is kept from the reader."""
    trace = result.trace
    rows = [("File", clean(trace.path)), ("Recorded on", sentences.subject(trace))]
    rows.extend([] if facts is None else _recorded(facts))
    if trace.basis == "cpu":
        rows.append(("Basis", sentences.CPU_ONLY))
    rows.append(("Time", _time(result)))
    if result.corrected is not None:
        rows.append(("Without the profiler", clean(result.corrected.method)))
        dilation = result.corrected.dilation
        if dilation is not None:
            rows.append(("Dilation", f"This file's run took {dilation:.2f}x the unprofiled time."))
    rows.extend(("Categories", line) for line in _evidence(result))
    stages = sentences.found_stages(result.stages)
    sources = sorted({row.source for row in result.stages if row.source is not None})
    if sources:
        rows.append(("Stages", stages or f"Marked in the file ({', '.join(sources)})."))
    rows.extend(("Listed", line) for line in _listed(result))
    if not result.left_out:
        rows.append(("Left out", sentences.NOTHING_LEFT_OUT))
    for row in result.left_out:
        time = "" if row.time_ns is None else f", {format_ns(row.time_ns)}"
        count = f"{format_count(row.events)} {sentences.plural(row.events, 'event')}{time}"
        rows.append(("Left out", f"{clean(row.what)} ({count}): {clean(row.why)}."))
    rows.extend(("Warning", note) for note in sentences.notes(trace))
    return rows


def _recorded(facts: RunFacts) -> Iterator[tuple[str, str]]:
    """Return what the manifest of a run folder says."""
    memory = facts.peak_memory_bytes
    run = [
        ("model", facts.model),
        ("attention", facts.attention),
        ("dtype", facts.dtype),
        ("seed", None if facts.seed is None else str(facts.seed)),
        ("recorded", facts.created),
        ("peak memory", None if memory is None else format_bytes(memory)),
    ]
    said = [f"{what} {clean(value)}" for what, value in run if value is not None]
    if said:
        yield "Run", " · ".join(said)
    if facts.versions:
        yield "Versions", " · ".join(f"{clean(k)} {clean(v)}" for k, v in facts.versions.items())
    for one in facts.passes:
        file = "" if one.file is None else f" ({clean(one.file)})"
        wall = "" if one.wall_ns is None else f": {format_ns(one.wall_ns)}"
        slow = "" if one.dilation is None else f", {one.dilation:.2f}x the unprofiled time"
        slow = ", unprofiled" if one.dilation == 1 else slow
        yield "Pass", f"{clean(one.name)}{file}{wall}{slow}"


def _time(result: Analysis) -> str:
    time, what = result.time, "GPU activity" if result.trace.basis == "gpu" else "CPU ops"
    return (
        f"Span {format_ns(time.span_ns)}, busy {format_ns(time.busy_ns)}, idle "
        f"{format_ns(time.idle_ns)}, sum of all {what} {format_ns(time.kernel_ns)}, as in the "
        "file: categories, stages, kernels and the timeline are not corrected for the profiler."
    )


def _evidence(result: Analysis) -> list[str]:
    decided = sentences.decided_by(result.evidence)
    guessed = sentences.guesses(result.evidence, result.trace.basis)
    order = f"Strongest first: {', '.join(EVIDENCES)}."
    return [line for line in (decided and f"{decided} {order}", guessed) if line]


def _listed(result: Analysis) -> list[str]:
    lines = []
    for what, listed, total in (
        ("gaps", result.idle.gaps_listed, result.idle.gaps_total),
        ("attention calls", result.attention.calls_listed, result.attention.calls_total),
    ):
        if listed < total:
            lines.append(
                f"The analysis lists the {format_count(listed)} largest of {format_count(total)} "
                f"{what}; the timeline holds all."
            )
    return lines
