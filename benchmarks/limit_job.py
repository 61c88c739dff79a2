"""One limit, measured in a process of its own: ``python -m benchmarks.limit_job JOB TRACE``.

Prints as JSON the bytes of JSON that went through and the seconds it took, imports and the reading
of the file (but for `gunzip` and the loads) not counted. ``pack`` and ``unpack`` take the file to
write as well. Exits with 4 where a job needs what is not installed.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal, cast

import msgspec
from isal import igzip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK_BYTES: Final = 1 << 20

_LIST: Final = re.compile(rb'"traceEvents"\s*:\s*\[')
_BETWEEN: Final = re.compile(rb"\}\s*,\s*\{")
# Where the cut of a chunk is looked for first.
_NEAR_BYTES: Final = 1 << 14
_TRIES: Final = 256
_MAX_BYTES: Final = 1 << 26

_LEVEL: Final = 2
_open_gzip: Any = igzip.open  # which is untyped


class _Anything(msgspec.Struct):
    """An object of which nothing is read."""


_passes: Final = msgspec.json.Decoder(list[_Anything]).decode


class NotMeasurableError(Exception):
    """The job cannot be done here; `code` is the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def chunks(path: str, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield the event list as JSON arrays of about `chunk_bytes` bytes, cut between two events.

    The last event is left out, with what follows the list.

    Raises
    ------
    NotMeasurableError
        If there is no event list, or it cannot be cut.
    """
    with _open(path) as file:
        rest = b""
        inside = False
        while block := file.read(chunk_bytes):
            rest += block
            if not inside and (opening := _LIST.search(rest)):
                rest, inside = rest[opening.end() :], True
            if len(rest) > _MAX_BYTES:
                break
            cut = _cut(rest) if inside else None
            if cut:
                yield b"[" + rest[:cut] + b"]"
                rest = rest[cut:].lstrip(b" \t\r\n,")
    if not inside or len(rest) > _MAX_BYTES:
        raise NotMeasurableError("has no event list that can be cut into chunks", 3)


def _cut(text: bytes) -> int | None:
    """Return where the last event that is followed by another ends, null if there is none."""
    for start in (max(0, len(text) - _NEAR_BYTES), 0):
        found = [match.start() + 1 for match in _BETWEEN.finditer(text, start)]
        for cut in found[: -_TRIES - 1 : -1]:
            # What stands before a cut inside an event is no list.
            try:
                _passes(b"[" + text[:cut] + b"]")
            except msgspec.DecodeError:
                continue
            return cut
    return None


def _open(path: str, mode: Literal["rb", "wb"] = "rb") -> IO[bytes]:
    if path.endswith(".gz"):
        return cast("IO[bytes]", _open_gzip(path, mode, compresslevel=_LEVEL))
    return cast("IO[bytes]", Path(path).open(mode))


def gunzip(path: str) -> tuple[int, float]:
    """Decompress a gzip file block by block and return bytes of JSON and seconds."""
    size = 0
    started = time.perf_counter()
    with _open(path) as file:
        while block := file.read(CHUNK_BYTES):
            size += len(block)
    return size, time.perf_counter() - started


def walk_simdjson(path: str) -> tuple[int, float]:
    """Parse chunks with one simdjson parser and touch every event once."""
    try:
        simdjson: Any = import_module("simdjson")
    except ModuleNotFoundError as error:
        raise NotMeasurableError("not installed: pip install pysimdjson", 4) from error
    parser = simdjson.Parser()

    def walk(chunk: bytes) -> None:
        # The parser takes no new text while an object of the last one is alive; all go on return.
        for _ in parser.parse(chunk):
            pass

    return _timed(path, walk)


def decode_msgspec(path: str) -> tuple[int, float]:
    """Decode chunks into the loader's own typed events."""
    from tracekit.loading.events import Event

    return _timed(path, msgspec.json.Decoder(list[Event]).decode)


def load(path: str, workers: int) -> tuple[int, float]:
    """Load the whole file as tracekit does."""
    from tracekit.loading.loader import LoadOptions, load_file

    given: dict[str, Any] = {"workers": workers}
    if "workers" not in {field.name for field in fields(LoadOptions)}:
        if workers > 1:
            raise NotMeasurableError("this tracekit loads in one process only", 4)
        given = {}
    with _open(path) as file:
        size = sum(len(block) for block in iter(lambda: file.read(CHUNK_BYTES), b""))
    started = time.perf_counter()
    load_file(path, LoadOptions(**given))
    return size, time.perf_counter() - started


def _timed(path: str, work: Callable[[bytes], object]) -> tuple[int, float]:
    # A chunk at a time, as a loader does it: then it is still in the processor's cache, and traces
    # larger than the memory can be measured.
    size, seconds = 0, 0.0
    for chunk in chunks(path):
        started = time.perf_counter()
        work(chunk)
        seconds += time.perf_counter() - started
        size += len(chunk)
    if not size:
        raise NotMeasurableError("has fewer than two events", 3)
    return size, seconds


def _convert(source: str, out: str) -> None:
    with _open(source) as file, _open(out, "wb") as writer:
        shutil.copyfileobj(file, writer, CHUNK_BYTES)


JOBS: Final[dict[str, Callable[[str], tuple[int, float]]]] = {
    "gunzip": gunzip,
    "simdjson": walk_simdjson,
    "msgspec": decode_msgspec,
    "load1": lambda path: load(path, 1),
    "load2": lambda path: load(path, 2),
}


def main(job: str, path: str, out: str | None = None) -> int:
    """Do one job and print what it took."""
    if out is not None:
        _convert(path, out)
        return 0
    try:
        size, seconds = JOBS[job](path)
    except NotMeasurableError as error:
        print(error, file=sys.stderr)
        return error.code
    print(json.dumps({"bytes": size, "seconds": seconds}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
