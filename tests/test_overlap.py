"""Overlap of computing, copying and communicating, against brute force."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracekit
from builders import TraceBuilder
from reference import covered_ns
from tracekit.results import Analysis

NAMES = {
    "compute": ("gemm_kernel", "kernel"),
    "copy": ("Memcpy HtoD (Pinned -> Device)", "gpu_memcpy"),
    "communication": ("ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgs)", "kernel"),
}
ROWS = st.lists(
    st.tuples(
        st.sampled_from(sorted(NAMES)), st.integers(0, 50), st.integers(0, 20), st.integers(0, 1)
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=150, deadline=None)
@given(ROWS)
def test_overlap_is_right_to_the_nanosecond(rows: list[tuple[str, int, int, int]]) -> None:
    b = TraceBuilder()
    for number, (kind, start, dur, device) in enumerate(rows):
        name, cat = NAMES[kind]
        b.kernel(name, start, dur, device=device, stream=7 + number, cat=cat)
    with tempfile.TemporaryDirectory() as folder:
        result = tracekit.analyze(b.write(Path(folder) / "t.json"))
    assert isinstance(result, Analysis)
    assert [one.device for one in result.overlap] == sorted({row[3] for row in rows})
    for one in result.overlap:
        own = [row for row in rows if row[3] == one.device]
        spans = {
            kind: [(start, start + dur) for what, start, dur, _ in own if what == kind]
            for kind in NAMES
        }
        whole = covered_ns([span for each in spans.values() for span in each])
        assert one.busy_ns == whole
        assert one.saved_ns == sum(row[2] for row in own) - whole
        assert [work.kind for work in one.work] == ["compute", "copy", "communication"]
        for work in one.work:
            others = [span for kind, each in spans.items() if kind != work.kind for span in each]
            assert work.busy_ns == covered_ns(spans[work.kind])
            assert work.exposed_ns == whole - covered_ns(others)


def test_exposed_communication_is_shown(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.kernel("gemm_kernel", 0, 1_000_000, stream=7)
    b.kernel(NAMES["communication"][0], 800_000, 1_000_000, stream=20)
    result = tracekit.analyze(b.write(tmp_path / "t.json"))
    assert isinstance(result, Analysis)
    (one,) = result.overlap
    assert one.work[2].exposed_ns == 800_000
    from tracekit.reports import render

    assert "800 µs of them exposed" in render(result, "text")
    assert pytest.approx(200_000) == one.saved_ns
