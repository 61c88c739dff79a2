"""Make a long trace out of a short one: ``python -m benchmarks.scale SOURCE OUT --mb 500``.

The event list of SOURCE is written N times. Each copy starts when the one before has ended, and
has its own correlations, external ids, record function ids, event indices, Python ids, sequence
numbers and flow ids, so the result is what the profiler would have written for a run N times as
long. All else, layout included, stays as SOURCE has it: one copy is SOURCE byte for byte when its
timestamps have three decimals.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

import numpy as np
from isal import igzip

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

MB: Final = 1_000_000

# Flow ids are correlations in ac2g flows, so the two must move together. Lower values than `lowest`
# mean "none" and stay: an event index can be 0, a correlation cannot.
_FAMILY_OF: Final = {
    "correlation": "correlation",
    "wait_on_cuda_event_record_corr_id": "correlation",
    "id": "correlation",
    "External id": "external",
    "external id": "external",
    "Record function id": "record function",
    "Ev Idx": "event",
    "Python id": "python",
    "Python parent id": "python",
    "Sequence number": "sequence",
}
_LOWEST: Final = {"event": 0, "python": 0, "sequence": 0}

# No string can hold such a key with its quotes unescaped, so text inside strings never matches.
# "id" is a name that arguments use too: only the one right after a flow's phase is a flow id.
_SHIFTED: Final = re.compile(
    r'"(?P<key>ts|(?<="ph": "[stf]", ")id|'
    + "|".join(re.escape(key) for key in _FAMILY_OF if key != "id")
    + r')"\s*:\s*"?(?P<value>-?\d+(?:\.\d+)?)(?![\d.eE])'
)
# Two copies never touch: the next one begins this long after the end of the one before.
_PAUSE_NS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Template:
    """A trace cut at the numbers in which its copies differ.

    `body` is the event list as a bytes format string, `base` the value of each of its fields in the
    source, `step` what each copy adds to it. A timestamp takes two fields, whole microseconds and
    the nanoseconds that remain; `micros` and `nanos` are their positions, and `ts_ns` and
    `ts_step` their values and steps in ns. `source_bytes` and `list_bytes` are sizes of the whole
    source and of its event list.
    """

    head: bytes
    body: bytes
    separator: bytes
    tail: bytes
    base: NDArray[np.int64]
    step: NDArray[np.int64]
    micros: NDArray[np.int64]
    nanos: NDArray[np.int64]
    ts_ns: NDArray[np.int64]
    ts_step: NDArray[np.int64]
    events: int
    period_ns: int
    source_bytes: int
    list_bytes: int

    def copies_for(self, size_mb: float) -> int:
        """Return how many copies come nearest to `size_mb` MB of JSON, at least one."""
        rest = self.source_bytes - self.list_bytes
        return max(1, round((size_mb * MB - rest) / self.list_bytes))

    def copy(self, number: int) -> bytes:
        """Return the event list as text, moved on by `number` periods."""
        values = self.base + number * self.step
        ts_ns = self.ts_ns + number * self.ts_step
        values[self.micros], values[self.nanos] = ts_ns // 1000, ts_ns % 1000
        return self.body % tuple(values.tolist())


@dataclass(frozen=True, slots=True)
class _Times:
    """Start of each event in file order, in ns, and by how much a copy moves it."""

    start_ns: list[int]
    step_ns: list[int]
    period_ns: int


def read_template(source: Path) -> Template:
    """Cut a Kineto trace (`.json` or `.json.gz`) at the numbers that its copies shift.

    Raises
    ------
    ValueError
        If the file holds no event list, timestamps finer than a nanosecond or before 0, or has its
        timestamps or flow ids laid out otherwise than Kineto writes them.
    """
    with _open_read(source) as file:
        text = file.read().decode("utf-8")
    opening = re.search(r'"traceEvents"\s*:\s*', text)
    if opening is None:
        raise ValueError(f"{source}: no traceEvents")
    events, end = json.JSONDecoder(parse_float=Decimal).raw_decode(text, opening.end())
    if not isinstance(events, list) or not events:
        raise ValueError(f"{source}: an empty list of events cannot be scaled")
    begin, end = opening.end() + 1, end - 1
    inner = text[begin:end]
    lead = inner[: len(inner) - len(inner.lstrip())]
    core = inner.strip()
    trail = inner[len(inner.rstrip()) :]
    return _cut(
        source=source,
        around=(text[:begin] + lead, core, "," + lead, trail + text[end:]),
        times=_times(source, events),
        events=events,
    )


def write_scaled(template: Template, out: Path, copies: int) -> int:
    """Write `copies` copies to `out`, gzipped if it ends in `.gz`; return the bytes of JSON.

    The file appears whole or not at all, and the same call always writes the same bytes.
    """
    part = out.with_name(out.name + ".part")
    size = 0
    try:
        with part.open("wb") as raw, _packed(raw, gz=out.suffix == ".gz") as file:
            for piece in scaled(template, copies):
                file.write(piece)
                size += len(piece)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return size


def scaled(template: Template, copies: int) -> Iterator[bytes]:
    """Yield the JSON of the scaled trace, one copy of the event list at a time."""
    if copies < 1:
        raise ValueError(f"a trace has at least 1 copy, not {copies}")
    yield template.head
    for number in range(copies):
        if number:
            yield template.separator
        yield template.copy(number)
    yield template.tail


def _open_read(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _packed(raw: IO[bytes], gz: bool) -> AbstractContextManager[IO[bytes]]:
    if not gz:
        return nullcontext(raw)
    gzip_file: Any = igzip.IGzipFile  # which is untyped
    # A name or a time in the header would make two runs differ.
    return cast(
        "IO[bytes]", gzip_file(filename="", mode="wb", compresslevel=2, fileobj=raw, mtime=0)
    )


def _times(source: Path, events: list[dict[str, Any]]) -> _Times:
    start_ns: list[int] = []
    moves: list[bool] = []
    first, last = None, 0
    for event in events:
        if "ts" not in event:
            continue
        start = _ns(source, event["ts"])
        # Some writers give metadata no time of its own: it stays at 0 and tells no period.
        timed = start > 0 or event.get("ph") != "M"
        start_ns.append(start)
        moves.append(timed)
        if timed:
            first = start if first is None else min(first, start)
            last = max(last, start + _ns(source, event.get("dur", 0)))
    period = last - (first or 0) + _PAUSE_NS
    return _Times(start_ns, [period if move else 0 for move in moves], period)


def _ns(source: Path, micros: Decimal | int | str) -> int:
    ns = Decimal(micros) * 1000
    if ns < 0 or ns != int(ns):
        raise ValueError(f"{source}: {micros} us is not a whole number of nanoseconds from 0 on")
    return int(ns)


def _cut(
    source: Path,
    around: tuple[str, str, str, str],
    times: _Times,
    events: list[dict[str, Any]],
) -> Template:
    head, core, separator, tail = (part.encode() for part in around)
    matches = list(_SHIFTED.finditer(around[1]))
    keys = [match["key"] for match in matches]
    if keys.count("ts") != len(times.start_ns):
        raise ValueError(f"{source}: {keys.count('ts')} ts in {len(times.start_ns)} timed events")
    flows = sum(event.get("ph") in ("s", "t", "f") for event in events)
    if keys.count("id") != flows:
        raise ValueError(f"{source}: {keys.count('id')} flow ids in {flows} flow events")
    is_ts = np.array([key == "ts" for key in keys], dtype=bool)
    ids = [0 if match["key"] == "ts" else int(match["value"]) for match in matches]
    # Every field takes one place in the arguments of the format string, a timestamp two.
    place = np.cumsum(1 + is_ts) - 1 - is_ts
    base, step = np.zeros((2, len(keys) + int(is_ts.sum())), dtype=np.int64)
    base[place] = ids
    step[place] = _steps(keys, ids)
    return Template(
        head=head,
        body=_format_string(around[1], matches),
        separator=separator,
        tail=tail,
        base=base,
        step=step,
        micros=place[is_ts],
        nanos=place[is_ts] + 1,
        ts_ns=np.array(times.start_ns, dtype=np.int64),
        ts_step=np.array(times.step_ns, dtype=np.int64),
        events=len(events),
        period_ns=times.period_ns,
        source_bytes=len(head) + len(core) + len(tail),
        list_bytes=len(core) + len(separator),
    )


def _steps(keys: list[str], values: list[int]) -> list[int]:
    """Return what a copy adds to each id: the width of its family's range, or 0 for "none"."""
    seen: dict[str, tuple[int, int]] = {}
    families = [_FAMILY_OF.get(key, "") for key in keys]
    for family, value in zip(families, values, strict=True):
        if family and value >= _LOWEST.get(family, 1):
            low, high = seen.get(family, (value, value))
            seen[family] = (min(low, value), max(high, value))
    width = {family: high - low + 1 for family, (low, high) in seen.items()}
    return [
        width[family] if family and value >= _LOWEST.get(family, 1) else 0
        for family, value in zip(families, values, strict=True)
    ]


