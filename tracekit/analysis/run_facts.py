"""What the manifest of a run folder says of how the run was recorded, for a report."""

from __future__ import annotations

from typing import Any, Final

from tracekit.report_results import PassFacts, RunFacts

_MOST_MS: Final = 1e12
_NS_IN_MS: Final = 1_000_000


def run_facts(manifest: dict[str, Any] | None) -> RunFacts | None:
    """Return what a manifest says, null without one; what is not as it should be counts as unsaid.

    A manifest may come from anybody.
    """
    if manifest is None:
        return None
    model, versions = manifest.get("model"), manifest.get("versions")
    passes = manifest.get("passes")
    return RunFacts(
        created=_text(manifest.get("created")),
        model=_text(model.get("name") if isinstance(model, dict) else model),
        attention=_text(manifest.get("attention")),
        dtype=_text(manifest.get("dtype")),
        seed=_whole(manifest.get("seed")),
        peak_memory_bytes=_whole(manifest.get("peak_memory_bytes")),
        versions={
            name: value
            for name, value in (versions if isinstance(versions, dict) else {}).items()
            if isinstance(value, str) and value
        },
        passes=tuple(
            facts
            for row in (passes if isinstance(passes, list) else [])
            if isinstance(row, dict) and (facts := _pass(row)) is not None
        ),
    )


def _pass(row: dict[str, Any]) -> PassFacts | None:
    name = _text(row.get("pass"))
    if name is None:
        return None
    wall_ms, dilation = _number(row.get("wall_ms")), _number(row.get("dilation"))
    wall_ns = None if wall_ms is None else round(wall_ms * _NS_IN_MS)
    return PassFacts(name, _text(row.get("file")), wall_ns, dilation)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    return value if is_count else None


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < _MOST_MS else None
