"""`tracekit tables`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tracekit.cli.figures import make_folder
from tracekit.cli.options import (
    analysis_options,
    helpers_for,
    keeper_for,
    load_options,
    options_from,
)
from tracekit.cli.terminal import echo_warnings

if TYPE_CHECKING:
    import pyarrow as pa

KERNELS: Final = "kernels"


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="FOLDER",
    help="Write into this folder, which is made if it is not there.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(("csv", "parquet")),
    default="csv",
    show_default=True,
    help="What to write; parquet keeps types and every name as it is.",
)
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
@click.option(
    "--all", "list_all", is_flag=True, help="List all gaps and attention calls, not 1,000."
)
@analysis_options
@load_options
def tables(
    paths: tuple[str, ...],
    output: Path,
    format_: str,
    force: bool,
    list_all: bool,
    peaks: tuple[str, ...],
    ncu: str | None,
    **loading: Any,
) -> None:
    """Write every table of an analysis, one file each.

    The kernel table is among them.

    PATH is a torch.profiler trace (.json or .json.gz), a run folder, a folder of ranks, or a URL.
    Each table begins with the columns path and rank, so that several inputs share a file.
    """
    with keeper_for(loading) as keeper:
        with helpers_for(paths, loading):
            from tracekit.analysis.device_peaks import parse_peaks
            from tracekit.api import analyze_with_kernels
            from tracekit.output import refuse_existing
            from tracekit.reports.table_list import TABLES

            for name in (*(spec.name for spec in TABLES), KERNELS):
                refuse_existing(output / f"{name}.{format_}", force=force)
            result, kernels = analyze_with_kernels(
                paths,
                options_from(loading),
                list_all=list_all,
                peaks=parse_peaks(peaks),
                ncu=ncu,
                cache=keeper,
            )
        from tracekit.reports.tables import tables as all_tables

        echo_warnings(result, shown=False)
        found = all_tables(result)
        found[KERNELS] = _kernels(kernels)
        _write(found, output, format_, force)


def _kernels(kernels: list[Any]) -> pa.Table:
    """Return the kernel tables of all inputs as one, with the path of each in front."""
    import pyarrow as pa

    from tracekit.tabular import encodable

    parts = []
    for table in kernels:
        path = pa.array([encodable(table.linked.trace.path)])
        codes = pa.DictionaryArray.from_arrays(pa.nulls(len(table), pa.int32()).fill_null(0), path)
        parts.append(table.to_arrow().add_column(0, "path", codes))
    return pa.concat_tables(parts).unify_dictionaries()


def _write(found: dict[str, pa.Table], folder: Path, format_: str, force: bool) -> None:
    from tracekit.output import whole_file
    from tracekit.tabular import write_csv, write_parquet

    write = write_csv if format_ == "csv" else write_parquet
    make_folder(folder)
    for name, table in found.items():
        with whole_file(folder / f"{name}.{format_}", force=force) as temporary:
            write(table, temporary)
