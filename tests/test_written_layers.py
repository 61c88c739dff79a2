"""Normalizations, rotations and weights that are written out, told from what merely looks alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tracekit
from builders import TraceBuilder

WHOLE: list[Any] = [[2, 64, 320], [2, 64, 1]]
SCALAR: list[Any] = [[2, 64, 320], []]
WEIGHT: list[Any] = [[2, 64, 320], [320]]
MODULATION: list[Any] = [[2, 64, 320], [2, 1, 320]]

Steps = list[tuple[str, "list[Any] | None"]]


def categories(steps: Steps, path: Path, *, shapes: bool = True) -> list[str]:
    b = TraceBuilder()
    for index, (name, dims) in enumerate(steps):
        args = {"Input Dims": dims} if shapes and dims is not None else {}
        b.op(f"aten::{name}", 100 * index, 90, **args)
        kernel = "direct_copy_kernel_cuda" if name == "to" else f"elementwise_kernel_{index}"
        b.launched(kernel, 100 * index + 10, 1_000_000 + 100 * index, 50)
    columns = tracekit.kernels(b.write(path / "t.json")).to_arrow().to_pydict()
    found: list[str] = columns["category"]
    return found


RMS: Steps = [
    ("to", [[2, 64, 320]]), ("pow", SCALAR), ("mean", [[2, 64, 320]]), ("add", [[2, 64, 1], []]),
    ("rsqrt", [[2, 64, 1]]), ("mul", WHOLE), ("to", [[2, 64, 320]]), ("mul", WEIGHT),
]  # fmt: skip
LAYER: Steps = [
    ("mean", [[2, 64, 320]]), ("sub", WHOLE), ("pow", SCALAR), ("mean", [[2, 64, 320]]),
    ("add", [[2, 64, 1], []]), ("sqrt", [[2, 64, 1]]), ("div", WHOLE), ("mul", WEIGHT),
    ("add", WEIGHT),
]  # fmt: skip
CHANNELS: Steps = [
    ("var", [[2, 64, 320]]), ("mean", [[2, 64, 320]]), ("sub", WHOLE), ("add", [[2, 64, 1], []]),
    ("rsqrt", [[2, 64, 1]]), ("mul", WHOLE), ("mul", [[2, 320, 8, 8], [1, 320, 1, 1]]),
]  # fmt: skip
UNIT: Steps = [
    ("linalg_vector_norm", [[2, 64, 320]]), ("clamp_min", [[2, 64, 1], []]), ("div", WHOLE),
    ("mul", SCALAR), ("mul", WEIGHT),
]  # fmt: skip


@pytest.mark.parametrize("steps", [RMS, LAYER, UNIT], ids=["rms", "layer", "unit"])
def test_a_written_norm_ends_where_its_weight_does(steps: Steps, tmp_path: Path) -> None:
    around: Steps = [("gelu", [[2, 64, 320]])]
    found = categories([*around, *steps, *around], tmp_path)
    assert found == ["elementwise", *["norm"] * len(steps), "elementwise"]


def test_statistics_may_come_in_any_order(tmp_path: Path) -> None:
    assert categories(CHANNELS, tmp_path) == ["norm"] * len(CHANNELS)


def test_without_shapes_one_weight_is_taken(tmp_path: Path) -> None:
    assert categories(RMS, tmp_path, shapes=False) == ["norm"] * len(RMS)


def test_scales_of_adaptive_norms_are_not_the_norm(tmp_path: Path) -> None:
    steps: Steps = [*RMS[:-1], ("add", [[2, 1, 320], []]), ("mul", MODULATION), ("add", MODULATION)]
    assert categories(steps, tmp_path)[-3:] == ["elementwise"] * 3


def test_a_residual_before_the_norm_is_not_the_norm(tmp_path: Path) -> None:
    steps: Steps = [("mul", SCALAR), ("add", [[2, 64, 320], [2, 64, 320]]), *RMS]
    assert categories(steps, tmp_path)[:2] == ["elementwise"] * 2


@pytest.mark.parametrize(
    "names",
    [
        ("mul", "sqrt", "div"),
        ("sum", "div"),
        ("mean", "sub"),
        ("rsqrt", "mul", "mul"),
        ("exp", "sum", "log"),
    ],
)
def test_what_is_no_norm(names: tuple[str, ...], tmp_path: Path) -> None:
    assert "norm" not in categories([(name, WHOLE) for name in names], tmp_path)


def test_the_optimizer_normalizes_nothing(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.annotation("Optimizer.step#Adam.step", 0, 1000)
    for index, name in enumerate(("pow", "mean", "sqrt", "div")):
        b.op(f"aten::{name}", 100 * index + 5, 90)
        b.launched("k", 100 * index + 10, 10_000 + 100 * index, 50)
    table = tracekit.kernels(b.write(tmp_path / "t.json")).to_arrow().to_pydict()
    assert set(table["category"]) == {"elementwise"}


def test_backward_of_a_written_norm_is_norm(tmp_path: Path) -> None:
    b = TraceBuilder()
    for index, (name, _) in enumerate(RMS):
        b.op(f"aten::{name}", 100 * index, 90, **{"Sequence number": index, "Fwd thread id": 0})
        b.launched("k", 100 * index + 10, 10_000 + 100 * index, 50)
    b.op("RsqrtBackward0", 2000, 90, tid=2, **{"Sequence number": 4, "Fwd thread id": 1})
    b.launched("k", 2010, 20_000, 50, tid=2)
    table = tracekit.kernels(b.write(tmp_path / "t.json")).to_arrow().to_pydict()
    assert table["category"] == ["norm"] * 9
    assert table["phase"][-1] == "backward"


CONV2D: list[Any] = [[4, 192, 64, 64], [192, 192, 3, 3], [], [], [], [], []]
WEIGHT_LENGTHS: Steps = [
    ("cat", [[[192, 1728]], []]), ("linalg_vector_norm", [[192, 1728], []]),
    ("clamp_min", [[192, 1], []]), ("div", [[192, 1728], [192, 1728]]),
    ("mul", [[192, 1728], []]), ("div", [[192, 192, 3, 3], []]),
]  # fmt: skip


def test_what_normalizes_a_weight_serves_its_layer(tmp_path: Path) -> None:
    silu: Steps = [("silu", [[4, 192, 64, 64]])]
    found = categories([*silu, *WEIGHT_LENGTHS, ("conv2d", CONV2D), *silu], tmp_path)
    assert found == ["elementwise", *["conv"] * (len(WEIGHT_LENGTHS) + 1), "elementwise"]


def test_without_shapes_weights_are_told_by_what_stands_before_nearly_every_layer(
    tmp_path: Path,
) -> None:
    silu: Steps = [("silu", [[4, 192, 64, 64]])]
    layer: Steps = [*silu, *WEIGHT_LENGTHS, ("conv2d", CONV2D)]
    expected = ["elementwise", *["conv"] * (len(WEIGHT_LENGTHS) + 1)]
    assert categories(layer * 10, tmp_path, shapes=False) == expected * 10
    plain: Steps = [("conv2d", CONV2D)] * 10
    assert categories([*layer * 10, *plain], tmp_path, shapes=False)[2:7] == ["norm"] * 5


def test_without_shapes_an_activation_after_lengths_tells_of_a_norm(tmp_path: Path) -> None:
    layer: Steps = [*UNIT, ("silu", [[2, 64, 320]]), ("conv2d", CONV2D)]
    found = categories(layer * 10, tmp_path, shapes=False)
    assert found == [*["norm"] * len(UNIT), "elementwise", "conv"] * 10


def test_padding_may_stand_between_a_weight_and_its_layer(tmp_path: Path) -> None:
    pad: Steps = [("pad", [[4, 192, 62, 62], []])]
    found = categories([*WEIGHT_LENGTHS, *pad, ("conv2d", CONV2D)], tmp_path)
    assert found == ["conv"] * len(found)


@pytest.mark.parametrize("shapes", [True, False])
def test_weight_normalization_serves_its_layer(shapes: bool, tmp_path: Path) -> None:
    steps: Steps = [
        ("_weight_norm", [[768, 48, 128], [1, 1, 128], []]),
        ("conv1d", [[2, 768, 249], [768, 48, 128], [768], [], [], [], []]),
    ]
    assert categories(steps, tmp_path, shapes=shapes) == ["conv", "conv"]


def test_a_norm_of_what_a_linear_layer_takes_is_a_norm(tmp_path: Path) -> None:
    square: list[Any] = [[320, 320], [320, 320]]
    steps: Steps = [
        ("linalg_vector_norm", [[320, 320], []]), ("clamp_min", [[320, 1], []]), ("div", square),
        ("linear", [*square, [320]]),
    ]  # fmt: skip
    assert categories(steps, tmp_path) == ["norm", "norm", "norm", "linear"]


def test_a_number_that_is_added_to_what_was_weighted_is_a_bias(tmp_path: Path) -> None:
    weighted: list[Any] = [[1, 384, 1, 24, 24], [384, 1, 1, 1]]
    whole, one = [[1, 384, 1, 24, 24], []], [[1, 384, 1, 1, 1], []]
    steps: Steps = [
        ("linalg_vector_norm", whole), ("clamp_min", [[1, 1, 1, 24, 24], []]),
        ("div", [[1, 384, 1, 24, 24], [1, 384, 1, 24, 24]]), ("mul", whole), ("mul", weighted),
    ]  # fmt: skip
    assert categories([*steps, ("add", whole)], tmp_path) == ["norm"] * 6
    assert categories([*steps, ("add", one)], tmp_path)[-1] == "elementwise"


def test_only_frames_that_a_convolution_takes_are_its_input(tmp_path: Path) -> None:
    image, frames = [1, 384, 1, 24, 24], [1, 384, 2, 24, 24]
    conv: list[Any] = [[1, 384, 3, 26, 26], [384, 384, 3, 3, 3], [384], [], [], [], []]
    steps: Steps = [
        ("cat", [[image, image], []]), ("cat", [[image, image], []]), ("pad", [frames, []]),
        ("conv3d", conv),
    ]  # fmt: skip
    assert categories(steps, tmp_path) == ["memory", "conv", "conv", "conv"]


def test_what_joins_the_turned_parts_of_a_head_serves_the_rotation(tmp_path: Path) -> None:
    half, part = [1, 24, 1200, 16], [1, 24, 1200, 32]
    turn: Steps = [
        ("neg", [half]), ("cat", [[half, half], []]), ("mul", [part, [1, 1, 1200, 32]]),
        ("add", [part, part, []]),
    ]  # fmt: skip
    join: Steps = [("cat", [[part, part, part], []])]
    other: Steps = [("cat", [[half, half], []])]
    assert categories([*turn, *join, *other], tmp_path) == [*["elementwise"] * 5, "memory"]


@pytest.mark.parametrize("norm", ["layer_norm", "rms"])
def test_without_shapes_one_more_than_a_weight_scales_but_does_not_shift(
    norm: str, tmp_path: Path
) -> None:
    steps: Steps = [("layer_norm", None)] if norm == "layer_norm" else RMS[:-2]
    weighted: Steps = [*steps, ("add", None), ("mul", None)]
    linear: Steps = [("linear", None)]
    found = categories([*weighted, *linear], tmp_path, shapes=False)
    assert found == [*["norm"] * len(weighted), "linear"]
    modulated = categories([*weighted, ("add", None), *linear], tmp_path, shapes=False)
    assert modulated[-4:] == ["elementwise"] * 3 + ["linear"]


def test_a_modulation_before_the_cast_back_is_the_norms(tmp_path: Path) -> None:
    steps: Steps = [*RMS[:-2], ("mul", MODULATION), ("to", [[2, 64, 320]])]
    assert categories(steps, tmp_path) == ["norm"] * len(steps)
    shifted: Steps = [*RMS[:-2], ("mul", MODULATION), ("add", MODULATION), ("to", [[2, 64, 320]])]
    assert categories(shifted, tmp_path)[-3:-1] == ["elementwise"] * 2


def test_tables_of_sines_serve_the_rotation(tmp_path: Path) -> None:
    table: Steps = [("embedding", [[64, 32], [1, 1200], [], [], []])]
    half, part = [1, 24, 1200, 16], [1, 24, 1200, 32]
    turn: Steps = [("neg", [half]), ("cat", [[half, half], []]), ("mul", [part, [1, 1, 1200, 32]])]
    found = categories([*table, *table, *table, *turn], tmp_path)
    assert found == ["embedding", *["elementwise"] * 5]
