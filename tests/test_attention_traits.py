"""Axes and kinds of attention calls that their own sizes do not tell."""

from __future__ import annotations

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
