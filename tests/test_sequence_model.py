"""The network that decides by the kernels around one, and the grids that tell the axis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracekit
from builders import TraceBuilder
from tracekit.classifying.kernel_features import (
    KIND_NAMES,
    SIZE,
    dimensions,
    kernel_features,
    kind_of,
)
from tracekit.classifying.launch_grids import is_causal_kernel
from tracekit.classifying.sequence_model import CLASSES, REACH, SequenceModel, sequence_model

TRACES = Path(__file__).parent.parent / "examples" / "traces"
FLASH = (
    "void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128, 128, 4, false, false, "
    "cutlass::bfloat16_t, Flash_kernel_traits<64, 128, 128, 4, cutlass::bfloat16_t> >, false, "
    "{causal}, false, false, false, true, false, false>(pytorch_flash::Flash_fwd_params)"
)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nvjet_sm90_tst_128x160_64x5_2x1_v_bz_TNT", "nvjet"),
        ("Cijk_Ailk_Bljk_HHS_BH_MT128x128x32_MI32x32x8x1", "gemm"),
        ("void (anonymous namespace)::softmax_warp_forward<float, float, float, 10>", "softmax"),
        ("void cudnn::engines_precompiled::nchwToNhwcKernel<__nv_bfloat16>", "to channels last"),
        ("sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc", "convolution"),
        ("vectorized_elementwise_kernel<8, at::native::bfloat16_copy_kernel_cuda(int)>", "cast"),
        ("triton_per_fused__softmax_add_3", "triton softmax"),
        ("triton_red_fused_native_layer_norm_2", "triton norm"),
        ("anything else", "unknown"),
        (FLASH, "attention"),
    ],
)
def test_kinds(name: str, kind: str) -> None:
    assert KIND_NAMES[kind_of(name, "kernel")] == kind


def test_kinds_of_transfers() -> None:
    assert KIND_NAMES[kind_of("Memset (Device)", "gpu_memset")] == "memset"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[13, 24, 5]", (13, 24, 5)), ("[132]", (132, 1, 1)), ("[0, 1, 1]", None), (None, None),
        ("[]", None), ("[1, 2, 3, 4]", None), ('["1", 2, 3]', None), ("{", None),
    ],
)  # fmt: skip
def test_dimensions(text: str | None, found: tuple[int, int, int] | None) -> None:
    assert dimensions(text) == found


@given(st.text(max_size=200), st.sampled_from(["kernel", "gpu_memcpy", "gpu_memset"]))
def test_features_of_any_name(name: str, activity: str) -> None:
    features = kernel_features(name, activity, "[1, 2, 3]", None)
    assert features.shape == (SIZE,)
    assert np.isfinite(features).all()
    assert features[: len(KIND_NAMES)].sum() == 1


def slow_scores(model: SequenceModel, features: Any, kernels: Any, place: int) -> Any:
    hidden = model.hidden_bias.copy()
    for offset in range(-REACH, REACH + 1):
        at = place + offset
        if 0 <= at < len(kernels) and kernels[at] >= 0:
            embedded = features[kernels[at]] @ model.embedding + model.embedding_bias
            hidden += np.maximum(embedded, 0) @ model.hidden[offset + REACH]
    return (np.maximum(hidden, 0) @ model.output + model.output_bias) / model.temperature


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(-1, 4), min_size=1, max_size=80), st.integers(0, 2**32 - 1))
def test_probabilities_agree_with_the_definition(chosen: list[int], seed: int) -> None:
    model = sequence_model()
    features = np.random.default_rng(seed).random((5, SIZE))
    kernels = np.array(chosen)
    places = np.arange(len(kernels))
    found = model.probabilities(features, kernels, places)
    scores = np.array([slow_scores(model, features, kernels, place) for place in places])
    expected = np.exp(scores - scores.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    assert found.shape == (len(kernels), len(CLASSES))
    assert np.abs(found - expected).max() < 1e-3


def test_kernels_alone_are_told_by_what_stands_around_them() -> None:
    table = tracekit.kernels(TRACES / "sdxl_kernels_only.json.gz").to_arrow().to_pydict()
    assert set(table["evidence"]) == {"name", "sequence"}
    assert all(0 < confidence <= 1 for confidence in table["confidence"])


def test_the_model_fits_the_code() -> None:
    assert sequence_model().embedding.shape[0] == SIZE
    assert sequence_model().output.shape[1] == len(CLASSES)


def test_causality_by_template() -> None:
    assert is_causal_kernel(FLASH.format(causal="true")) is True
    assert is_causal_kernel(FLASH.format(causal="false")) is False
    assert is_causal_kernel("flash_fwd_kernel") is None
    assert is_causal_kernel("softmax") is None


def test_grids_tell_the_axis(tmp_path: Path) -> None:
    b = TraceBuilder()
    grids = [[13, 24, 5], [13, 24, 5], [1, 1600, 5], [4, 24, 10], [4, 24, 10], [1, 400, 10]]
    for index, grid in enumerate(grids):
        b.kernel(FLASH.format(causal="false"), 100 * index, 50, grid=grid, block=[128, 1, 1])
    table = tracekit.kernels(b.write(tmp_path / "t.json")).to_arrow().to_pydict()
    level = ["attention", "attention", "temporal_attention"]
    assert table["category"] == level * 2
    assert table["attention_axis"] == ["spatial", "spatial", "temporal"] * 2
    assert table["evidence"] == ["name", "name", "sequence"] * 2
    assert table["causal"] == [False] * 6


class Network:
    """One that says the same of every kernel."""

    def __init__(self, **share: float) -> None:
        rest = (1 - sum(share.values())) / (len(CLASSES) - len(share))
        self.found = np.array([share.get(name, rest) for name in CLASSES])

    def probabilities(self, features: Any, kernels: Any, wanted: Any) -> Any:
        return np.tile(self.found, (len(wanted), 1))


def categories(b: TraceBuilder, folder: Path) -> list[tuple[str, str]]:
    table = tracekit.kernels(b.write(folder / "t.json")).to_arrow().to_pylist()
    return [(row["category"], row["evidence"]) for row in table]


def test_attention_by_name_stays_where_the_network_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracekit.classifying.by_sequence.sequence_model", Network)
    b = TraceBuilder()
    for at, name in enumerate(("kernel_unified_attention_2d", "triton_helper", "_zn7")):
        b.kernel(name, 100 * at, 50)
    assert categories(b, tmp_path)[0] == ("attention", "name")


@pytest.mark.parametrize(
    ("near", "category"),
    [("flash_fwd_kernel", "attention"), ("softmax_warp_forward", "attention"), (None, "memory")],
)
def test_what_serves_attention_needs_some_near(
    near: str | None, category: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(attention=0.6, memory=0.39)
    monkeypatch.setattr("tracekit.classifying.by_sequence.sequence_model", lambda: network)
    b = TraceBuilder()
    b.kernel("void at::native::elementwise_kernel<128, 4, direct_copy_kernel_cuda>", 0, 50)
    for at in range(1, 30):
        b.kernel("sm90_xmma_fprop_implicit_gemm", 100 * at, 50)
    if near is not None:
        b.kernel(near, 50, 50)
    assert categories(b, tmp_path)[0][0] == category


@pytest.mark.parametrize(("linear", "expected"), [(0.25, "linear"), (0.15, "other")])
def test_a_product_by_name_stays_one_where_the_network_spreads_out(
    linear: float, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(linear=linear, norm=0.3)
    monkeypatch.setattr("tracekit.classifying.by_sequence.sequence_model", lambda: network)
    b = TraceBuilder()
    b.kernel("Cijk_Alik_Bljk_BBS_BH_Bias_HA_S_SAV_UserArgs_MT16x32x512", 0, 50)
    row = tracekit.kernels(b.write(tmp_path / "t.json")).to_arrow().to_pylist()[0]
    assert row["category"] == expected
    assert row["confidence"] == (linear if expected == "linear" else 0.3)


@pytest.mark.parametrize(
    ("sure", "expected"), [(0.6, ["attention", "linear"]), (0.9, ["linear", "linear"])]
)
def test_products_around_a_softmax_are_attention_unless_something_else_is_sure(
    sure: float, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(linear=sure)
    monkeypatch.setattr("tracekit.classifying.by_sequence.sequence_model", lambda: network)
    b = TraceBuilder()
    copy = "void at::native::elementwise_kernel<128, 4, direct_copy_kernel_cuda>"
    names = ["sgemm_nn", copy, "softmax_warp_forward", copy, "sgemm_nt", copy, "sgemm_tn"]
    for at, name in enumerate(names):
        b.kernel(name, 100 * at, 50)
    found = [category for category, _ in categories(b, tmp_path)]
    assert [found[0], found[-1]] == expected
    assert found[4] == expected[0]
