"""Figures as files: what `--figures FOLDER` of a command does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracekit.errors import HostError
from tracekit.output import refuse_existing, whole_file

if TYPE_CHECKING:
    from pathlib import Path

    from tracekit.reports.figures import FigureOptions
    from tracekit.results import Analysis, AnalysisSet


def write_figures(
    result: Analysis | AnalysisSet,
    folder: Path,
    options: FigureOptions | None = None,
    *,
    force: bool = False,
) -> list[Path]:
    """Write the figures of one analysis or several into a folder, and return their paths.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    OutputExistsError
        One of the files exists, and `force` is false; nothing is written then.
    HostError
        The folder cannot be made or written.
    """
    from tracekit.reports.figures import figure_files

    files = {folder / name: data for name, data in figure_files(result, options).items()}
    for path in files:
        refuse_existing(path, force=force)
    make_folder(folder)
    for path, data in files.items():
        with whole_file(path, force=force) as temporary:
            temporary.write_bytes(data)
    return list(files)


def make_folder(folder: Path) -> None:
    """Make a folder for output, with those above it.

    Raises
    ------
    HostError
        It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise HostError(f"{folder}: cannot be made ({reason}); choose another place") from error
