"""Parsing in several processes: the same columns, whatever the file and its state."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import tracekit
from tracekit.errors import LimitExceededError
from tracekit.loading import launch, parallel
from tracekit.loading.columns import CODE_COLUMNS, TABLES
from tracekit.loading.limits import LoadLimits
from tracekit.loading.loader import load_file
from tracekit.loading.options import LoadOptions
from tracekit.trace import Trace

TRACES = sorted((Path(__file__).parent.parent / "examples" / "traces").glob("*.json.gz"))
SMALL = next(path for path in TRACES if "compiled" in path.name)


def options(workers: int, **changes: Any) -> LoadOptions:
    return LoadOptions(
        **{
            "workers": workers,
            "window_bytes": 20_000,
            "segment_bytes": 100_000,
            "parallel_bytes": 1,
            **changes,
        }
    )


def plain(trace: Trace) -> dict[str, Any]:
    """Everything a trace holds, with codes replaced by what they stand for."""
    texts = np.array([*trace.strings, None], dtype=object)
    threads = np.array([f"{pid}/{tid}" for pid, tid in trace.threads] + [""], dtype=object)
    held: dict[str, Any] = {
        "events": trace.events,
        "truncated": trace.truncated,
        "left_out": trace.left_out,
        "metadata": trace.metadata,
        "warnings": trace.warnings,
        "rank": trace.rank,
    }
    for name in TABLES:
        table = getattr(trace, name)
        for column in fields(table):
            values = getattr(table, column.name)
            if column.name == "thread":
                values = threads[values]
            elif column.name in CODE_COLUMNS:
                values = texts[values]
            held[f"{name}.{column.name}"] = values.tolist()
    return held


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Records that parallel reading was tried, and that it was not given up."""
    calls: list[str] = []
    real = parallel.read_parallel

    def watched(*args: Any) -> Any:
        calls.append("tried")
        ending = real(*args)
        calls.append("done")
        return ending

    monkeypatch.setattr("tracekit.loading.loader.read_parallel", watched)
    return calls


@pytest.mark.parametrize("path", TRACES, ids=lambda p: p.name)
def test_real_traces(path: Path, used: list[str]) -> None:
    segment_bytes = 100_000 if path == SMALL else 1 << 20
    many = load_file(str(path), options(3, segment_bytes=segment_bytes))
    assert plain(many) == plain(load_file(str(path), options(1)))
    assert used == ["tried", "done"]


def test_kernel_tables_are_the_same_to_the_byte(tmp_path: Path) -> None:
    written = set()
    for workers in (1, 2, 3):
        path = next(path for path in TRACES if path.name == "sdxl_math.json.gz")
        table = tracekit.kernels(path, options(workers, segment_bytes=1 << 20)).to_arrow()
        pq.write_table(table, tmp_path / "kernels.parquet")
        written.add((tmp_path / "kernels.parquet").read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize("layout", ["as written", "minified", "indented", "one line"])
@pytest.mark.parametrize("compressed", [False, True])
def test_layouts(tmp_path: Path, used: list[str], layout: str, compressed: bool) -> None:
    data = gzip.decompress(SMALL.read_bytes())
    # Not through floats, which would change the digits of timestamps.
    value = json.loads(data, parse_float=_Digits)
    if layout != "as written":
        separators = (",", ":") if layout == "minified" else (", ", ": ")
        indent = 4 if layout == "indented" else None
        data = _dumps(value, separators, indent)
    path = tmp_path / "t.json"
    path.write_bytes(gzip.compress(data) if compressed else data)
    many = load_file(str(path), options(2))
    assert used == ["tried", "done"]
    assert plain(many) == plain(load_file(str(SMALL), options(1)))


class _Digits(float):
    def __new__(cls, text: str) -> _Digits:
        made = super().__new__(cls, text)
        made.text = text  # type: ignore[attr-defined]
        return made

    def __repr__(self) -> str:
        return str(self.text)  # type: ignore[attr-defined]


def _dumps(value: Any, separators: tuple[str, str], indent: int | None) -> bytes:
    class Encoder(json.JSONEncoder):
        def iterencode(self, o: Any, _one_shot: bool = False) -> Any:
            return super().iterencode(o, False)

    import json.encoder as pure

    kept = pure.c_make_encoder, float.__repr__
    pure.c_make_encoder = None  # type: ignore[assignment]
    try:
        text = Encoder(separators=separators, indent=indent, ensure_ascii=False).encode(value)
    finally:
        pure.c_make_encoder = kept[0]
    return text.encode()


@pytest.mark.parametrize("cut", [0.15, 0.5, 0.83, 0.99])
@pytest.mark.parametrize("compressed", [False, True])
def test_files_cut_short(tmp_path: Path, cut: float, compressed: bool) -> None:
    data = gzip.decompress(SMALL.read_bytes())
    path = tmp_path / "t.json"
    if compressed:
        stored = gzip.compress(data)
        path.write_bytes(stored[: int(len(stored) * cut)])
    else:
        path.write_bytes(data[: int(len(data) * cut)])
    many, one = load_file(str(path), options(2)), load_file(str(path), options(1))
    assert many.truncated
    assert plain(many) == plain(one)


@pytest.mark.parametrize("at", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("damage", [b"\x00", b'"', b"}", b"{", b"]", b",,", b"\xff\xfe"])
def test_files_damaged_inside(tmp_path: Path, at: float, damage: bytes) -> None:
    data = gzip.decompress(SMALL.read_bytes())
    position = int(len(data) * at)
    path = tmp_path / "t.json"
    path.write_bytes(data[:position] + damage + data[position + len(damage) :])
    many, one = load_file(str(path), options(2)), load_file(str(path), options(1))
    assert plain(many) == plain(one)


def test_metadata_longer_than_a_segment(tmp_path: Path) -> None:
    data = gzip.decompress(SMALL.read_bytes())
    end = data.rindex(b"]")
    extra = json.dumps([{"ph": "X", "n": i} for i in range(30_000)], indent=1).encode()
    path = tmp_path / "t.json"
    path.write_bytes(data[: end + 1] + b', "extra": ' + extra + b"}")
    many, one = load_file(str(path), options(2)), load_file(str(path), options(1))
    assert len(many.metadata["extra"]) == 30_000
    assert plain(many) == plain(one)


def test_events_longer_than_a_segment(tmp_path: Path, used: list[str]) -> None:
    lengths = [300_000 if i % 7 == 3 else 5 for i in range(30)]
    events = [
        {"ph": "X", "cat": "kernel", "name": "k" * length, "ts": i, "dur": 1}
        for i, length in enumerate(lengths)
    ]
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"traceEvents": events}))
    assert plain(load_file(str(path), options(3))) == plain(load_file(str(path), options(1)))
    assert used == ["tried", "done"]


