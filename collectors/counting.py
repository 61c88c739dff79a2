"""Counts cache hits and memory traffic of attention kernels with Nsight Compute.

`ncu` runs a process of its own, in which the work runs twice: once to warm up, and once with
counting turned on while an attention module runs, in the first step of each stage. That process
calls `run_counted`, the one that starts it `count_attention`.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracekit.collectors.labelling import attention_modules
from tracekit.collectors.markers import CountingMarker
from tracekit.collectors.profiling import synchronize
from tracekit.collectors.runwriter import add_file, cannot_write
from tracekit.collectors.speedups import attention_backend
from tracekit.counters import METRICS, function_name, read_counters
from tracekit.errors import HostError, InputError
from tracekit.runfolder import COUNTERS

if TYPE_CHECKING:
    import torch

    from tracekit.collectors.workload import Attention, Workload

_PROGRAM: Final = "ncu"
_LONGEST_FILTER: Final = 4000
_FUNCTION: Final = re.compile(r"\w+", re.ASCII)
_NO_PERMISSION: Final = "ERR_NVGPUCTRPERM"
_NOTED: Final = re.compile(r"^==(?:ERROR|WARNING)==\s*(.+)", re.MULTILINE)


def find_ncu() -> str:
    """Return the path of Nsight Compute's command line.

    Raises
    ------
    HostError
        It is not on PATH.
    """
    found = shutil.which(_PROGRAM)
    if found is None:
        raise HostError(
            f"--ncu: there is no {_PROGRAM} on PATH; install Nsight Compute (it is part of the "
            "CUDA toolkit, and at https://developer.nvidia.com/nsight-compute), or add its folder, "
            "mostly /usr/local/cuda/bin, to PATH"
        )
    return found


def count_attention(
    child: Sequence[str], folder: Path, names: Iterable[str], most_launches: int
) -> int:
    """Run a command under Nsight Compute, put what it counted into a run folder; return launches.

    `child` is to call `run_counted`. `names` are those of attention kernels in the folder's traces:
    others are not counted, which takes time, unless the names are unknown. `most_launches` bounds
    how many are.

    Raises
    ------
    HostError
        There is no ncu, it may not count, it or the command failed, or it counted nothing.
    """
    command = ncu_command(find_ncu(), names, most_launches)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{COUNTERS}.", dir=folder)
        os.close(handle)
    except OSError as error:
        raise cannot_write(folder, error) from error
    log = Path(name)
    try:
        done = subprocess.run(  # noqa: S603
            [*command, "--log-file", name, *child],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        told = log.read_text(errors="replace") if log.is_file() else ""
        launches = _counted(log, told, done)
        about = {"metrics": list(METRICS), "launches": launches, "command": command[1:]}
        add_file(folder, COUNTERS, log, about)
    except OSError as error:
        raise HostError(f"--ncu: {command[0]} cannot be run ({error})") from error
    finally:
        log.unlink(missing_ok=True)
    return launches


def ncu_command(program: str, names: Iterable[str], most_launches: int) -> list[str]:
    """Return the command line of Nsight Compute, without the log file and what it is to run.

    Clocks stay as they are in the traces. Its other defaults stay, too: caches are emptied before
    each kernel, and a kernel runs again for each group of counters.
    """
    command = [program, "--csv", "--clock-control", "none", "--profile-from-start", "off"]
    command += ["--target-processes", "all", "--metrics", ",".join(METRICS)]
    command += ["--launch-count", str(most_launches)]
    pattern = name_filter(names)
    return command if pattern is None else [*command, "--kernel-name", f"regex:{pattern}"]


def name_filter(names: Iterable[str]) -> str | None:
    """Return a regular expression for kernels of these names, null where it would be no good.

    It is for the names of functions, with or without namespaces, searched or matched as a whole.
    """
    functions = sorted({function_name(name) for name in names})
    pattern = rf"^(.*\W)?({'|'.join(functions)})$"
    are_plain = all(_FUNCTION.fullmatch(function) for function in functions)
    return pattern if functions and are_plain and len(pattern) <= _LONGEST_FILTER else None


def run_counted(workload: Workload, *, attention: Attention, device: str, seed: int) -> None:
    """Run a workload as its passes do, once without and once with counting, for Nsight Compute.

    Raises
    ------
    HostError
        It has no attention modules.
    """
    import torch

    if not attention_modules(workload.modules):
        raise HostError(f"--ncu: {workload.name} has no attention modules that could be counted")
    run = workload.run_traced or workload.run
    marker = FirstSteps()
    with attention_backend(attention, device):
        torch.manual_seed(seed)
        run(CountingMarker())
        synchronize(cuda=True)
        with counted_modules(workload.modules, marker):
            torch.manual_seed(seed)
            run(marker)
            synchronize(cuda=True)


class FirstSteps:
    """Marks stages: `is_on` in the first step of each, and outside of all."""

    def __init__(self) -> None:
        self._first: dict[str, int | None] = {}
        self.is_on = True

    @contextmanager
    def __call__(self, name: str, step: int | None = None) -> Iterator[None]:
        """Say whether this step counts, as long as it lasts."""
        before = self.is_on
        self.is_on = before and self._first.setdefault(name, step) == step
        try:
            yield
        finally:
            self.is_on = before


@contextmanager
def counted_modules(roots: Mapping[str, torch.nn.Module], marker: FirstSteps) -> Iterator[None]:
    """Turn counting on while an attention module runs, in what the marker says counts."""
    from torch.cuda import profiler

    def begin(*_: Any) -> None:
        if marker.is_on:
            profiler.start()

    def end(*_: Any) -> None:
        if marker.is_on:
            profiler.stop()

    with ExitStack() as hooks:
        for entry in attention_modules(roots):
            first: Callable[..., Any] = entry.module.register_forward_pre_hook
            hooks.callback(first(begin).remove)
            last = entry.module.register_forward_hook(end, always_call=True)
            hooks.callback(last.remove)
        yield


def release_memory() -> None:
    """Give the GPU memory of a model that nobody uses any more back, for another process."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _counted(log: Path, told: str, done: subprocess.CompletedProcess[str]) -> int:
    """Return how many launches a file holds.

    Raises
    ------
    HostError
        There are none.
    """
    everything = "\n".join((told, done.stdout, done.stderr))
    if _NO_PERMISSION in everything:
        raise HostError(
            f"--ncu: the driver lets only administrators count ({_NO_PERMISSION}); run as root (in "
            "a container with --cap-add=SYS_ADMIN), or set NVreg_RestrictProfilingToAdminUsers=0: "
            f"https://developer.nvidia.com/{_NO_PERMISSION}"
        )
    if done.returncode:
        raise HostError(f"--ncu: {_PROGRAM} ended with {done.returncode} ({_last(told, done)})")
    try:
        launches = len(read_counters(str(log)))
    except InputError as error:
        raise HostError(f"--ncu: nothing was counted ({_last(told, done)})") from error
    if not launches:
        raise HostError(f"--ncu: nothing was counted ({_last(told, done)})")
    return launches


def _last(told: str, done: subprocess.CompletedProcess[str]) -> str:
    """Return what says best why it failed: the command's last line, else ncu's."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    noted = _NOTED.findall(f"{told}\n{done.stdout}")
    return (lines or noted or ["it says nothing"])[-1].strip()
