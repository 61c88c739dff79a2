"""Layers of single forward passes are no steps, whatever is recorded of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracekit.analysis.withholding import kernels_alone, without_labels
from tracekit.classifying.classify import classify
from tracekit.linking.link import link
from tracekit.loading.loader import load_file
from tracekit.trace import NULL

ROOT = Path(__file__).parent.parent
TOKENS = ("llama.", "gemma2.")
"""Language models of the corpus that go on after the prompt: two tokens each."""

SINGLE = sorted(
    path
    for path in (ROOT / "corpus" / "traces").glob("*/trace.json.gz")
    if not path.parent.name.startswith(TOKENS)
)
DECODING = sorted(
    path
    for path in (ROOT / "corpus" / "traces").glob("*/trace.json.gz")
    if path.parent.name in ("llama.default", "llama.math", "llama.modules", "gemma2.default")
)


def steps(path: Path, *, alone: bool) -> list[tuple[str, int]]:
    """The stages that are found, each with its number of steps."""
    trace = without_labels(load_file(str(path)))
    stages = classify(link(kernels_alone(trace) if alone else trace)).stages
    return [
        (name, len({n for n in stages.step[stages.stage == at].tolist() if n != NULL}))
        for at, name in enumerate(stages.names)
    ]


@pytest.mark.parametrize("alone", [False, True], ids=["ops", "kernels"])
def test_single_passes_have_no_steps(alone: bool) -> None:
    assert len(SINGLE) > 200
    several = {}
    for path in SINGLE:
        found = steps(path, alone=alone)
        if any(count > 1 for _, count in found):
            several[path.parent.name] = found
    assert several == {}


@pytest.mark.parametrize("path", DECODING, ids=lambda path: path.parent.name)
@pytest.mark.parametrize("alone", [False, True], ids=["ops", "kernels"])
def test_tokens_after_a_prompt_are_steps(path: Path, alone: bool) -> None:
    found = steps(path, alone=alone)
    assert ("decode", 2) in found
    assert sum(count for _, count in found) == 2


@pytest.mark.parametrize(
    "name", ["pixart_cudagraph", "pixart_flash", "sdxl_kernels_only", "zeroscope_flash"]
)
def test_real_single_steps_are_one_stage(name: str) -> None:
    found = steps(ROOT / "examples" / "traces" / f"{name}.json.gz", alone=False)
    assert len(found) == 1
    assert found[0][1] <= 1


def test_two_real_steps_are_steps() -> None:
    path = ROOT / "examples" / "traces" / "sdxl_flash.json.gz"
    assert steps(path, alone=True) == [("denoise", 2)]
