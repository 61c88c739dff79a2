"""Accuracy on labelled runs of the corpus: a floor under what docs/accuracy.md measures."""

from __future__ import annotations

from pathlib import Path

import pytest

import tracekit

TRACES = Path(__file__).parent.parent / "corpus" / "traces"


def accuracies(case: str) -> dict[str, float]:
    (run,) = tracekit.validate([TRACES / case]).runs
    found = {mode.mode: mode.accuracy for mode in run.modes}
    return {mode: accuracy for mode, accuracy in found.items() if accuracy is not None}


@pytest.mark.parametrize(
    ("case", "rich", "kernels_only"),
    [
        ("pixart.default", 0.995, 0.95),
        ("sdxl-unet.math", 0.995, 0.95),
        ("flux.default", 0.995, 0.95),
        ("stable-video-diffusion.written", 0.995, 0.85),
        ("zeroscope-unet3d.train", 0.995, 0.85),
        ("latte.written", 0.995, 0.85),
        ("latte-square.default", 0.995, 0.8),
        ("timesformer.default", 0.995, 0.85),
        ("llama.train-checkpoint", 0.99, 0.85),
        ("own-einsum.autocast", 0.995, 0.8),
        ("sana.cudagraph", 0.99, 0.9),
        ("vit.compile", 0.99, 0.85),
        ("convnext.train", 0.995, 0.9),
        ("deberta.default", 0.98, 0.8),
    ],
)
def test_labelled_runs_are_classified(case: str, rich: float, kernels_only: float) -> None:
    found = accuracies(case)
    assert found["rich"] >= rich
    assert found["kernels_only"] >= kernels_only


def test_there_are_enough_models() -> None:
    cases = [path.name for path in TRACES.iterdir() if path.is_dir()]
    assert len({case.split(".")[0] for case in cases}) >= 15
    sizes = [path.stat().st_size for path in TRACES.rglob("*") if path.is_file()]
    assert sum(sizes) < 25e6
