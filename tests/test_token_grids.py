"""Axes of tokens that no convolution laid out: patches, windows, codebooks, decoding steps."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from programs import COPY, FLASH, GEMM, POINT, SOFTMAX, Program
from test_attention_traits import convolve, told

import tracekit
from tracekit.classifying.attention_calls import attention_calls
from tracekit.classifying.convolutions import convolutions
from tracekit.classifying.op_index import OpIndex
from tracekit.classifying.patch_layouts import Layout, patch_layout
from tracekit.classifying.token_grids import TokenGrids
from tracekit.labels import AXES
from tracekit.linking.link import link

SPATIAL, BOTH = AXES.index("spatial"), AXES.index("spatio-temporal")
VOCABULARY, CODEBOOK = 32_128, 8_192

side = st.integers(2, 16)
grid = st.integers(4, 64)


@pytest.mark.parametrize(
    ("dimensions", "tokens", "axis"),
    [
        pytest.param((2, 14, 14, 16, 16, 3), 196, SPATIAL, id="patches, channels last"),
        pytest.param((1, 64, 64, 16, 2, 2), 4096, SPATIAL, id="patches, channels between"),
        pytest.param((1, 3, 32, 8, 32, 8), 1024, SPATIAL, id="an image of patches"),
        pytest.param((2, 8, 8, 7, 7, 96), 49, SPATIAL, id="a window"),
        pytest.param((2, 8, 8, 8, 8, 1024), 4096, SPATIAL, id="all windows"),
        pytest.param((1, 4, 16, 24, 17, 1, 2, 2), 1536, BOTH, id="patches of a video"),
        pytest.param((1, 16, 4, 1, 16, 2, 24, 2), 1536, BOTH, id="a video of patches"),
        pytest.param((2, 14, 14, 16, 16, 3), 197, SPATIAL, id="a class token beside"),
        pytest.param((2, 14, 14, 16, 16, 3), 195, None, id="one too few"),
        pytest.param((1, 64, 64, 16, 2, 2), 77, None, id="a text"),
    ],
)
def test_tokens_of_a_layout(dimensions: tuple[int, ...], tokens: int, axis: int | None) -> None:
    layout = patch_layout(dimensions)
    assert layout is not None
    assert layout.axis_of(tokens) == axis


@pytest.mark.parametrize(
    "dimensions",
    [
        (2, 1024, 3, 16, 64),
        (3, 2, 16, 1024, 64),
        (1, 8, 4, 512, 128),
        (2, 4096, 320),
        (1, 1, 16, 1, 1152, 1),
        (2, 8, 3, 64, 64, 1),
        (),
    ],
)
def test_heads_and_rotations_are_no_layouts(dimensions: tuple[int, ...]) -> None:
    assert patch_layout(dimensions) is None


@given(st.integers(1, 4), grid, grid, side, st.integers(2, 64), st.integers(0, 3))
def test_every_usual_order_of_patches_holds_their_number(
    batch: int, rows: int, columns: int, size: int, channels: int, order: int
) -> None:
    orders = [
        (batch, rows, columns, size, size, channels),
        (batch, rows, columns, channels, size, size),
        (batch, channels, rows, size, columns, size),
        (batch, rows, size, columns, size, channels),
    ]
    layout = patch_layout(orders[order])
    assert layout is not None
    assert rows * columns in layout.images


def look_up(program: Program, entries: int, batch: int, tokens: int) -> None:
    program.op("aten::embedding", "indexSelect", [[entries, 512], [batch, tokens], [], [], []])


def attend(program: Program, batch: int, queries: int, keys: int, heads: int = 8) -> None:
    for taken in (queries, keys, keys):
        program.op("aten::linear", GEMM, [[batch, taken, 512], [512, 512], []])
    program.sdpa([batch, heads, queries, 64], [batch, heads, keys, 64])


def decode_image(program: Program, rows: int) -> None:
    """Make an image of codes with convolutions, as a VQGAN does."""
    look_up(program, CODEBOOK, 1, rows * rows)
    for scale in (1, 2, 4):
        convolve(program, [1, 64, rows * scale, rows * scale], 1, 1, 3)


def axes(program: Program, path: Path) -> list[str | None]:
    return told(program, path, "attention_axis")


@pytest.mark.parametrize("text", [77, 256])
def test_codes_that_an_image_is_made_of_are_spatial(text: int, tmp_path: Path) -> None:
    """The text that they attend to is none, even with as many tokens."""
    program = Program()
    look_up(program, VOCABULARY, 2, text)
    attend(program, 2, text, text, heads=16)
    for _ in range(2):
        look_up(program, CODEBOOK + 1, 2, 256)
        attend(program, 2, 256, 256)
        attend(program, 2, 256, text)
    decode_image(program, 16)
    assert axes(program, tmp_path) == ["sequence", *["spatial"] * 4]


def test_a_text_before_an_image_that_is_drawn_stays_a_sequence(tmp_path: Path) -> None:
    """A UNet makes its image smaller before it makes it larger."""
    program = Program()
    look_up(program, VOCABULARY, 2, 256)
    attend(program, 2, 256, 256)
    for rows in (16, 8, 16, 64):
        convolve(program, [1, 64, rows, rows], 1, 1, 3)
    assert axes(program, tmp_path) == ["sequence"]


def test_one_code_a_step_is_spatial_after_a_prompt_that_is_none(tmp_path: Path) -> None:
    program = Program()
    prompt, codes = 20, 64
    look_up(program, VOCABULARY, 1, prompt)
    program.sdpa([1, 8, prompt, 64], [1, 8, prompt, 64], "True")
    for step in range(codes):
        look_up(program, VOCABULARY, 1, 1)
        cached = [[1, 8, prompt + step, 64], [1, 8, 1, 64]]
        program.op("aten::cat", COPY, [cached, []])
        program.sdpa([1, 8, 1, 64], [1, 8, prompt + step + 1, 64])
    decode_image(program, 8)
    assert axes(program, tmp_path) == ["sequence", *["spatial"] * codes]


def test_a_transformer_may_make_the_image(tmp_path: Path) -> None:
    """What takes turns in between has as many tokens; the copy at the end tells what they are."""
    program = Program()
    for heads in (8, 4):
        look_up(program, CODEBOOK + (heads == 8), 1, 1024)
        attend(program, 1, 1024, 1024, heads)
        program.linear()
    program.op("aten::clone", COPY, [[1, 3, 32, 8, 32, 8], []])
    assert axes(program, tmp_path) == ["spatial"] * 2


def test_tokens_of_a_video_are_as_many_as_its_decoder_attends_to(tmp_path: Path) -> None:
    program = Program()
    look_up(program, VOCABULARY, 2, 128)
    attend(program, 2, 128, 128, heads=16)
    look_up(program, CODEBOOK + 1, 2, 6 * 256)
    attend(program, 2, 6 * 256, 6 * 256)
    attend(program, 2, 6 * 256, 128)
    look_up(program, CODEBOOK, 1, 6 * 256)
    for _ in range(2):
        attend(program, 256, 6, 6)
    for _ in range(2):
        attend(program, 6, 256, 256)
    expected = ["sequence", *["spatio-temporal"] * 2, *["temporal"] * 2, *["spatial"] * 2]
    assert axes(program, tmp_path) == expected


def test_lower_resolutions_of_a_cascade_are_images_too(tmp_path: Path) -> None:
    program = Program()
    look_up(program, VOCABULARY, 2, 64)
    attend(program, 2, 64, 64, heads=16)
    look_up(program, CODEBOOK + 1, 2, 256)
    attend(program, 2, 256, 256)
    attend(program, 2, 256, 64)
    look_up(program, CODEBOOK, 2, 256)
    attend(program, 2, 256, 256, heads=4)
    look_up(program, CODEBOOK + 1, 2, 1024)
    attend(program, 2, 1024, 1024, heads=4)
    decode_image(program, 32)
    assert axes(program, tmp_path) == ["sequence", *["spatial"] * 4]


def test_windows_and_linear_patches_are_of_images(tmp_path: Path) -> None:
    program = Program()
    program.op("aten::clone", COPY, [[2, 16, 16, 16, 16, 3], []])
    program.linear()
    attend(program, 2, 256, 256)
    for _ in range(2):
        program.linear()
        program.op("aten::clone", COPY, [[2, 2, 7, 2, 7, 512], []])
        attend(program, 8, 49, 49)
    look_up(program, VOCABULARY, 2, 49)
    attend(program, 2, 49, 49)
    assert axes(program, tmp_path) == [*["spatial"] * 3, "sequence"]


def test_what_backward_computes_again_has_its_axis(tmp_path: Path) -> None:
    program = Program()
    convolve(program, [2, 64, 16, 16], 1, 1, 3)
    attend(program, 2, 256, 256)
    look_up(program, VOCABULARY, 2, 300)
    attend(program, 2, 300, 300)
    shape = [2, 8, 256, 64]
    dims: list[Any] = [shape, shape, shape, [], [], [], [], []]
    at = 100 * (program.count + 5)
    program.b.op(
        "aten::scaled_dot_product_attention", at, 90, tid=9,
        **{"Input Dims": dims, "Concrete Inputs": ["", "", "", "", "0.", "False", "", "False"]},
    )  # fmt: skip
    program.b.launched(FLASH, at + 10, 1_000_000 + at, 50, tid=9)
    assert axes(program, tmp_path) == ["spatial", "sequence", "spatial"]


def kinds(program: Program, path: Path) -> list[str | None]:
    return told(program, path, "attention_kind")


def test_learned_keys_make_no_cache(tmp_path: Path) -> None:
    """A null key stands before those of the text; a pooled query before those of its tokens."""
    program = Program()
    for queries, others in ((256, 77), (1, 77)):
        for taken in (queries, others, others):
            program.op("aten::linear", GEMM, [[2, taken, 512], [512, 512], []])
        program.op("aten::cat", COPY, [[[2, 8, 1, 64], [2, 8, others, 64]], []])
        program.sdpa([2, 8, queries, 64], [2, 8, others + 1, 64])
    assert kinds(program, tmp_path) == ["cross", "cross"]


def test_keys_of_an_encoder_that_are_cached_are_of_elsewhere(tmp_path: Path) -> None:
    program = Program()
    for step in range(3):
        for _ in range(3):
            program.op("aten::linear", GEMM, [[2, 1, 512], [512, 512], []])
        program.op("aten::cat", COPY, [[[2, 8, step + 9, 64], [2, 8, 1, 64]], []])
        program.sdpa([2, 8, 1, 64], [2, 8, step + 10, 64])
        for _ in range(2):
            program.op("aten::linear", GEMM, [[2, 1, 512], [512, 512], []])
        program.sdpa([2, 8, 1, 64], [2, 8, 128, 64])
    assert kinds(program, tmp_path) == ["self", "cross"] * 3


def test_keys_of_a_smaller_image_are_the_image_s_own(tmp_path: Path) -> None:
    program = Program()
    program.op("aten::linear", GEMM, [[2, 1024, 512], [512, 512], []])
    convolve(program, [2, 512, 32, 32], 4, 0, 4)
    program.op("aten::linear", GEMM, [[2, 64, 512], [1024, 512], []])
    program.sdpa([2, 8, 1024, 64], [2, 8, 64, 64])
    assert kinds(program, tmp_path) == ["self"]


def test_sequences_that_were_refined_apart_are_joint(tmp_path: Path) -> None:
    program = Program()
    for length in (128, 1024, 1152, 1152, 1151):
        attend(program, 1, length, length)
        program.op("aten::add", POINT, [[1, length, 512], [1, length, 512], []])
    assert kinds(program, tmp_path) == ["self", "self", "joint", "joint", "self"]


def test_queries_and_keys_that_are_put_together_at_once_are_joint(tmp_path: Path) -> None:
    """One tensor may hold queries, keys and values; channels of images are no tokens."""
    program = Program()
    program.op("aten::cat", COPY, [[[3, 2, 16, 154, 64], [3, 2, 16, 1024, 64]], []])
    attend(program, 2, 1178, 1178, heads=16)
    program.op("aten::cat", COPY, [[[2, 512, 64, 64], [2, 512, 64, 64]], []])
    attend(program, 2, 1024, 1024, heads=16)
    assert kinds(program, tmp_path) == ["joint", "self"]


def test_latents_are_put_together_with_what_they_attend_to(tmp_path: Path) -> None:
    program = Program()
    for _ in range(2):
        program.op("aten::cat", COPY, [[[4, 256, 1024], [4, 64, 1024]], []])
        attend(program, 4, 64, 320)
    assert kinds(program, tmp_path) == ["joint", "joint"]
    assert axes(program, tmp_path) == ["sequence", "sequence"]


def test_sinks_are_no_keys(tmp_path: Path) -> None:
    program = Program()
    for _ in range(3):
        program.linear()
    program.op("aten::bmm", GEMM, [[64, 512, 64], [64, 64, 512]])
    program.op("aten::cat", COPY, [[[1, 64, 512, 512], [1, 64, 512, 1]], []])
    program.op("aten::softmax", SOFTMAX, [[1, 64, 512, 513], [], []])
    program.op("aten::bmm", GEMM, [[64, 512, 512], [64, 512, 64]])
    program.linear()
    calls = program.table(tmp_path).calls
    assert (calls.query_length.tolist(), calls.key_length.tolist()) == ([512], [512])


def test_rows_and_columns_with_positions_of_their_own_are_a_grid(tmp_path: Path) -> None:
    program = Program()
    look_up(program, CODEBOOK, 2, 1024)
    program.op("aten::add", POINT, [[1, 32, 1, 512], [1, 1, 32, 512], []])
    for _ in range(2):
        program.op("aten::embedding", "indexSelect", [[100, 512], [], [], [], []])
        attend(program, 2, 1024, 1024)
        attend(program, 2, 1024, 77)
    look_up(program, VOCABULARY, 2, 1024)
    attend(program, 2, 1024, 1024)
    assert axes(program, tmp_path) == [*["spatial"] * 4, "sequence"]


def test_units_of_an_image_may_stand_where_heads_do(tmp_path: Path) -> None:
    program = Program()
    convolve(program, [2, 64, 56, 56], 1, 1, 3)
    program.sdpa([4, 49, 64, 32], [4, 49, 64, 32])
    look_up(program, VOCABULARY, 4, 64)
    program.sdpa([4, 49, 64, 32], [4, 49, 64, 32])
    assert axes(program, tmp_path) == ["spatial", "sequence"]


def test_one_token_a_frame_is_a_video(tmp_path: Path) -> None:
    """Encoders of videos end with attention over what each frame was made into."""
    program = Program()
    program.op("aten::clone", COPY, [[4, 16, 14, 14, 16, 16, 3], []])
    program.linear()
    attend(program, 64, 197, 197)
    attend(program, 4, 17, 17)
    attend(program, 4, 18, 18)
    assert axes(program, tmp_path) == ["spatial", "temporal", "sequence"]
    program = Program()
    convolve(program, [16, 3, 224, 224], 16, 0, 16)
    attend(program, 2, 8, 8)
    attend(program, 16, 198, 198)
    attend(program, 2, 16, 16)
    assert axes(program, tmp_path) == ["temporal", "spatial", "sequence"]


def test_rows_of_the_result_that_were_masked_are_the_operator_s(tmp_path: Path) -> None:
    program = Program()
    for _ in range(3):
        program.linear()
    heads, mask = [2, 16, 64, 20], [2, 16, 64, 64]
    program.op("aten::bitwise_not", POINT, [mask[:-1]])
    program.op(
        "aten::scaled_dot_product_attention", FLASH,
        [heads, heads, heads, mask, [], [], [], []], "", "", "", "", "0.", "False",
    )  # fmt: skip
    program.op("aten::masked_fill", POINT, [heads, [2, 16, 64, 1], []])
    program.linear()
    program.op("aten::masked_fill", POINT, [[2, 64, 320], [2, 64, 1], []])
    [categories] = program.columns(tmp_path, "category")
    expected = [*["linear"] * 3, *["attention"] * 3, "linear", "elementwise"]
    assert categories == expected


def test_a_cache_that_is_written_to_in_place_holds_own_keys(tmp_path: Path) -> None:
    """Copies into a slice of it tell nothing; the projections of the step's own keys do."""
    program = Program()
    for _ in range(2):
        for _ in range(3):
            program.op("aten::linear", GEMM, [[2, 1, 512], [512, 512], []])
        program.sdpa([2, 8, 1, 64], [2, 8, 128, 64])
    program.op("aten::linear", GEMM, [[2, 1, 512], [512, 512], []])
    program.op("aten::linear", GEMM, [[2, 1, 512], [1536, 512], []])
    program.sdpa([2, 8, 1, 64], [2, 8, 128, 64])
    for _ in range(2):
        program.op("aten::linear", GEMM, [[2, 1, 512], [512, 512], []])
    program.sdpa([2, 8, 1, 64], [2, 8, 77, 64])
    assert kinds(program, tmp_path) == ["self", "self", "self", "cross"]


