"""Writes what was measured of recording into the documentation, between markers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.document import replace_between
from benchmarks.tools import UnusableError

_LIBRARIES: Final = ("torch", "diffusers", "transformers")
_WORKLOADS: Final = {
    "eager": "eager",
    "graph": "CUDA graph, the host waits for the GPU after each step",
    "eager-scheduler": "eager, asleep in the scheduler",
    "graph-scheduler": "CUDA graph, the host waits for the GPU, then sleeps in the scheduler",
}


def document(files: Sequence[Path], docs: Path) -> None:
    """Replace the text between the markers of each file's kind.

    Raises
    ------
    UnusableError
        A file cannot be read or is of no known kind, or the markers are not there; nothing is
        written then.
    """
    text = _read(docs)
    for file in files:
        body = _body(file)
        render = RENDERERS.get(body.get("what", ""))
        if render is None:
            raise UnusableError(f"{file}: holds nothing that belongs into {docs}")
        text = replace_between(text, body["what"], render(body))
    docs.write_text(text, encoding="utf-8")


def passes_text(body: dict[str, Any]) -> str:
    """Return the table of passes."""
    lines = [
        f"{machine(body)}; wall time of a run without a profiler as median (least–greatest). Light "
        f"and rich: median of {body['rounds']} ratios of runs in turn with and without the "
        "profiler, with its 95% interval; eager: once. Kernels: time of the rich pass over that "
        "of the light one.",
        "",
        "| run | unprofiled ms | repeats | light | rich | eager | kernels: rich / light |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in body["rows"]:
        if "error" in row:
            lines.append(f"| {row['run']} | {row['error']} | – | – | – | – | – |")
            continue
        wall = f"{_ms(row['unprofiled_ms'])} ({_ms(row['min_ms'])}–{_ms(row['max_ms'])})"
        eager = f"{row['eager']:.2f}x" if row["eager"] else "–"
        cells = [row["run"], wall, str(row["repeats"]), _multiple(row["light"])]
        cells += [_multiple(row["rich"]), eager, f"{row['kernels_rich_over_light']:.4f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def hooks_text(body: dict[str, Any]) -> str:
    """Return the table of what labels cost when nothing profiles."""
    lines = [
        f"{machine(body)}. Pairs of unprofiled runs without and with labels, in alternating order; "
        "median of the paired ratios with its bootstrap 95% interval. A label adds "
        f"{body['call_ns']:.0f} ns to a call, a stage marker takes {body['mark_ns']:.0f} ns; the "
        "last column is that times the calls and marks of a run, over its time.",
        "",
        "| run | pairs | ms | with labels / without | labelled calls, marks | host time |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in body["models"].items():
        unit = ", ".join(_counted(count, what) for what, count in row["unit"].items())
        span = f"{row['ratio']:.4f} ({row['low']:.4f}–{row['high']:.4f})"
        lines.append(
            f"| {name}, {unit} | {row['pairs']} | {_ms(row['median_ms'])} | {span} | "
            f"{row['labelled_calls']}, {row['stage_marks']} | {row['host_share']:.3%} |"
        )
    return "\n".join(lines)


def sleeps_text(body: dict[str, Any]) -> str:
    """Return the table of corrected idle time against what the host slept.

    Where stacks were recorded, it has what the function that slept is blamed for.
    """
    with_blame = any("blamed_ms" in row for rows in body["workloads"].values() for row in rows)
    told = " Blamed is the idle time that `corrected.blame` names the function that slept for."
    lines = [
        f"{machine(body)}. Stable Diffusion, {body['steps']} steps, a sleep of the host before "
        f"each, or inside where it says so; {body['rounds']} unprofiled runs of each sleep, in "
        "turn in one process; the corrected idle time is that of `tracekit analyze` on the run "
        "folder of each; the interval of 95% is what wall times leave open."
        f"{told if with_blame else ''}",
        "",
        "| workload | sleep | slept ms a run | idle ms | grew by ms | grew / slept |"
        f"{' blamed ms | blamed / slept |' if with_blame else ''}",
        f"| --- | ---: | ---: | ---: | ---: | ---: |{' ---: | ---: |' if with_blame else ''}",
    ]
    for kind, rows in body["workloads"].items():
        for row in rows:
            cells = [_WORKLOADS[kind], f"{row['sleep_ms']} ms", f"{row['slept_ms']:.2f}"]
            cells += [_two(row["idle_ms"]), _two(row["idle_grew_ms"]), _growth(row)]
            if with_blame:
                cells += [_two(row.get("blamed_ms")), _two(row.get("blamed_over_slept"))]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


RENDERERS: Final = {"passes": passes_text, "hooks": hooks_text, "sleeps": sleeps_text}
"""What writes each kind of file; the kind is the name of the markers too."""


def machine(body: dict[str, Any]) -> str:
    """Return GPU, driver, libraries, dtype and date in one clause."""
    versions = body["versions"]
    where = body["gpu"] or f"no GPU, {body['processor']}"
    driver = f" (driver {body['driver']})" if body["driver"] else ""
    libraries = [f"{name} {versions[name]}" for name in _LIBRARIES if versions.get(name)]
    models = f"random weights in {body['dtype']}"
    return ", ".join([f"{where}{driver}", *libraries, models, body["date"]])


def _multiple(spread: dict[str, float]) -> str:
    return f"{spread['ratio']:.2f}x ({spread['low']:.2f}–{spread['high']:.2f})"


def _counted(count: int, what: str) -> str:
    name = what.replace("_", " ")
    return f"{count} {name.removesuffix('s') if count == 1 else name}"


def _growth(row: dict[str, Any]) -> str:
    if row["grew_over_slept"] is None:
        return "–"
    return f"{row['grew_over_slept']:.2f} ({row['low']:.2f}–{row['high']:.2f})"


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _two(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UnusableError(f"{path}: cannot be read ({error.strerror})") from error


def _body(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(_read(path))
    except ValueError as error:
        raise UnusableError(f"{path}: is no JSON ({error})") from error
    return body if isinstance(body, dict) else {}
