"""Which trace files stand behind a path: one file, a run folder, or a folder of ranks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tracekit.errors import InputError

MANIFEST: Final = "run.json"
TIMING: Final = "timing.json"
LIGHT_PASS: Final = "kernels.json.gz"
RICH_PASS: Final = "trace.json.gz"
EAGER_PASS: Final = "eager.json.gz"
COUNTERS: Final = "ncu.csv"
"""Names of the files of a run folder; none is a must."""

RICH: Final = "rich"
"""The pass that tells what the work means."""

EAGER: Final = "eager"
"""The pass that does the same work without compilation and CUDA graphs, labelled."""

_PASSES: Final = ((RICH_PASS, RICH), (LIGHT_PASS, "light"), (EAGER_PASS, EAGER))
_RUN_FILES: Final = frozenset({MANIFEST, TIMING, LIGHT_PASS, RICH_PASS, EAGER_PASS})
_RANK: Final = re.compile(r"(?:^|[^a-z])rank[-_.]?(\d{1,6})(?!\d)", re.IGNORECASE)
_TRACE_NAMES: Final = ("*.json", "*.json.gz")


@dataclass(frozen=True, slots=True)
class TraceFile:
    """One trace to read: its path, the pass it is (null outside of run folders), its rank.

    `rank` is what the names of file and folders say; what the file itself says counts first.
    `folder` is the run folder, null outside of one.
    """

    path: str
    pass_name: str | None = None
    rank: int | None = None
    folder: str | None = None


def beside(file: TraceFile, name: str) -> str | None:
    """Return the path of another file of the same run, null where there is none.

    What the folder of a rank lacks may stand in the folder around it, traces aside.
    """
    if file.folder is None:
        return None
    own = Path(file.folder) / name
    around = own.parent.parent / name
    is_shared = name in (MANIFEST, TIMING) and _rank_in(own.parent.name) is not None
    for path in (own, around) if is_shared else (own,):
        try:
            if path.is_file():
                return str(path)
        except (OSError, ValueError):
            continue
    return None


def open_run(path: str) -> tuple[TraceFile, ...]:
    """Return the trace files behind a path, ranks in their order.

    A run folder gives its rich pass, else its light one. A folder of rank folders gives one file
    a rank; any other folder gives all of its JSON files.

    Raises
    ------
    InputError
        The path does not exist, or is a folder without traces.
    """
    if "://" in path:
        return (TraceFile(path),)
    try:
        folder = Path(path)
        if not folder.is_dir():
            return (TraceFile(path, rank=_rank_in(folder.name)),)
        entries = sorted(folder.iterdir())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: cannot be read ({reason.lower()})") from error
    found = _of_folder(folder, entries)
    if not found:
        raise InputError(
            f"{path}: the folder holds no trace (no *.json or *.json.gz); give a trace file, a run "
            "folder or a folder of ranks"
        )
    return tuple(sorted(found, key=lambda file: (file.rank is None, file.rank or 0, file.path)))


def _of_folder(folder: Path, entries: list[Path]) -> list[TraceFile]:
    names = {entry.name for entry in entries}
    for name, pass_name in _PASSES:
        if name in names:
            return [TraceFile(str(folder / name), pass_name, _rank_in(folder.name), str(folder))]
    ranks = [entry for entry in entries if entry.is_dir() and _rank_in(entry.name) is not None]
    found = [file for rank in ranks for file in _of_folder(rank, sorted(rank.iterdir()))]
    if found:
        return found
    return [
        TraceFile(str(entry), rank=_first_rank(entry.name, folder.name))
        for entry in entries
        if entry.name not in _RUN_FILES
        and entry.is_file()
        and any(entry.match(pattern) for pattern in _TRACE_NAMES)
    ]


def _rank_in(name: str) -> int | None:
    match = _RANK.search(name)
    return int(match[1]) if match else None


def _first_rank(*names: str) -> int | None:
    return next((rank for name in names if (rank := _rank_in(name)) is not None), None)
