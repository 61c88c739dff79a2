"""Stages that nothing marks, found in sequences of kernels alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stage_builders import (
    ATTENTION,
    LAYER,
    RESNET,
    Run,
    decoder,
    found,
    scheduler,
    summary,
    text_encoder,
    token_pass,
    unet,
    vae,
)

from tracekit.classifying.parts import Part
from tracekit.classifying.sequence_names import beside_training


def test_text_encoder_denoising_loop_and_decoder(tmp_path: Path) -> None:
    run = Run().add(text_encoder(), "text_encoder")
    for step in range(5):
        run.add([*unet(), *scheduler()], "denoise", step)
    run.add(vae(), "vae_decode")
    table = run.table(tmp_path)
    assert found(table) == run.truth
    assert set(table.stages.sources) == {"sequence"}


@pytest.mark.parametrize("layers", [2, 3, 24])
def test_layers_alone_are_one_stage(tmp_path: Path, layers: int) -> None:
    run = Run().add(["conv", "sin", "cos", "gemm", *LAYER * layers, "norm", "gemm"])
    assert summary(run.table(tmp_path)) == [("forward", 0)]


def test_layers_without_anything_around_are_one_stage(tmp_path: Path) -> None:
    assert summary(Run().add(LAYER * 12).table(tmp_path)) == [("forward", 0)]


def test_blocks_of_a_unet_are_no_steps(tmp_path: Path) -> None:
    assert summary(Run().add(unet(12)).table(tmp_path)) == [("forward", 0)]


def test_layers_inside_steps_are_no_steps(tmp_path: Path) -> None:
    run = Run()
    for step in range(7):
        run.add(["cat", "sin", "cos", "gemm", *LAYER * 20, "norm", "gemm", "add"], "denoise", step)
    assert found(run.table(tmp_path)) == run.truth


def test_the_prompt_and_a_growing_cache(tmp_path: Path) -> None:
    run = Run().add(token_pass(), "prefill", grid=512)
    for step in range(12):
        # Of a cache that grows, other copies come in, and grids of the attention change.
        words = token_pass()
        if step % 3 == 2:
            words[40:40] = ["cat", "cat"]
        before = len(run.words)
        run.add(words, "decode", step, grid=1)
        for at in range(before, len(run.words)):
            if run.words[at] == "flash":
                run.grids[at] = 1 + step
    assert found(run.table(tmp_path)) == run.truth


def test_a_prompt_and_one_token(tmp_path: Path) -> None:
    run = Run().add(token_pass(), "prefill", grid=512).add(token_pass(), "decode", 0, grid=1)
    # One of each is no loop by size, and one stage of two passes by structure.
    names = [name for name, _ in summary(run.table(tmp_path))]
    assert len(names) <= 2


def test_guidance_in_two_passes_is_one_step(tmp_path: Path) -> None:
    run = Run().add(text_encoder(), "text_encoder")
    for step in range(6):
        run.add([*unet(), *unet(), *scheduler()], "denoise", step)
    run.add(vae(), "vae_decode")
    assert found(run.table(tmp_path)) == run.truth


def test_a_cascade_has_two_loops(tmp_path: Path) -> None:
    run = Run().add(text_encoder(), "text_encoder")
    for step in range(6):
        run.add([*unet(5), *scheduler()], "denoise", step, grid=64)
    for step in range(4):
        run.add([*unet(8), *scheduler()], "super_resolution", step, grid=1024)
    assert found(run.table(tmp_path)) == run.truth


def test_a_cascade_of_one_architecture_is_split_by_size(tmp_path: Path) -> None:
    run = Run()
    for step in range(6):
        run.add([*unet(), *scheduler()], "denoise", step, grid=64)
    for step in range(4):
        run.add([*unet(), *scheduler()], "super_resolution", step, grid=1024)
    assert found(run.table(tmp_path)) == run.truth


def test_repeated_runs_are_looked_into(tmp_path: Path) -> None:
    run = Run()
    for _ in range(3):
        run.add(text_encoder(), "text_encoder")
        for step in range(8):
            run.add([*unet(), *scheduler()], "denoise", step)
        run.add(vae(), "vae_decode")
    assert found(run.table(tmp_path)) == run.truth


def test_an_odd_first_step_is_a_step(tmp_path: Path) -> None:
    run = Run().add(text_encoder(), "text_encoder")
    for step in range(6):
        words = [*unet(), *scheduler()]
        if step == 0:
            words[30:30] = ["cutlass_warm_up"] * 9
        run.add(words, "denoise", step)
    assert found(run.table(tmp_path)) == run.truth


def test_training_steps(tmp_path: Path) -> None:
    backward = ("gemm", "gemm", "mul", "gemm", "gemm", "gemm", "gemm", "add", "norm", "add")
    run = Run()
    for step in range(5):
        run.add(["embed", *LAYER * 6, "norm", "gemm", *backward * 6, "adam", "adam"], None, step)
    table = run.table(tmp_path)
    assert [step for _, step in found(table)] == [step for _, step in run.truth]


def test_a_run_of_one_step(tmp_path: Path) -> None:
    run = Run().add(text_encoder(6), grid=8).add(unet(6), grid=64).add(vae(), grid=256)
    assert summary(run.table(tmp_path)) == [("text_encoder", 0), ("denoise", 1), ("vae_decode", 0)]


def test_a_decoder_in_chunks_is_one_stage(tmp_path: Path) -> None:
    run = Run().add(text_encoder(), "text_encoder")
    for step in range(4):
        run.add([*unet(), *scheduler()], "denoise", step)
    for _ in range(5):
        run.add(vae(), "vae_decode")
    assert found(run.table(tmp_path)) == run.truth


def test_several_encoders_are_told_apart_and_one_that_works_twice_is_not(tmp_path: Path) -> None:
    run = Run()
    for _ in range(2):
        run.add(text_encoder(4), "text_encoder", grid=8)
        run.add(text_encoder(10), "text_encoder_2", grid=16)
    for step in range(4):
        run.add([*unet(), *scheduler()], "denoise", step)
    assert found(run.table(tmp_path)) == run.truth


def test_too_little_work_is_no_stage(tmp_path: Path) -> None:
    assert summary(Run().add(["add", "mul"] * 3).table(tmp_path)) == []
    assert summary(Run().add(RESNET[:2]).table(tmp_path)) == []


def test_a_prompt_and_its_negative_are_encoded_by_one_text_encoder(tmp_path: Path) -> None:
    # Two encoders, called in turn for both prompts, are more than half of a run of two steps.
    run = Run()
    for _ in range(2):
        run.add(text_encoder(12), "text_encoder", grid=8)
        run.add(text_encoder(16), "text_encoder_2", grid=16)
    for step in range(2):
        run.add([*unet(), *scheduler()], "denoise", step)
    run.add(vae(), "vae_decode", grid=256)
    assert found(run.table(tmp_path)) == run.truth


def test_the_end_of_a_prompt_that_an_encoder_picks_is_no_token(tmp_path: Path) -> None:
    run = Run()
    for _ in range(2):
        run.add([*text_encoder(8), "add", "argmax", "gemm"], "text_encoder", grid=8)
    for step in range(4):
        run.add([*unet(), *scheduler()], "denoise", step)
    assert summary(run.table(tmp_path)) == [("text_encoder", 0), ("denoise", 4)]


def test_two_tokens_before_a_vocoder_are_steps(tmp_path: Path) -> None:
    run = Run().add(token_pass(), "decode", 0).add(token_pass(), "decode", 1)
    for step in range(3):
        run.add([*unet(), *scheduler()], "denoise", step, grid=256)
    assert found(run.table(tmp_path)) == run.truth


def test_what_picks_a_token_ends_the_pass_before(tmp_path: Path) -> None:
    # Sampling of one token is all that stands between two passes, as at the end of the last one.
    run = Run().add(text_encoder(), "text_encoder", grid=8)
    for step in range(6):
        words = [*token_pass(12), "mul", "add", "argmax"]
        run.add(words, "decode", step, grid=1)
    run.add(["embed", *LAYER * 5, "norm"], "vae_decode", grid=512)
    run.add(["mul", "add", "mul", "add"]).add(vae(), "super_resolution", grid=1024)
    assert found(run.table(tmp_path)) == run.truth


@pytest.mark.parametrize("chunks", [1, 2, 4])
def test_one_step_of_an_image_to_video_run(tmp_path: Path, chunks: int) -> None:
    run = Run().add(["conv", "embed", "add", *LAYER * 8, "norm"], "image_encoder", grid=4)
    run.add(scheduler()).add(decoder(), "vae_encode", grid=32).add(scheduler())
    run.add(unet(8), "denoise", 0, grid=64).add(scheduler() * 2, "denoise", 0)
    for _ in range(chunks):
        run.add(decoder(), "vae_decode", grid=32)
    table = run.table(tmp_path)
    names = ["image_encoder", "vae_encode", "denoise", "vae_decode"]
    assert [name for name, _ in summary(table)] == names
    wrong = sum(one != two for one, two in zip(found(table), run.truth, strict=True))
    assert wrong <= 2 * len(scheduler()) + 8


def test_a_block_that_is_told_the_time_is_no_model(tmp_path: Path) -> None:
    # Blocks of video models tell the time of their frames, through a network of its own.
    block = ["sin", "cos", "gemm", "silu", "gemm", *ATTENTION, *ATTENTION, *RESNET]
    words = ["sin", "cos", "gemm", "silu", "gemm", "conv", *block * 8, "conv"]
    assert summary(Run().add(words).table(tmp_path)) == [("forward", 0)]
    run = Run().add(text_encoder(8), grid=8).add(words, grid=64)
    assert summary(run.table(tmp_path)) == [("text_encoder", 0), ("denoise", 1)]


def test_the_sine_of_a_rotation_is_not_the_time(tmp_path: Path) -> None:
    run = Run().add(text_encoder(8), "text_encoder", grid=8)
    words = ["embed", "sin", "cos", *LAYER * 8, "norm"]
    run.add(words, "text_encoder_2", grid=16)
    for step in range(3):
        run.add([*unet(), *scheduler()], "denoise", step)
    assert found(run.table(tmp_path)) == run.truth


def test_a_prior_of_one_step_before_a_loop(tmp_path: Path) -> None:
    run = Run().add(text_encoder(6), "text_encoder", grid=8)
    prior = ["sin", "cos", "gemm", "silu", "gemm", *LAYER * 6, "norm"]
    run.add(prior, "prior", 0, grid=12)
    for step in range(3):
        run.add([*unet(), *scheduler()], "denoise", step)
    for step in range(3):
        run.add([*unet(8), *scheduler()], "super_resolution", step, grid=1024)
    assert found(run.table(tmp_path)) == run.truth


def test_a_step_that_takes_frames_in_chunks(tmp_path: Path) -> None:
    net = ["sin", "cos", "gemm", "silu", "gemm", "conv", *RESNET * 10, "conv"]
    run = Run().add(text_encoder(6), "text_encoder", grid=8)
    for step in range(3):
        run.add([*unet(), *scheduler()], "denoise", step)
    for step in range(2):
        for chunk in range(6):
            run.add(net, "super_resolution", step, grid=256 if chunk < 5 else 128)
        run.add(scheduler() * 2, "super_resolution", step)
    table = run.table(tmp_path)
    assert summary(table) == [("text_encoder", 0), ("denoise", 3), ("super_resolution", 2)]


def test_a_first_token_that_fills_caches_is_a_step(tmp_path: Path) -> None:
    # Keys and values of the prompt are made with the first token, so it takes longer.
    run = Run().add(text_encoder(6), "text_encoder", grid=8)
    run.add([*token_pass(8)[:-1], *["cat", "gemm", "gelu"] * 12, "argmax"], "decode", 0, grid=2)
    for step in range(6):
        run.add(token_pass(8), "decode", step + 1, grid=1)
    b = run.builder()
    dims = [[1, 8, 1, 64], [1, 8, 77, 64], [1, 8, 77, 64]]
    for at, word in enumerate(run.words):
        if word == "flash" and run.truth[at][0] == "decode":
            b.op("aten::scaled_dot_product_attention", 1_000 * at - 10, 900, **{"Input Dims": dims})
    run.builder = lambda: b  # type: ignore[method-assign]
    assert summary(run.table(tmp_path)) == [("text_encoder", 0), ("decode", 7)]


def test_a_video_that_is_decoded_in_tiles_is_one_stage(tmp_path: Path) -> None:
    """Tiles at the edge are smaller; all are blended in the end, and none tells the time."""
    time = ["sin", "cos", "gemm", "silu", "gemm"]
    run = Run().add(text_encoder(6), "text_encoder", grid=8)
    for step in range(3):
        run.add([*time, *unet(), *scheduler()], "denoise", step, grid=64)
    for _ in range(4):
        for tile in range(5):
            # A mask is made in each.
            run.add(["arange", *decoder()], "vae_decode", grid=32 if tile < 4 else 16)
    run.add(["mul", "mul", "add"] * 40, "vae_decode")
    table = run.table(tmp_path)
    assert summary(table) == [("text_encoder", 0), ("denoise", 3), ("vae_decode", 0)]
    assert found(table)[-1] == ("vae_decode", None)


def test_a_model_that_is_called_again_does_not_denoise(tmp_path: Path) -> None:
    """Nothing is looked up, drawn or told the time: a classifier that was timed."""
    run = Run()
    for step in range(5):
        run.add(["conv", "add", *LAYER * 6, "norm", "gemm"], "forward", step)
    assert summary(run.table(tmp_path)) == [("forward", 5)]


@pytest.mark.parametrize("prompts", [2, 3])
def test_prompts_in_a_row_are_encoded_though_each_asks_for_many(
    prompts: int, tmp_path: Path
) -> None:
    run = Run()
    for _ in range(prompts):
        run.add(text_encoder(6), "text_encoder")
    for step in range(4):
        words = ["cat", "sin", "cos", "gemm", "silu", "gemm", *LAYER * 12, "norm", "gemm", "add"]
        run.add(words, "denoise", step)
    b = run.builder()
    for at, word in enumerate(run.words):
        if word == "flash":
            name = "aten::scaled_dot_product_attention"
            b.op(name, 1_000 * at - 50, 900, **{"Input Dims": [[2, 8, 77, 64]] * 3})
    run.builder = lambda: b  # type: ignore[method-assign]
    assert [name for name, _ in summary(run.table(tmp_path))] == ["text_encoder", "denoise"]


def test_a_step_of_training_that_was_cut_off_is_no_decoder() -> None:
    steps = np.array([10, 20, 30])
    names = ["vae_encode", "train", "text_encoder", "train", "vae_decode"]
    parts = [Part(name, 0, 1, steps if name == "train" else None) for name in names]
    found = [part.name for part in beside_training(parts)]
    assert found == ["before", "train", "between", "train", "after"]
    others = [part for part in parts if part.name != "train"]
    assert beside_training(others) == others
