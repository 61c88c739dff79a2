"""`tracekit collect --ncu`: the process that Nsight Compute runs, and how it is started."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from tracekit.errors import TracekitError, UsageError


def check_countable(given: dict[str, Any], *, is_script: bool) -> None:
    """Raise when counting is asked for where it cannot be, before anything is recorded.

    Raises
    ------
    UsageError
        It is a script, runs on no GPU, or from graphs.
    HostError
        There is no ncu.
    """
    from tracekit.collectors.counting import find_ncu

    if is_script:
        raise UsageError(
            "--ncu: is for models, pipelines and functions; run a script under ncu --csv yourself, "
            "and give analyze its file with --ncu"
        )
    if not given["device"].startswith("cuda"):
        raise UsageError(f"--ncu: needs a GPU; leave out --device {given['device']}")
    for option, name in (("--compile", "compile_"), ("--cuda-graph", "cuda_graph")):
        if given[name]:
            raise UsageError(f"--ncu: counts attention modules, which {option} dissolves")
    find_ncu()


def count(target: tuple[str, ...], given: dict[str, Any], folder: Path) -> int:
    """Run the work of a recorded folder once more, under ncu, and return the launches counted.

    Raises
    ------
    HostError
        It could not be counted; the rest of the run is in the folder.
    """
    from tracekit.collectors.counting import count_attention, release_memory
    from tracekit.errors import HostError

    release_memory()
    task = json.dumps({"target": target, "given": given})
    child = [sys.executable, "-m", "tracekit.cli.counted", task]
    try:
        return count_attention(child, folder, _attention_names(folder), given["ncu_launches"])
    except HostError as error:
        raise HostError(f"{error} (the rest of the run is in {folder})") from error


def _attention_names(folder: Path) -> list[str]:
    """Return the names of the attention kernels in a run folder, none where that is not known."""
    import numpy as np

    from tracekit.analysis.call_table import is_attention
    from tracekit.api import kernels
    from tracekit.errors import InputError
    from tracekit.runfolder import RICH_PASS

    if not (folder / RICH_PASS).is_file():
        return []
    try:
        table = kernels(folder)
    except InputError:
        return []
    rows = np.flatnonzero(is_attention(table) & (table.linked.trace.activities.kind == 0))
    names = (table.linked.trace.text(code) for code in np.unique(table.linked.name[rows]).tolist())
    return [name for name in names if name]


def main() -> int:
    """Run the work that the first argument tells, for ncu to count; return the exit code."""
    from tracekit.cli.collect import workload_of
    from tracekit.collectors.counting import run_counted

    task = json.loads(sys.argv[1])
    given = task["given"]
    try:
        workload = workload_of(tuple(task["target"]), given)
        run_counted(
            workload, attention=given["attention"], device=given["device"], seed=given["seed"]
        )
    except TracekitError as error:
        click.echo(f"tracekit: {' '.join(str(error).split())}", err=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
