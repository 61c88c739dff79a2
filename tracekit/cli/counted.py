"""`tracekit collect --ncu`: the process that Nsight Compute runs, and how it is started."""

from __future__ import annotations

import json
import re
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
        It runs on no GPU, or the pattern of names is none.
    HostError
        There is no ncu, or no GPU for a script.
    """
    from tracekit.collectors.counting import find_ncu
    from tracekit.collectors.environment import check_device

    if given["ncu_kernels"] is not None:
        try:
            re.compile(given["ncu_kernels"])
        except re.error as error:
            raise UsageError(f"--ncu-kernels: is no regular expression ({error})") from error
    if not is_script and not given["device"].startswith("cuda"):
        raise UsageError(f"--ncu: needs a GPU; leave out --device {given['device']}")
    find_ncu()
    if is_script:
        check_device("cuda")


def count(
    target: tuple[str, ...], given: dict[str, Any], folder: Path, *, is_script: bool = False
) -> int:
    """Run the work of a recorded folder once more, under ncu, and return the launches counted.

    Raises
    ------
    HostError
        It could not be counted; the rest of the run is in the folder.
    """
    from tracekit.collectors.counting import CountOptions, count_attention, release_memory
    from tracekit.errors import HostError

    release_memory()
    task = json.dumps({"target": target, "given": given, "is_script": is_script})
    child = [sys.executable, "-m", "tracekit.cli.counted", task]
    by_names = is_script or given["compile_"] or given["cuda_graph"]
    try:
        names = _names_to_count(folder, given["ncu_kernels"], by_names=by_names)
        options = CountOptions(names, given["ncu_launches"], from_start=is_script)
        return count_attention(child, folder, options)
    except HostError as error:
        raise HostError(f"{error} (the rest of the run is in {folder})") from error


def _names_to_count(folder: Path, pattern: str | None, *, by_names: bool) -> tuple[str, ...]:
    """Return the names of the kernels to count, none where all that are launched are to be.

    `by_names` says that nothing else tells which kernels are attention.
    """
    from tracekit.counters import function_name
    from tracekit.errors import HostError

    names = _attention_names(folder)
    if pattern is None:
        if by_names and not names:
            raise HostError("--ncu: there is no attention in the rich pass that could be counted")
        return names
    found = tuple(name for name in names if re.search(pattern, function_name(name)))
    if not found:
        functions = sorted({function_name(name) for name in names})
        raise HostError(
            f"--ncu-kernels {pattern}: is no kernel of attention; there are "
            f"{', '.join(functions) or 'none in the rich pass'}"
        )
    return found


def _attention_names(folder: Path) -> tuple[str, ...]:
    """Return the names of the attention kernels in a run folder, none where that is not known."""
    import numpy as np

    from tracekit.analysis.call_table import is_attention
    from tracekit.api import kernels
    from tracekit.errors import InputError
    from tracekit.runfolder import RICH_PASS

    if not (folder / RICH_PASS).is_file():
        return ()
    try:
        table = kernels(folder)
    except InputError:
        return ()
    rows = np.flatnonzero(is_attention(table) & (table.linked.trace.activities.kind == 0))
    names = (table.linked.trace.text(code) for code in np.unique(table.linked.name[rows]).tolist())
    return tuple(name for name in names if name)


def main() -> int:
    """Run the work that the first argument tells, for ncu to count; return the exit code."""
    task = json.loads(sys.argv[1])
    try:
        return _run(tuple(task["target"]), task["given"], is_script=task["is_script"])
    except TracekitError as error:
        click.echo(f"tracekit: {' '.join(str(error).split())}", err=True)
        return error.exit_code


def _run(target: tuple[str, ...], given: dict[str, Any], *, is_script: bool) -> int:
    if is_script:
        from tracekit.collectors.script import count_script

        return count_script(target)
    from tracekit.cli.collect import workload_of
    from tracekit.collectors.counting import CountedRun, run_counted

    options = CountedRun(
        attention=given["attention"],
        device=given["device"],
        seed=given["seed"],
        compile=given["compile_"],
        cuda_graph=given["cuda_graph"],
    )
    run_counted(workload_of(target, given), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