def test_the_last_four_layouts_tell_and_each_call_asks_them_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long run has as many layouts as calls: no call may look at all of those before it."""
    random, program = Random(0), Program()
    layouts = [(2, 1, 4, 4, 7 * n, 4, 320) for n in range(5, 12)]
    behind: list[tuple[int, ...]] = []
    expected = []
    for _ in range(400):
        for layout in random.sample(layouts, random.choice([0, 1, 1, 2])):
            program.op("aten::clone", COPY, [[*layout], []])
            behind = [layout, *(one for one in behind if one != layout)]
        program.linear()
        tokens = random.choice([100, *(28 * n for n in range(5, 12))])
        program.sdpa([2, 8, tokens, 40], [2, 8, tokens, 40])
        program.linear()
        found = [patch_layout(one) for one in behind[:4]]
        axes = [one.axis_of(tokens) for one in found if one is not None]
        known = next((axis for axis in axes if axis is not None), None)
        expected.append("sequence" if known is None else AXES[known])
    asked: list[int] = []
    plain = Layout.axis_of

    def counting(layout: Layout, tokens: int) -> int | None:
        asked.append(tokens)
        return plain(layout, tokens)

    monkeypatch.setattr(Layout, "axis_of", counting)
    linked = link(tracekit.load(program.b.write(tmp_path / "t.json")))
    index = OpIndex(linked)
    calls = attention_calls(linked, index)
    grids = TokenGrids(linked, index, calls, convolutions(linked, index))
    axis = np.full(len(calls), AXES.index("sequence"), np.int8)
    grids.tell(np.arange(len(calls)), axis, np.zeros(len(calls), np.int8))
    assert [AXES[one] for one in axis] == expected
    assert 0 < len(asked) <= 4 * len(expected)
    assert {"sequence", "spatial"} <= set(expected)
