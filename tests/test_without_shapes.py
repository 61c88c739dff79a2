"""What is told from the order of ops alone, in traces without shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from programs import COPY, FLASH, GEMM, POINT, SOFTMAX, Program

from tracekit.categories import ATTENTION, CATEGORIES, CODE_OF, TEMPORAL_ATTENTION
from tracekit.classifying import by_sequence
from tracekit.classifying.sequence_model import REACH
from tracekit.trace import FloatArray, IntArray


def categories(program: Program, path: Path) -> list[str]:
    [found] = program.columns(path, "category")
    return found


def issue(program: Program, *names: str) -> None:
    kernels = {"bmm": GEMM, "linear": GEMM, "clone": COPY, "softmax": SOFTMAX}
    for name in names:
        program.op(f"aten::{name}", kernels.get(name, POINT))


def test_bands_of_scores_are_laid_out_before_the_softmax(tmp_path: Path) -> None:
    """No layer parts the products, however much is done to the scores in between."""
    program = Program()
    issue(program, "linear", "bmm", *["where", "copy_"] * 20, "softmax", "bmm", "linear")
    assert categories(program, tmp_path) == ["linear", *["attention"] * 43, "linear"]


def test_scores_of_contents_and_positions_are_made_one_after_the_other(tmp_path: Path) -> None:
    program = Program()
    scores = ("add", "bmm", "add", "bmm", "index_select", "add", "bmm", "add")
    issue(program, "layer_norm", *scores, "softmax", "bmm", "layer_norm")
    found = categories(program, tmp_path)
    assert found[2:11] == ["attention"] * 9
    assert found[11] == "norm"


@pytest.mark.parametrize(
    ("names", "category"),
    [(("linear", "mul"), "attention"), (("linear", "cos", "mul"), "elementwise")],
)
def test_a_scale_between_a_projection_and_the_operator(
    names: tuple[str, ...], category: str, tmp_path: Path
) -> None:
    program = Program()
    issue(program, *names)
    program.op("aten::scaled_dot_product_attention", FLASH)
    assert categories(program, tmp_path)[-2] == category


def test_lengths_that_are_divided_by_their_mean_are_a_response_norm(tmp_path: Path) -> None:
    program = Program()
    names = ("linalg_vector_norm", "mean", "add", "div", "mul", "mul", "add", "add")
    issue(program, "linear", "gelu", *names, "linear", "add")
    expected = ["linear", "elementwise", *["norm"] * 8, "linear", "elementwise"]
    assert categories(program, tmp_path) == expected


@pytest.mark.parametrize(
    ("loop", "category"), [("gpu_kernel_impl", "elementwise"), ("gpu_kernel_impl_nocast", "memory")]
)
def test_names_of_copies_tell_whether_they_convert(
    loop: str, category: str, tmp_path: Path
) -> None:
    program = Program()
    program.op(
        "aten::to",
        f"void at::native::elementwise_kernel<128, 4, at::native::{loop}<at::native::"
        "direct_copy_kernel_cuda(at::TensorIteratorBase&)::{lambda()#3}::operator()() const>",
    )
    assert categories(program, tmp_path) == [category]


class Voices:
    """Stands for the network: so much of each kernel's attention is along time."""

    def __init__(self, *shares: float) -> None:
        self._shares = np.array(shares)

    def probabilities(self, features: object, kernels: object, places: IntArray) -> FloatArray:
        found = np.zeros((len(places), len(CATEGORIES)))
        found[:, CODE_OF[TEMPORAL_ATTENTION]] = self._shares[places - REACH]
        found[:, CODE_OF[ATTENTION]] = 1 - self._shares[places - REACH]
        return found


def test_kernels_of_a_call_tell_its_axis_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program()
    for _ in range(2):
        issue(program, "linear")
        program.op("aten::scaled_dot_product_attention", "cudnn_generated_fort_native_sdpa")
        issue(program, "clone", "linear")
    voices = Voices(0, 0.9, 0.7, 0, 0, 0.9, 0.1, 0)
    monkeypatch.setattr(by_sequence, "sequence_model", lambda: voices)
    columns = ("category", "evidence", "confidence", "attention_axis")
    categories, evidence, confidence, axes = program.columns(tmp_path, *columns)
    assert categories[1:3] == ["temporal_attention"] * 2
    assert categories[5:7] == ["attention"] * 2
    assert evidence[1:3] == ["sequence"] * 2
    assert confidence[1:3] == [0.8, 0.8]
    assert axes[1:3] + axes[5:7] == ["temporal", "temporal", None, None]