def _format_string(text: str, matches: list[re.Match[str]]) -> bytes:
    pieces: list[str] = []
    done = 0
    for match in matches:
        pieces.append(text[done : match.start("value")].replace("%", "%%"))
        pieces.append("%d.%03d" if match["key"] == "ts" else "%d")
        done = match.end("value")
    pieces.append(text[done:].replace("%", "%%"))
    return "".join(pieces).encode()


def main(argv: Sequence[str] | None = None) -> int:
    """Scale one trace from the command line; the exit codes are those of tracekit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("source", type=Path, help="the trace to repeat, .json or .json.gz")
    parser.add_argument("out", type=Path, help="where to write, .json or .json.gz")
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--mb", type=float, help="size of the JSON in MB, met to half a copy")
    size.add_argument("--copies", type=int, help="how many times to repeat the event list")
    parser.add_argument("--force", action="store_true", help="overwrite OUT")
    args = parser.parse_args(argv)
    if args.out.exists() and not args.force:
        parser.error(f"{args.out} exists (overwrite it with --force)")
    try:
        template = read_template(args.source)
        copies = args.copies if args.copies is not None else template.copies_for(args.mb)
        written = write_scaled(template, args.out, copies)
    except ValueError as error:
        print(f"benchmarks.scale: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"benchmarks.scale: {error}", file=sys.stderr)
        return 5
    print(json.dumps({"copies": copies, "events": copies * template.events, "bytes": written}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
