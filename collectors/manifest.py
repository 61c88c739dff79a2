"""What `run.json` says of a run: the parts that every way of recording shares."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from tracekit.collectors.environment import rank_and_size

if TYPE_CHECKING:
    from tracekit.collectors.profiling import Recipe, Recorded

_TRACEBACK_LINES: Final = 40
_MAX_CALLS: Final = 2000
"""Most entries on attention calls of one pass; they are a tenth of a kilobyte or two each."""


def new_manifest(
    name: str, config: Mapping[str, Any], settings: Mapping[str, Any], plan: Sequence[str]
) -> dict[str, Any]:
    """Return the manifest of a run that has not begun.

    `settings` are the options as JSON; device, attention, dtype and seed are also said by
    themselves. `plan` names the passes that are to come.
    """
    rank, world_size = rank_and_size()
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "rank": rank,
        "world_size": world_size,
        "device": settings.get("device"),
        "model": {"name": name, "config": dict(config)},
        "attention": settings.get("attention"),
        "dtype": settings.get("dtype"),
        "seed": settings.get("seed"),
        "options": dict(settings),
        "stages": [],
        "passes": [],
        "missing": list(plan),
        "peak_memory_bytes": None,
        "peak_reserved_bytes": None,
        "errors": [],
    }


def stage_entries(true: Mapping[str, int], traced: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the stages with their true and traced numbers of steps, null where unknown."""
    names = [*true, *(name for name in traced if name not in true)]
    return [
        {"stage": name, "steps": true.get(name), "traced_steps": traced.get(name)} for name in names
    ]


def pass_entry(recipe: Recipe, done: Recorded, alone_ms: float | None) -> dict[str, Any]:
    """Return what is said of a recorded pass; `alone_ms` is its work's time unprofiled."""
    if done.is_cut:
        alone_ms = None
    notes = list(done.notes)
    if recipe.name == "light" and not recipe.cuda:
        notes.append("CPU ops without shapes: the run has no GPU")
    calls = done.facts.calls
    if calls is not None and len(calls) > _MAX_CALLS:
        left_out = sum(entry["calls"] for entry in calls[_MAX_CALLS:])
        notes.append(f"attention_calls leaves out {left_out} calls")
        calls = calls[:_MAX_CALLS]
    return {
        "pass": recipe.name,
        "file": recipe.file,
        "wall_ms": done.wall_ms,
        "unprofiled_wall_ms": alone_ms,
        "dilation": round(done.wall_ms / alone_ms, 4) if alone_ms else None,
        "kernels": done.facts.kernels,
        "ops": done.facts.ops,
        "steps": done.steps,
        "attention_modules": done.attention_modules,
        "attention_backends": done.facts.backends,
        "attention_calls": calls,
        "notes": notes,
    }


def timing_entry(file: str, median_wall_ms: float | None) -> dict[str, Any]:
    """Return what is said of the timing pass."""
    return {
        "pass": "timing",
        "file": file,
        "wall_ms": median_wall_ms,
        "unprofiled_wall_ms": median_wall_ms,
        "dilation": 1.0,
        "notes": [],
    }


def error_entry(pass_name: str, error: BaseException) -> dict[str, Any]:
    """Return what is said of an error that ended a pass."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    return {
        "pass": pass_name,
        "error": type(error).__name__,
        "text": " ".join(str(error).split()) or type(error).__name__,
        "traceback": lines[-_TRACEBACK_LINES:],
    }
