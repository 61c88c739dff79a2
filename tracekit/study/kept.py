"""What is kept of a recorded run: its kernel table and its analysis, without the traces.

A run folder of a study holds

* `run.json` and `timing.json`, as the collectors wrote them;
* `kernels.parquet`: one row a GPU activity, the columns of `tracekit kernels` that an analysis
  asks for (`KEPT_COLUMNS`), times from the first activity on;
* `analysis.json.gz`: what `tracekit analyze` found in the traces, with the lists of gaps, kernels
  and calls cut to their largest.

Traces are some hundred times as large. From the kernel table all sums can be made again; from the
analysis come what needs the trace: idle time, bounds, attention calls.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracekit.errors import InputError, TraceFormatError
from tracekit.output import whole_file
from tracekit.results import Analysis

if TYPE_CHECKING:
    import pyarrow as pa

    from tracekit.classifying.table import KernelTable

KERNELS: Final = "kernels.parquet"
ANALYSIS: Final = "analysis.json.gz"
GRAPHS_FILE: Final = "graphs.json"
KEPT_COLUMNS: Final = (
    "stream",
    "start_ns",
    "dur_ns",
    "name",
    "category",
    "evidence",
    "confidence",
    "attention_kind",
    "attention_axis",
    "stage",
    "step",
    "module",
    "op",
    "flops",
    "bytes",
)
_TEXTS: Final = ("name", "category", "evidence", "attention_kind", "attention_axis", "stage", "op")
_MOST: Final = 200
"""Gaps and attention calls that an analysis keeps."""
_MOST_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class KeptRun:
    """One run of a study, read back."""

    folder: Path
    analysis: Analysis

    def kernels(self) -> pa.Table:
        """Return the kernel table, columns as in `KEPT_COLUMNS`.

        Raises
        ------
        InputError
            The file is missing, or is no Parquet.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / KERNELS
        try:
            table: pa.Table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path}: cannot be read as Parquet: {_line(error)}") from error
        missing = [name for name in KEPT_COLUMNS if name not in table.column_names]
        if missing:
            raise TraceFormatError(f"{path}: has no column {missing[0]}; record the case again")
        return table


def keep(folder: Path, table: KernelTable, analysis: Analysis) -> None:
    """Write what is kept of a run into its folder.

    Raises
    ------
    HostError
        The folder cannot be written.
    """
    import msgspec
    import pyarrow.parquet as pq

    kernels = _relative(table.to_arrow().select(KEPT_COLUMNS))
    with whole_file(folder / KERNELS, force=True) as temporary:
        pq.write_table(
            kernels,
            temporary,
            compression="zstd",
            compression_level=19,
            use_dictionary=[*_TEXTS, "module"],
            column_encoding={"start_ns": "DELTA_BINARY_PACKED"},
            store_schema=True,
        )
    data = msgspec.json.encode(_cut(analysis, folder))
    with whole_file(folder / ANALYSIS, force=True) as temporary:
        temporary.write_bytes(gzip.compress(data, 9, mtime=0))


def read_kept(folder: Path) -> KeptRun:
    """Return a run of a study.

    Raises
    ------
    InputError
        Its analysis is missing, or broken.
    """
    import msgspec

    path = folder / ANALYSIS
    try:
        with gzip.open(path) as source:
            data = source.read(_MOST_BYTES + 1)
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read: {_line(error)}") from error
    if len(data) > _MOST_BYTES:
        raise InputError(f"{path}: is larger than any analysis of a study")
    try:
        analysis = msgspec.json.decode(data, type=Analysis)
    except msgspec.DecodeError as error:
        raise TraceFormatError(f"{path}: is no analysis: {_line(error)}") from error
    return KeptRun(folder, analysis)


def _relative(table: pa.Table) -> pa.Table:
    """Return the table with times from its first row on; absolute ones compress badly."""
    import pyarrow.compute as pc

    if not len(table):
        return table
    at = table.column_names.index("start_ns")
    start = table["start_ns"]
    return table.set_column(at, "start_ns", pc.subtract(start, pc.min(start)))


def _cut(analysis: Analysis, folder: Path) -> Analysis:
    """Return the analysis with its longest lists cut, and no path of the machine in it."""
    idle, attention = analysis.idle, analysis.attention
    gaps, calls = idle.gaps[:_MOST], attention.calls
    if len(calls) > _MOST:
        largest = sorted(calls, key=lambda call: -call.time_ns)[:_MOST]
        calls = tuple(sorted(largest, key=lambda call: call.start_ns))
    trace: dict[str, Any] = {"path": f"{folder.name}/{Path(analysis.trace.path).name}"}
    return replace(
        analysis,
        trace=replace(analysis.trace, **trace),
        top_kernels=analysis.top_kernels[:20],
        idle=replace(idle, gaps=gaps, gaps_listed=len(gaps)),
        attention=replace(attention, calls=calls, calls_listed=len(calls)),
    )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
