"""Mutations of real traces: of events as structures, and of their bytes; all from one seed."""

from __future__ import annotations

import copy
import gzip
import string
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from fuzz.json_text import LAYOUTS, Digits, Layout, Pairs, parse, write

DATA = Path(__file__).resolve().parent.parent / "data"
SAMPLE = DATA / "real_sample.json"
"""Events of the shipped example traces, kept together with what launched them."""

TIMES = (
    "0", "-0", "0.0", "1", "-1", "1.5", "0.0005", "0.0015", "1e-7", "1E3", "1.25e2", "0.001",
    "123456789012345678901", "9223372036854775.807", "9223372036854775808", "-5.001",
    "4611686018427387.904", "-4611686018427387.904", "4611686018427387.905",
    "9007199254740.992", "9007199254740.993", "1790857026123456.789", "4398046511104.001",
    "1790857026123456.78949999", "4593887672770.598", "1.0004999", "1.00050000000000001",
)  # fmt: skip
NUMBERS = ("0", "-1", "7", "7.0", "7.5", "2147483648", "9223372036854775807",
           "9223372036854775808", "-9223372036854775807", "1e3", "100000000000000000000",
           "4294967295")  # fmt: skip
WRONG_NUMBERS = ("1e400", "-1e400", "01", "1.", ".5", "+1", "0x10", "NaN", "Infinity", "-inf",
                 "nan", "1e", "--1", "1.0.0", "", "tru", "9" * 5000)  # fmt: skip
TEXTS = (
    "", " ", "0", "12", "12.5", "-3", " 7 ", "x" * 2000, "核心カーネル", "🚀", "a\u0000b",
    "\u001b[31m",     "[/bold]", "[red]", "a|b", "a,b\"c'\n", "},{", '"traceEvents":[', "]}",
    "\u2028", "\u202e", "\\", "=cmd", "nan", ":inf,",
    "ProfilerStep#3", "step 1", "step 2", "tk1|stage|denoise|1", "é",
    "tk1|stage|", "a" + "_" * 60, "Optimizer.step#Adam.step", "XBackward0", "\x7f", "\x85",
)  # fmt: skip
CATEGORIES = (
    "kernel", "gpu_memcpy", "gpu_memset", "cuda_runtime", "cuda_driver", "hip_runtime", "cpu_op",
    "python_function", "user_annotation", "gpu_user_annotation", "overhead", "cuda_sync", "ac2g",
    "Kernel", "Memcpy", "Memset", "Runtime", "Operator", "Trace", "my_category", "",
)  # fmt: skip
PHASES = ("X", "B", "E", "C", "i", "I", "M", "s", "t", "f", "b", "e", "", "Z", "N")
KEYS = ("ph", "cat", "name", "pid", "tid", "ts", "dur", "args")
ARGS = ("correlation", "device", "stream", "bytes", "grid", "block", "Input Dims", "Input type",
        "Sequence number", "Fwd thread id", "Python id", "External id", "graph node id", "name",
        "Concrete Inputs")  # fmt: skip


@cache
def _sample() -> tuple[Pairs, list[Pairs]]:
    trace = parse(SAMPLE.read_bytes())
    return Pairs((k, v) for k, v in trace if k != "traceEvents"), trace.get("traceEvents")


def real_events(rng: Random, most: int = 60) -> list[Any]:
    """Return copies of some consecutive real events."""
    events = _sample()[1]
    count = rng.randint(1, most)
    first = rng.randrange(max(1, len(events) - count))
    return copy.deepcopy(events[first : first + count])


def real_metadata() -> Pairs:
    """Return a copy of what a real trace says beside its events."""
    return copy.deepcopy(_sample()[0])


