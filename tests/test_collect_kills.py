"""SIGKILL at any instant: what stands under a final name is whole and what the manifest says."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tracekit.schemas import read_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parent
SCHEMAS = {
    "run.json": Draft202012Validator(read_schema("run-1")),
    "timing.json": Draft202012Validator(read_schema("timing-1")),
}
KILLS = 100

DRIVER = """
import os, signal, sys, time
from pathlib import Path
import torch
from collect_helpers import denoise, options, toy
from tracekit.collectors.passes import record_workload

torch.set_num_threads(1)
folder = Path(sys.argv[1])

def record():
    record_workload(
        toy(run=lambda stage: denoise(stage, 1), stages={}), folder,
        options(force=True, repeats=1, passes=("eager", "timing", "light", "rich")),
    )

record()
started = time.monotonic()
record()
print(time.monotonic() - started, flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        record()
        signal.pause()
    time.sleep(float(line))
    os.kill(child, signal.SIGKILL)
    print(os.waitpid(child, 0)[1] & 127, flush=True)
"""
"""Records a run in a forked child and kills the child after as long as it is told."""


@contextmanager
def driver(folder: Path) -> Iterator[subprocess.Popen[str]]:
    env = {
        **os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}", "KINETO_LOG_LEVEL": "99",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder)],
        env=env, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.communicate(timeout=60)


def check(folder: Path) -> frozenset[str]:
    """Read every file under a final name to its end, and return their names."""
    names = frozenset(path.name for path in folder.iterdir() if not path.name.startswith("."))
    for name in names:
        data = (folder / name).read_bytes()
        body = json.loads(gzip.decompress(data) if name.endswith(".gz") else data)
        if name in SCHEMAS:
            SCHEMAS[name].validate(body)
    if "run.json" in names:
        manifest = json.loads((folder / "run.json").read_bytes())
        for file in manifest["files"]:
            data = (folder / file["name"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == file["sha256"], file
            assert len(data) == file["size_bytes"]
        if manifest["complete"]:
            assert len(manifest["files"]) == 4
            assert names == {"run.json", *(file["name"] for file in manifest["files"])}
    return names


def test_a_hundred_kills_leave_no_broken_file(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    instants = random.Random(5)
    folder = tmp_path / "run"
    seen: list[frozenset[str]] = []
    in_the_middle = 0
    with driver(folder) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        longest_s = 2 * float(process.stdout.readline())
        # On a busy machine fewer kills meet a file half written: then more are tried.
        while len(seen) < KILLS or (in_the_middle < KILLS // 10 and len(seen) < 3 * KILLS):
            process.stdin.write(f"{instants.uniform(0, longest_s)}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "9\n"
            seen.append(check(folder))
            # However busy the machine, some kills come late, and most before the end.
            longest_s = min(1.0, longest_s * (0.9 if len(seen[-1]) == 5 else 1.03))
            in_the_middle += any(path.name.startswith(".") for path in folder.iterdir())
    assert len(set(seen)) >= 4
    assert in_the_middle >= KILLS // 10
