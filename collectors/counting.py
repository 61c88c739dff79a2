"""Counts cache hits and memory traffic of attention kernels with Nsight Compute.

`ncu` runs a process of its own, in which the work runs again: to warm up, and once with counting
turned on in the first step of each stage. Where the work runs eagerly, it is on while an attention
module runs; what is compiled or captured has no such modules, and there and in scripts the names of
kernels tell. That process calls `run_counted` or `script.count_script`, the one that starts it
`count_attention`.
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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracekit.collectors.labelling import attention_modules
from tracekit.collectors.markers import CountingMarker
from tracekit.collectors.profiling import synchronize
from tracekit.collectors.runwriter import add_file, cannot_write
from tracekit.collectors.speedups import (
    attention_backend,
    compile_modules,
    graph_modules,
    targets_of,
)
from tracekit.counters import METRICS, function_name, read_counters
from tracekit.errors import HostError, InputError
from tracekit.runfolder import COUNTERS

if TYPE_CHECKING:
    import torch

    from tracekit.collectors.workload import Attention, StageMarker, Workload

_PROGRAM: Final = "ncu"
_LONGEST_FILTER: Final = 4000
_WARM_UP_WHERE_FAST: Final = 3
"""Runs until `torch.compile` replays its own graphs: one compiles, one captures, one replays."""
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


@dataclass(frozen=True, slots=True)
class CountOptions:
    """What is counted.

    `names` are those of attention kernels: others are not counted, which takes time, unless there
    is no name. `most_launches` bounds how many are. `from_start` counts until the work says
    otherwise, else nothing counts until it says so.
    """

    names: tuple[str, ...] = ()
    most_launches: int = 2000
    from_start: bool = False


def count_attention(child: Sequence[str], folder: Path, options: CountOptions) -> int:
    """Run a command under Nsight Compute, put what it counted into a run folder; return launches.

    `child` is to call `run_counted` or `script.count_script`.

    Raises
    ------
    HostError
        There is no ncu, it may not count, it or the command failed, or it counted nothing.
    """
    command = ncu_command(find_ncu(), options)
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


def ncu_command(program: str, options: CountOptions) -> list[str]:
    """Return the command line of Nsight Compute, without the log file and what it is to run.

    Clocks stay as they are in the traces, and the kernels of a graph are counted one by one. Its
    other defaults stay, too: caches are emptied before each kernel, and a kernel runs again for
    each group of counters.
    """
    command = [program, "--csv", "--clock-control", "none", "--graph-profiling", "node"]
    command += ["--profile-from-start", "on" if options.from_start else "off"]
    command += ["--target-processes", "all", "--metrics", ",".join(METRICS)]
    command += ["--launch-count", str(options.most_launches)]
    pattern = name_filter(options.names)
    return command if pattern is None else [*command, "--kernel-name", f"regex:{pattern}"]


def name_filter(names: Iterable[str]) -> str | None:
    """Return a regular expression for kernels of these names, null where it would be no good.

    It is for the names of functions, with or without namespaces, searched or matched as a whole.
    """
    functions = sorted({function_name(name) for name in names})
    pattern = rf"^(.*\W)?({'|'.join(functions)})$"
    are_plain = all(_FUNCTION.fullmatch(function) for function in functions)
    return pattern if functions and are_plain and len(pattern) <= _LONGEST_FILTER else None


@dataclass(frozen=True, slots=True)
class CountedRun:
    """How the work runs: as in the passes of a run folder (`RecordOptions`)."""

    attention: Attention = "auto"
    device: str = "cuda"
    seed: int = 0
    compile: bool = False
    cuda_graph: bool = False


def run_counted(workload: Workload, options: CountedRun) -> None:
    """Run a workload as its passes do, first without and then with counting, for Nsight Compute.

    Raises
    ------
    HostError
        It runs eagerly and has no attention modules.
    UsageError
        It is to be compiled or captured, and its modules are not known.
    """
    speeds_up = options.compile or options.cuda_graph
    if not speeds_up and not attention_modules(workload.modules):
        raise HostError(f"--ncu: {workload.name} has no attention modules that could be counted")
    if speeds_up:
        targets = targets_of(workload.modules, workload.compile_targets)
        if options.compile:
            compile_modules(targets, graphs=options.cuda_graph)
        else:
            graph_modules(targets)
    with attention_backend(options.attention, options.device):
        for _ in range(_WARM_UP_WHERE_FAST if speeds_up else 1):
            _run_once(workload, CountingMarker(), options.seed)
        if speeds_up:
            with counted_stages() as marker:
                _run_once(workload, marker, options.seed)
        else:
            marker = FirstSteps()
            with counted_modules(workload.modules, marker):
                _run_once(workload, marker, options.seed)


def _run_once(workload: Workload, marker: StageMarker, seed: int) -> None:
    import torch

    torch.manual_seed(seed)
    (workload.run_traced or workload.run)(marker)
    synchronize(cuda=True)


class FirstSteps:
    """Marks stages: `is_on` in the first step of each, and outside of all.

    `toggle` is told whenever that changes.
    """

    def __init__(self, toggle: Callable[[bool], None] | None = None) -> None:
        self._first: dict[str, int | None] = {}
        self._toggle = toggle
        self.is_on = True

    @contextmanager
    def __call__(self, name: str, step: int | None = None) -> Iterator[None]:
        """Say whether this step counts, as long as it lasts."""
        before = self.is_on
        self._turn(is_on=before and self._first.setdefault(name, step) == step)
        try:
            yield
        finally:
            self._turn(is_on=before)

    def _turn(self, *, is_on: bool) -> None:
        if is_on != self.is_on and self._toggle is not None:
            self._toggle(is_on)
        self.is_on = is_on


def toggle_counting(is_on: bool) -> None:
    """Turn counting on or off from here on."""
    from torch.cuda import profiler

    (profiler.start if is_on else profiler.stop)()


@contextmanager
def counted_stages() -> Iterator[FirstSteps]:
    """Turn counting on, and off in each step of a stage behind its first."""
    toggle_counting(True)
    try:
        yield FirstSteps(toggle_counting)
    finally:
        toggle_counting(False)


@contextmanager
def counted_modules(roots: Mapping[str, torch.nn.Module], marker: FirstSteps) -> Iterator[None]:
    """Turn counting on while an attention module runs, in what the marker says counts."""

    def begin(*_: Any) -> None:
        if marker.is_on:
            toggle_counting(True)

    def end(*_: Any) -> None:
        if marker.is_on:
            toggle_counting(False)

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
