"""Runs a user's script under the profiler, in this process, as if Python had been given it."""

from __future__ import annotations

import os
import runpy
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from tracekit.collectors.counting import FirstSteps, toggle_counting
from tracekit.collectors.everywhere import staged_everywhere
from tracekit.collectors.recording import record
from tracekit.errors import UsageError


def is_script(command: Sequence[str]) -> bool:
    """Say whether a command is `python …` or a script."""
    return bool(command) and (_is_python(command[0]) or command[0].endswith(".py"))


def record_script(
    command: Sequence[str], folder: Path, *, stacks: bool = False, force: bool = False
) -> int:
    """Record what a script does into a run folder and return the script's exit code.

    Its diffusers pipelines and calls of `generate` are told apart into stages, and their attention
    modules labelled.

    `command` is `python script.py …`, `python -m module …` or `script.py …`; the script runs in
    this interpreter. What it raises is shown as Python shows it, and is exit code 1. `stacks`
    records Python stacks as well.

    Raises
    ------
    UsageError
        The command names no script, or one that is not there.
    OutputExistsError, HostError
        The folder holds something and `force` is off, or it cannot be written.
    """
    target, args, is_module = _split(command)
    with (
        _as_main(target, args, is_module=is_module),
        # The script may go to another directory.
        record(folder.absolute(), stacks=stacks, force=force) as recording,
        staged_everywhere(recording.stage) as labelled,
    ):
        try:
            return _run(target, recording.note, is_module=is_module)
        finally:
            recording.note_labels(len(labelled))


def count_script(command: Sequence[str]) -> int:
    """Run a script for Nsight Compute, counting in the first step of each stage; return its code.

    Nothing is imported before the script imports it.
    """
    target, args, is_module = _split(command)
    with (
        _as_main(target, args, is_module=is_module),
        staged_everywhere(FirstSteps(toggle_counting), label=False),
    ):
        return _run(target, lambda _error: None, is_module=is_module)


def _run(target: str, note: Callable[[BaseException], None], *, is_module: bool) -> int:
    try:
        if is_module:
            runpy.run_module(target, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(target, run_name="__main__")
    except SystemExit as stop:
        return _exit_code(stop)
    except Exception as error:
        note(error)
        traceback.print_exception(type(error), error, _own_frames(error.__traceback__))
        return 1
    return 0


def _split(command: Sequence[str]) -> tuple[str, list[str], bool]:
    """Return the script or module, its arguments, and whether it is a module."""
    rest = list(command[1:] if _is_python(command[0]) else command)
    if rest[:1] == ["-m"] and len(rest) > 1:
        return rest[1], rest[2:], True
    if not rest or rest[0].startswith("-"):
        raise UsageError("give python script.py … or python -m module … after --")
    if not Path(rest[0]).is_file():
        raise UsageError(f"{rest[0]}: there is no such script")
    return rest[0], rest[1:], False


def _is_python(name: str) -> bool:
    return Path(name).name.rstrip("0123456789.") in ("python", "python.exe")


@contextmanager
def _as_main(target: str, args: list[str], *, is_module: bool) -> Iterator[None]:
    """Let a script find its arguments and the modules beside it, and return from where it goes."""
    argv, path, place = sys.argv, list(sys.path), Path.cwd()
    sys.argv = [target, *args]
    sys.path.insert(0, os.getcwd() if is_module else str(Path(target).resolve().parent))  # noqa: PTH109
    try:
        yield
    finally:
        sys.argv, sys.path[:] = argv, path
        os.chdir(place)


def _exit_code(stop: SystemExit) -> int:
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    sys.stderr.write(f"{stop.code}\n")
    return 1


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of tracekit and runpy, which come first."""
    while trace is not None and trace.tb_frame.f_globals.get("__name__") != "__main__":
        trace = trace.tb_next
    return trace
