"""Attention along time and over space, told apart by sizes alone."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tracekit.classifying.factorized import (
    SPATIAL,
    TEMPORAL,
    Call,
    Images,
    Size,
    roles_in_videos,
    temporal_calls,
)

TEXT = 77


def call(sequences: int, length: int, keys: int | None = None, *, heads: bool = False) -> Call:
    return Call(Size(sequences, length, length, heads), keys is None or keys == length)


def block(clips: int, frames: int, positions: int) -> list[Call]:
    """Spatial self- and cross-attention, then twice along time, as ModelScope's UNet3D has it."""
    return [
        call(clips * frames, positions),
        call(clips * frames, positions, TEXT),
        call(clips * positions, frames),
        call(clips * positions, frames),
    ]


ROLES = [SPATIAL, SPATIAL, TEMPORAL, TEMPORAL]


def test_a_unet_of_several_resolutions() -> None:
    levels = [4096, 1024, 256, 64, 256, 1024, 4096]
    calls = [one for positions in levels for one in block(2, 24, positions)]
    assert temporal_calls(calls, Images()) == (ROLES * len(levels), 24)


def test_as_many_positions_as_frames_are_settled_by_the_order_of_the_other_levels() -> None:
    calls = [one for positions in (256, 64, 16, 64) for one in block(2, 16, positions)]
    assert temporal_calls(calls, Images()) == (ROLES * 4, 16)


def test_a_transformer_of_one_resolution() -> None:
    calls = [call(32, 1024), call(2048, 16)] * 5
    assert temporal_calls(calls, Images()) == ([SPATIAL, TEMPORAL] * 5, 16)


def test_more_frames_than_positions_are_told_by_the_resolutions() -> None:
    calls = [one for positions in (64, 16, 4) for one in block(1, 128, positions)]
    assert temporal_calls(calls, Images()) == (ROLES * 3, 128)


def test_more_frames_than_positions_are_told_by_convolutions() -> None:
    calls = [call(128, 64), call(64, 128)] * 3
    assert temporal_calls(calls, Images(planes=frozenset({(128, 64)})))[1] == 128
    assert temporal_calls(calls, Images(depths=frozenset({128})))[1] == 128
    assert temporal_calls(calls, Images())[1] == 64


def test_class_tokens_do_not_matter() -> None:
    calls = [call(2 * 196, 8), call(2 * 8, 197)] * 4
    assert temporal_calls(calls, Images()) == ([TEMPORAL, SPATIAL] * 4, 8)


def test_heads_may_be_folded_into_the_batch() -> None:
    calls = [
        call(count * 8, length, heads=True)
        for positions in (1024, 256)
        for count, length in ((32, positions), (2 * positions, 16))
    ]
    assert temporal_calls(calls, Images()) == ([SPATIAL, TEMPORAL] * 2, 16)


def test_a_text_encoder_beside_a_video_is_neither() -> None:
    calls = [call(2, TEXT), *block(2, 16, 256), *block(2, 16, 64)]
    assert temporal_calls(calls, Images())[0] == [None, *ROLES, *ROLES]


@pytest.mark.parametrize(
    "calls",
    [
        [
            call(2, 4096),
            call(2, 4096, TEXT),
            call(2, 1024),
            call(2, 256),
            call(2, 64),
            call(1, 4096),
        ],
        [call(25, 196), call(1, 4096), call(25, 196)],  # windows beside global attention (SAM)
        [call(64, 49), call(16, 49), call(4, 49)],  # windows of one size (Swin)
        [call(16, 256), call(16, 64)],  # two resolutions of a batch
        [call(1, 512), *(call(1, 1, keys) for keys in range(513, 530))],  # decoding
        [call(2, 4608)] * 20,  # one long sequence (FLUX)
        [],
    ],
    ids=["unet", "windows and all", "windows", "batch", "decode", "joint", "nothing"],
)
def test_what_is_no_video(calls: list[Call]) -> None:
    assert temporal_calls(calls, Images()) == ([None] * len(calls), None)


def test_ranges_of_lengths_as_grids_give_them() -> None:
    def ranged(batch: int, blocks: int) -> Call:
        return Call(Size(batch, 128 * (blocks - 1) + 1, 128 * blocks), is_self=True)

    calls = [ranged(24, 13), ranged(1600, 1), ranged(24, 4), ranged(400, 1), ranged(24, 1),
             ranged(100, 1), ranged(2, 1)]  # fmt: skip
    expected = [SPATIAL, TEMPORAL, SPATIAL, TEMPORAL, SPATIAL, TEMPORAL, None]
    assert temporal_calls(calls, Images()) == (expected, 24)


@settings(max_examples=300)
@given(
    clips=st.integers(1, 4),
    frames=st.integers(2, 64),
    side=st.sampled_from([8, 12, 16, 20, 32]),
    levels=st.integers(2, 3),
)
def test_every_video_of_several_resolutions(
    clips: int, frames: int, side: int, levels: int
) -> None:
    positions = [(side >> level) ** 2 for level in range(levels)]
    assume(all(count >= 4 and abs(count - frames) > 8 for count in positions))
    calls = [one for count in positions for one in block(clips, frames, count)]
    roles, found = temporal_calls(calls, Images())
    assert found == frames
    assert roles == ROLES * levels


AXIAL = [TEMPORAL, SPATIAL, SPATIAL]


@pytest.mark.parametrize(("rows", "columns"), [(32, 24), (32, 32)])
def test_frames_rows_and_columns_in_turn(rows: int, columns: int) -> None:
    block = [call(rows * columns, 16), call(16 * columns, rows), call(16 * rows, columns)]
    assert roles_in_videos(block * 2, Images()) == AXIAL * 2
    assert roles_in_videos(block[1:] * 2, Images()) != AXIAL[1:] * 2


def test_layers_of_one_size_are_no_axes() -> None:
    assert roles_in_videos([call(1024, 32)] * 6, Images()) == [None] * 6


def test_two_videos_of_one_run() -> None:
    """A network that adds frames follows; convolutions over its frames tell them."""
    first = [one for positions in (256, 64) for one in block(1, 16, positions)]
    second = [call(positions, 76) for positions in (256, 64)] * 2
    images = Images(frozenset({(76, 256), (76, 64)}))
    assert roles_in_videos([*first, *second], images) == [*ROLES * 2, *[TEMPORAL] * 4]
    assert roles_in_videos([*first, *second], Images())[-4:] == [None] * 4


def test_levels_without_spatial_attention_may_be_tied() -> None:
    calls = [one for positions in (256, 64) for one in block(1, 16, positions)]
    calls += [*block(1, 16, 16)[2:] * 2, *block(1, 16, 16), *block(1, 16, 16)[2:]]
    roles = [*ROLES * 2, *[TEMPORAL] * 4, *ROLES, *[TEMPORAL] * 2]
    assert temporal_calls(calls, Images()) == (roles, 16)