def any_value(rng: Random, depth: int = 2) -> Any:
    """Return a JSON value of any type."""
    kind = rng.randrange(10 if depth else 7)
    if kind == 0:
        return None
    if kind == 1:
        return rng.random() < 0.5
    if kind in (2, 3):
        return Digits(rng.choice(NUMBERS + TIMES))
    if kind in (4, 5, 6):
        return rng.choice(TEXTS)
    if kind in (7, 8):
        return [any_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return Pairs((rng.choice(TEXTS + KEYS + ARGS), any_value(rng, depth - 1)) for _ in range(3))


def _set_time(rng: Random, event: Pairs) -> None:
    event.put(rng.choice(("ts", "dur")), Digits(rng.choice(TIMES)))


def _set_time_loosely(rng: Random, event: Pairs) -> None:
    value = any_value(rng)
    if rng.random() < 0.5:
        value = rng.choice(TIMES)
    event.put(rng.choice(("ts", "dur")), value)


def _near_time(rng: Random, event: Pairs) -> None:
    """Move an event by little: intervals that cross, touch or coincide."""
    text = event.get("ts")
    if isinstance(text, Digits) and "e" not in text.lower():
        event.put("ts", Digits(text.split(".")[0] + f".{rng.randrange(1000):03}"))
    event.put("dur", Digits(f"{rng.randrange(40)}.{rng.randrange(1000):03}"))


def _set_field(rng: Random, event: Pairs) -> None:
    event.put(rng.choice(KEYS), any_value(rng))


def _set_category(rng: Random, event: Pairs) -> None:
    event.put("cat", rng.choice(CATEGORIES))


def _set_phase(rng: Random, event: Pairs) -> None:
    event.put("ph", rng.choice(PHASES))


def _set_name(rng: Random, event: Pairs) -> None:
    event.put("name", rng.choice(TEXTS))


def _set_arg(rng: Random, event: Pairs) -> None:
    args = event.get("args")
    if not isinstance(args, Pairs):
        args = Pairs()
    value = Digits(rng.choice(NUMBERS)) if rng.random() < 0.5 else any_value(rng)
    args.put(rng.choice(ARGS), value)
    event.put("args", args)


def _drop_field(rng: Random, event: Pairs) -> None:
    where = event.get("args") if rng.random() < 0.5 else event
    if isinstance(where, Pairs) and where:
        del where[rng.randrange(len(where))]


def _repeat_field(rng: Random, event: Pairs) -> None:
    where = event.get("args") if rng.random() < 0.5 else event
    if isinstance(where, Pairs) and where:
        key, value = rng.choice(where)
        where.insert(rng.randrange(len(where) + 1), (key, copy.deepcopy(value)))
        if rng.random() < 0.5:
            where.append((key, any_value(rng)))


def _shuffle_fields(rng: Random, event: Pairs) -> None:
    rng.shuffle(event)


def _nest(rng: Random, event: Pairs) -> None:
    """Put objects into lists into objects, whose text looks like the end of an event."""
    inner: Any = Pairs([("a", Digits("1"))])
    for _ in range(rng.randrange(1, 60)):
        inner = [inner, Pairs([("ph", "X")])] if rng.random() < 0.5 else Pairs([("b", inner)])
    args = event.get("args")
    if isinstance(args, Pairs):
        args.put("deep", inner)


EVENT_MUTATIONS: tuple[Callable[[Random, Pairs], None], ...] = (
    _set_time, _set_time_loosely, _near_time, _near_time, _set_field, _set_category, _set_phase,
    _set_name, _set_arg, _set_arg, _drop_field, _repeat_field, _shuffle_fields, _nest,
)  # fmt: skip


def mutate_events(rng: Random, events: list[Any], most: int = 12) -> list[Any]:
    """Change, repeat, drop and move events; the list stays valid JSON."""
    for _ in range(rng.randint(0, most)):
        if not events:
            break
        at = rng.randrange(len(events))
        act = rng.randrange(12)
        if act == 0:
            del events[at]
        elif act == 1:
            events.insert(rng.randrange(len(events) + 1), copy.deepcopy(events[at]))
        elif act == 2:
            events.append(events.pop(at))
        elif act == 3:
            events.insert(at, any_value(rng))
        elif isinstance(events[at], Pairs):
            rng.choice(EVENT_MUTATIONS)(rng, events[at])
    return events


def mutate_metadata(rng: Random, metadata: Pairs) -> Pairs:
    """Change what stands beside the events."""
    keys = ("distributedInfo", "deviceProperties", "torch_version", "schemaVersion",
            "baseTimeNanoseconds", "displayTimeUnit", "other")  # fmt: skip
    for _ in range(rng.choice((0, 0, 1, 2))):
        key, value = rng.choice(keys), any_value(rng, 3)
        if rng.random() < 0.3:
            rank = Digits(rng.choice(NUMBERS))
            key, value = "distributedInfo", Pairs([("rank", rank), ("world_size", rank)])
        elif rng.random() < 0.3:
            key = "deviceProperties"
            value = [Pairs([("id", any_value(rng)), ("name", any_value(rng))])]
        metadata.put(key, value)
    return metadata


def trace_text(
    rng: Random, metadata: Pairs, events: list[Any], layout: Layout, *, bare: bool = False
) -> str:
    """Write a trace, with some of its metadata before the events and some after them."""
    listed = layout.event_separator.join(write(event, layout, rng) for event in events)
    listed = f"[{layout.inside}{listed}{layout.inside}]"
    if bare:
        return listed
    cut = rng.randint(0, len(metadata))
    fields = [f'"{key}"{layout.key_separator}{write(v, layout, rng)}' for key, v in metadata]
    fields.insert(cut, f'"traceEvents"{layout.key_separator}{listed}')
    return "{" + layout.inside + layout.item_separator.join(fields) + layout.inside + "}"


def mutate_bytes(rng: Random, data: bytes, most: int = 4) -> bytes:
    """Damage bytes: flips, cuts, repetitions, insertions of what parsers stumble over."""
    out = bytearray(data)
    tokens = [t.encode() for t in (*WRONG_NUMBERS, *'{}[],:"\\', "},{", "]}", "\\u12", "\\ud800")]
    tokens += [b"\xff", b"\xc3", b"\0", b"\xef\xbb\xbf", b"/*c*/", b"//\n", b"\x01", b"'"]
    for _ in range(rng.randint(1, most)):
        if len(out) < 2:
            break
        at = rng.randrange(len(out))
        act = rng.randrange(8)
        if act == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif act == 1:
            out[at] = ord(rng.choice(string.printable))
        elif act == 2:
            del out[at : at + rng.randint(1, 60)]
        elif act in (3, 4):
            out[at:at] = rng.choice(tokens)
        elif act == 5:
            out[at:at] = out[at : at + rng.randint(1, 400)]
        elif act == 6:
            out[at:] = b""
        else:
            _replace_number(rng, out, at)
    return bytes(out)


def _replace_number(rng: Random, out: bytearray, at: int) -> None:
    digits = b"0123456789.-"
    while at < len(out) and out[at] not in digits:
        at += 1
    end = at
    while end < len(out) and out[end] in digits:
        end += 1
    out[at:end] = rng.choice(WRONG_NUMBERS + NUMBERS + TIMES).encode()


def make(seed: int, number: int) -> bytes:
    """Return one mutated trace file: number `number` of the run with this seed."""
    rng = Random(f"{seed}:{number}")
    events = mutate_events(rng, real_events(rng))
    layout = rng.choice(LAYOUTS)
    metadata = mutate_metadata(rng, real_metadata())
    text = trace_text(rng, metadata, events, layout, bare=rng.random() < 0.15)
    data = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.5:
        data = mutate_bytes(rng, data)
    if rng.random() < 0.15:
        data = gzip.compress(data, 1, mtime=0)
        if rng.random() < 0.5:
            data = mutate_bytes(rng, data, 1)
    return data