def test_more_workers_than_segments(used: list[str]) -> None:
    many = load_file(str(SMALL), options(6, segment_bytes=50_000_000))
    assert many.events == 3608
    assert used == ["tried", "done"]


def test_the_file_is_read_alone_where_workers_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OSError("no more processes")

    monkeypatch.setattr(launch.subprocess, "Popen", refuse)
    assert load_file(str(SMALL), options(2)).events == 3608


def test_the_file_is_read_alone_when_a_worker_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_CODE", "import os; os.abort()")
    assert load_file(str(SMALL), options(2)).events == 3608


def test_workers_started_early_are_used_and_ended(used: list[str]) -> None:
    task = parallel.worker_task(str(SMALL), options(2))
    with launch.early_workers(str(SMALL), task, 1):
        (workers,) = launch._started.values()
        trace = load_file(str(SMALL), options(2))
    assert (trace.events, launch._started) == (3608, {})
    with launch.early_workers(str(SMALL), {"path": "other"}, 1):
        assert load_file(str(SMALL), options(2)).events == 3608
    with launch.early_workers(str(SMALL), task, 1):
        (workers,) = launch._started.values()
    for process in workers._processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (LoadLimits(max_events=1000), "--max-events"),
        (LoadLimits(max_memory_bytes=100_000), "--max-memory"),
        (LoadLimits(max_text_chars=100), "--max-text-size"),
        (LoadLimits(max_json_bytes=500_000), "--max-size"),
        (LoadLimits(max_event_bytes=200), "--max-event-size"),
        (LoadLimits(max_nesting=2), "--max-nesting"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_every_limit_names_its_option(limits: LoadLimits, words: str, workers: int) -> None:
    with pytest.raises(LimitExceededError, match=words) as caught:
        load_file(str(SMALL), options(workers, limits=limits))
    assert str(SMALL) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [1, 2])
def test_gzip_bombs_are_refused(tmp_path: Path, workers: int) -> None:
    event = b'{"ph":"X","cat":"kernel","name":"k","ts":1.0,"dur":1.0},' * 20_000
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(b'{"traceEvents": [') + 120 * gzip.compress(event))
    with pytest.raises(LimitExceededError, match="--max-ratio"):
        load_file(str(path), LoadOptions(workers=workers))
    free = LoadLimits(max_ratio=1e9, max_events=100_000)
    with pytest.raises(LimitExceededError, match="--max-events"):
        load_file(str(path), LoadOptions(workers=workers, limits=free))


def nested(path: Path, depth: int) -> Path:
    inner = b'{"a":' * depth + b"1" + b"}" * depth
    path.write_bytes(b'{"traceEvents": [{"ph":"X","cat":"kernel","args":' + inner + b"}]}")
    return path


def test_nesting(tmp_path: Path) -> None:
    assert load_file(str(nested(tmp_path / "t.json", 200))).events == 1
    for depth in (10_000, 300_000):
        with pytest.raises(LimitExceededError, match="--max-nesting"):
            load_file(str(nested(tmp_path / "t.json", depth)))


def test_defaults_suit_real_traces() -> None:
    chosen = LoadOptions()
    assert chosen.worker_count() >= 1
    assert LoadOptions(workers=0).worker_count() == 1
    for path in TRACES:
        assert load_file(str(path)).left_out == ()


@pytest.mark.parametrize("other", [b"},\n{", b"}, {", b"},{"])
def test_two_writers_one_after_the_other(tmp_path: Path, used: list[str], other: bytes) -> None:
    """What a second program appended is divided otherwise, for longer than an event may be."""
    value = json.loads(gzip.decompress(SMALL.read_bytes()))
    first, rest = value["traceEvents"][:300], value["traceEvents"][300:]
    texts = [json.dumps(one).encode() for one in (first, rest)]
    tail = b"},".join(texts[1].replace(b"}, {", b"},\0{").split(b"},\0")).replace(b"},{", other)
    path = tmp_path / "t.json"
    path.write_bytes(b'{"traceEvents": ' + texts[0][:-1] + b", " + tail[1:] + b"}")
    assert len(tail) > 200_000
    tight = LoadLimits(max_event_bytes=150_000)
    alone = load_file(str(path), options(1, limits=tight))
    assert alone.events == len(value["traceEvents"])
    many = load_file(str(path), options(3, limits=tight))
    assert plain(many) == plain(alone)
    assert used == (["tried", "done"] if other == b"}, {" else ["tried"])
