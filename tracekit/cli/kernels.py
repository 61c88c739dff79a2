"""`tracekit kernels`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tracekit.cli.options import helpers_for, load_options, options_from
from tracekit.cli.terminal import tell
from tracekit.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

_FORMATS: Final = (".csv", ".parquet")


@click.command()
@click.argument("path")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write here, as the name ends: .csv or .parquet; CSV to stdout without it.",
)
@click.option("--force", is_flag=True, help="Overwrite the output file if it exists.")
@load_options
def kernels(path: str, output: Path | None, force: bool, **loading: Any) -> None:
    """Write one row a GPU activity, with its category and why.

    PATH is a torch.profiler trace (.json or .json.gz), a run folder, a folder of ranks, or a URL.
    """
    from tracekit.output import refuse_existing, whole_file
    from tracekit.tabular import write_csv, write_parquet

    if output is not None:
        if output.suffix.lower() not in _FORMATS:
            raise UsageError(f"{output}: give a name that ends in .csv or .parquet")
        refuse_existing(output, force=force)
    table = _table(path, loading)
    if output is None:
        write_csv(table, sys.stdout.buffer)
        return
    with whole_file(output, force=force) as temporary:
        if output.suffix.lower() == ".parquet":
            write_parquet(table, temporary)
        else:
            with temporary.open("wb") as sink:
                write_csv(table, sink)


def _table(path: str, loading: dict[str, Any]) -> pa.Table:
    with helpers_for((path,), loading):
        import pyarrow as pa

        from tracekit.api import kernel_tables

        tables, unreadable = kernel_tables(
            path, options_from(loading), cache=not loading["no_cache"]
        )
    for entry in unreadable:
        tell(f"left out: {entry.error}")
    arrow = [table.to_arrow() for table in tables]
    return arrow[0] if len(arrow) == 1 else pa.concat_tables(arrow).unify_dictionaries()
