"""Axes and kinds of attention calls that their own sizes do not tell."""

from __future__ import annotations

from math import prod
from pathlib import Path

from programs import Program


def told(program: Program, path: Path, column: str) -> list[str | None]:
    """Return what is told of each activity that is attention."""
    categories, values = program.columns(path, "category", column)
    return [
        value
        for value, category in zip(values, categories, strict=True)
        if category in ("attention", "temporal_attention")
    ]


def convolve(program: Program, image: list[int], stride: int, padding: int, window: int) -> None:
    """Issue a convolution with as many channels after it as before."""
    rank, channels = len(image) - 2, image[1]
    program.op(
        f"aten::conv{rank}d", "implicit_gemm",
        [image, [channels, channels, *[window] * rank], [channels], [], [], [], []],
        "", "", "", *(str([value] * rank) for value in (stride, padding, 1)), "1",
    )  # fmt: skip


def test_what_convolutions_return_tells_frames_of_clips_that_were_padded(tmp_path: Path) -> None:
    """Causal video autoencoders pad time in an op of its own, and have odd numbers of frames."""
    program = Program()
    for frames, side in ((19, 64), (10, 32), (4, 16)):
        convolve(program, [1, 128, frames + 2, side + 2, side + 2], 1, 0, 3)
        program.sdpa([side * side, 4, frames, 32], [side * side, 4, frames, 32])
    convolve(program, [1, 128, 7, 18, 18], 1, 0, 3)
    program.sdpa([1, 4, 5 * 256, 32], [1, 4, 5 * 256, 32])
    assert told(program, tmp_path, "attention_axis") == [*["temporal"] * 3, "spatio-temporal"]


def test_sizes_after_strides_and_transposed_convolutions(tmp_path: Path) -> None:
    program = Program()
    convolve(program, [1, 64, 33, 33], 2, 1, 3)
    program.sdpa([1, 4, 289, 32], [1, 4, 289, 32])
    program.op(
        "aten::conv_transpose2d", "dgrad",
        [[1, 64, 17, 17], [64, 64, 3, 3], [], [], [], [], [], []],
        "", "", "", "[2]", "[0, 0]", "[0]", "1", "[1, 1]",
    )  # fmt: skip
    program.sdpa([1, 4, 35 * 35, 32], [1, 4, 35 * 35, 32])
    assert told(program, tmp_path, "attention_axis") == ["spatial", "spatial"]


def test_patches_that_were_cut_before_are_of_images(tmp_path: Path) -> None:
    """Images of several sizes are one batch of patches; each attends to itself."""
    program = Program()
    program.op("aten::conv3d", "gemm", [[1984, 3, 2, 14, 14], [1280, 3, 2, 14, 14], [1280]])
    for length in (1024, 960):
        program.sdpa([1, 16, length, 80], [1, 16, length, 80])
    program.op("aten::embedding", "indexSelect", [[32000, 1280], [1, 600], [], [], []])
    program.sdpa([1, 16, 600, 80], [1, 16, 600, 80])
    assert told(program, tmp_path, "attention_axis") == ["spatial", "spatial", "sequence"]


def test_tokens_that_were_put_together_before_the_projections_are_joint(tmp_path: Path) -> None:
    program = Program()
    for text in (256, 1):
        tokens = text + 1024
        program.op("aten::cat", "CatArrayBatchedCopy", [[[2, text, 320], [2, 1024, 320]], []])
        for _ in range(3):
            program.op("aten::linear", "nvjet", [[2, tokens, 320], [320, 320], [320]])
        program.sdpa([2, 8, tokens, 40], [2, 8, tokens, 40])
        program.op("aten::linear", "nvjet", [[2, tokens, 320], [320, 320], [320]])
    assert told(program, tmp_path, "attention_kind") == ["joint", "self"]
    assert told(program, tmp_path, "attention_axis") == ["spatial", "sequence"]


def test_a_cache_may_hold_what_keys_are_made_of(tmp_path: Path) -> None:
    program = Program()
    for step in range(2):
        cached = [[1, 1, 256 + step, 512], [1, 1, 1, 512]]
        program.op("aten::cat", "CatArrayBatchedCopy", [cached, []])
        program.op("aten::linear", "nvjet", [[1, 1, 257 + step, 512], [8192, 512], []])
        program.sdpa([1, 32, 1, 192], [1, 32, 257 + step, 192])
        program.op("aten::linear", "nvjet", [[1, 1, 4096], [2048, 4096], []])
    assert told(program, tmp_path, "attention_kind") == ["self", "self"]


def test_windows_that_look_back_are_no_text_beside_an_image(tmp_path: Path) -> None:
    program = Program()
    for _ in range(2):
        for _ in range(2):
            program.op("aten::cat", "CatArrayBatchedCopy", [[[8, 4, 128, 64], [8, 4, 128, 64]], []])
        program.sdpa([32, 1, 128, 64], [32, 1, 256, 64])
        program.linear()
    assert told(program, tmp_path, "attention_kind") == ["self", "self"]


def test_one_key_more_than_queries_may_be_of_elsewhere(tmp_path: Path) -> None:
    """Learned keys are added to those of the queries' tokens; other tokens are projected apart."""
    program = Program()
    for others in (256, 255):
        program.op("aten::linear", "nvjet", [[4, 255, 512], [512, 512], []])
        program.op("aten::linear", "nvjet", [[4, others, 1024], [1024, 1024], []])
        program.sdpa([4, 8, 255, 64], [4, 8, 256, 64])
    assert told(program, tmp_path, "attention_kind") == ["cross", "self"]


def test_grids_of_positions_tell_images_and_videos_of_linear_patches(tmp_path: Path) -> None:
    program = Program()
    program.sdpa([1, 4, 2464, 32], [1, 4, 2464, 32])
    for sides in ([7, 16, 22], [1, 16, 22], [24, 40]):
        program.view("aten::meshgrid", [[[side] for side in sides], []])
        length = prod(sides)
        program.sdpa([1, 4, length, 32], [1, 4, length, 32])
    program.sdpa([1, 4, 77, 32], [1, 4, 77, 32])
    expected = ["sequence", "spatio-temporal", "spatial", "spatial", "sequence"]
    assert told(program, tmp_path, "attention_axis") == expected
