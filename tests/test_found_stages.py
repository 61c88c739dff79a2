"""Stages that nothing marks, found in sequences of kernels alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from stage_builders import (
    LAYER,
    RESNET,
    Run,
    found,
    scheduler,
    summary,
    text_encoder,
    token_pass,
    unet,
    vae,
)


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
    run = Run().add(text_encoder(6), "text_encoder").add(unet(6), "denoise").add(vae())
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
