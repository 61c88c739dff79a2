"""Stages from the models that a run calls, as traces with stacks show them."""

from __future__ import annotations

from pathlib import Path

import pytest
from stage_builders import KERNELS, LAYER, Run, found, scheduler, summary, text_encoder, unet, vae

from builders import TraceBuilder
from tracekit.classifying.module_calls import role_of
from tracekit.classifying.table import KernelTable


class Pipeline(Run):
    """A run whose models are module calls."""

    def call(self, module: str, words: list[str], stage: str, step: int | None = None) -> Pipeline:
        self.calls = getattr(self, "calls", [])
        self.calls.append((module, len(self.words), len(words)))
        self.add(words, stage, step)
        return self

    def builder(self) -> TraceBuilder:
        b = super().builder()
        for module, first, count in self.calls:
            b.module(module, 1_000 * first - 100, 1_000 * count - 200)
        return b


def test_each_model_is_a_stage_and_each_call_of_the_denoiser_a_step(tmp_path: Path) -> None:
    run = Pipeline().call("CLIPTextModel_0", text_encoder(), "text_encoder")
    run.call("T5EncoderModel_0", text_encoder(), "text_encoder_2")
    for step in range(4):
        run.call("UNet2DConditionModel_0", unet(), "denoise", step)
        run.add(scheduler(), "denoise", step)
    run.call("Conv2d_9", ["conv"], "vae_decode").call("Decoder_0", vae(), "vae_decode")
    table = run.table(tmp_path)
    assert found(table) == run.truth
    assert set(table.stages.sources) == {"module"}


def test_two_passes_with_the_scheduler_after_them_are_one_step(tmp_path: Path) -> None:
    run = Pipeline()
    for step in range(4):
        run.call("UNet2DConditionModel_0", unet(), "denoise", step)
        run.call("UNet2DConditionModel_0", unet(), "denoise", step)
        run.add(scheduler(), "denoise", step)
    assert found(run.table(tmp_path)) == run.truth


def test_models_that_take_turns_are_one_step(tmp_path: Path) -> None:
    run = Pipeline()
    for step in range(3):
        run.call("ControlNetModel_0", unet(2), "denoise", step)
        run.call("UNet2DConditionModel_0", unet(), "denoise", step)
        run.add(scheduler(), "denoise", step)
    assert found(run.table(tmp_path)) == run.truth


def test_a_twin_of_one_size_goes_on_with_the_steps(tmp_path: Path) -> None:
    run = Pipeline()
    for step in range(6):
        name = f"WanTransformer3DModel_{int(step >= 3)}"
        run.call(name, unet(), "denoise", step).add(scheduler(), "denoise", step)
    assert found(run.table(tmp_path)) == run.truth


def test_a_pipeline_around_everything_is_looked_into(tmp_path: Path) -> None:
    run = Pipeline().call("CLIPTextModel_0", text_encoder(), "text_encoder")
    for step in range(4):
        run.call("UNet2DConditionModel_0", unet(), "denoise", step)
    b = run.builder()
    b.module("MyPipeline_0", -500, 1_000 * len(run.words) + 1_000)
    run.builder = lambda: b  # type: ignore[method-assign]
    assert summary(run.table(tmp_path)) == [("text_encoder", 0), ("denoise", 4)]


def test_repeated_runs_begin_their_steps_again(tmp_path: Path) -> None:
    run = Pipeline()
    for _ in range(3):
        run.call("CLIPTextModel_0", text_encoder(), "text_encoder")
        for step in range(4):
            run.call("UNet2DConditionModel_0", unet(), "denoise", step)
        run.call("Decoder_0", vae(), "vae_decode")
    assert found(run.table(tmp_path)) == run.truth


def test_layers_without_a_model_are_no_stages(tmp_path: Path) -> None:
    run = Pipeline()
    for layer in range(6):
        run.call(f"Block_{layer}", list(LAYER), "forward")
    assert summary(run.table(tmp_path)) == [("forward", 0)]


@pytest.mark.parametrize(
    ("module", "role"),
    [
        ("CLIPTextModelWithProjection_1", "text_encoder"),
        ("T5EncoderModel_0", "text_encoder"),
        ("UMT5EncoderModel_0", "text_encoder"),
        ("Qwen2Model_0", "text_encoder"),
        ("CLIPVisionModelWithProjection_0", "image_encoder"),
        ("UNet3DConditionModel_0", "denoise"),
        ("UNetSpatioTemporalConditionModel_0", "denoise"),
        ("FluxTransformer2DModel_0", "denoise"),
        ("HunyuanVideoTransformer3DModel_0", "denoise"),
        ("DiT_0", "denoise"),
        ("ControlNetModel_0", "denoise"),
        ("LlamaForCausalLM_0", "decode"),
        ("GPT2LMHeadModel_0", "decode"),
        ("Decoder_0", "vae_decode"),
        ("WanDecoder3d_0", "vae_decode"),
        ("TemporalDecoder_0", "vae_decode"),
        ("Encoder_0", "vae_encode"),
        ("StableDiffusionSafetyChecker_0", "safety_checker"),
        ("Linear_4", None),
        ("ImageDecoder_0", None),
        ("MyModel_0", None),
    ],
)
def test_roles_by_class(module: str, role: str | None) -> None:
    assert role_of(module) == role


def test_the_prompt_of_a_language_model_is_told_by_its_queries(tmp_path: Path) -> None:
    b = TraceBuilder()
    at = 0
    for call in range(5):
        begin = at
        queries = 32 if call == 0 else 1
        for _ in range(8):
            dims = [[1, 8, queries, 64], [1, 8, 32 + call, 64], [1, 8, 32 + call, 64]]
            b.op("aten::scaled_dot_product_attention", at, 900, **{"Input Dims": dims})
            b.launched(KERNELS["flash"], at + 10, at + 20, 100)
            for _ in range(3):
                at += 1_000
                b.op("aten::linear", at, 900)
                b.launched(KERNELS["gemm"], at + 10, at + 20, 100)
            at += 1_000
        b.module("LlamaForCausalLM_0", begin, at - begin)
    run = Run()
    run.builder = lambda: b  # type: ignore[method-assign]
    table: KernelTable = run.table(tmp_path)
    assert summary(table) == [("prefill", 0), ("decode", 4)]


@pytest.mark.parametrize(
    ("model", "stage"),
    [("Qwen2Model_0", "decode"), ("BertModel_0", "forward"), ("SiglipVisionModel_0", "forward")],
)
def test_an_encoder_alone_encodes_for_nothing(model: str, stage: str, tmp_path: Path) -> None:
    run = Pipeline()
    for step in range(3):
        run.call(model, text_encoder(), stage, step)
    assert found(run.table(tmp_path)) == run.truth


def test_an_annotation_around_everything_is_no_stage_if_there_are_some_inside(
    tmp_path: Path,
) -> None:
    run = Pipeline().call("T5EncoderModel_0", text_encoder(), "text_encoder")
    for step in range(3):
        run.call("UNet2DConditionModel_0", unet(), "denoise", step)
        run.add(scheduler(), "denoise", step)
    b = run.builder()
    b.annotation("execute_diffusion_1_256x256", -200, 1_000 * len(run.words) + 400)
    run.builder = lambda: b  # type: ignore[method-assign]
    assert found(run.table(tmp_path)) == run.truth


def test_an_annotation_around_one_pass_is_its_stage(tmp_path: Path) -> None:
    run = Pipeline().call("T5EncoderModel_0", text_encoder(), "warm pass")
    b = run.builder()
    b.annotation("warm pass", -200, 1_000 * len(run.words) + 400)
    run.builder = lambda: b  # type: ignore[method-assign]
    table = run.table(tmp_path)
    assert found(table) == run.truth
    assert table.stages.sources == ("annotation",)


@pytest.mark.parametrize(
    ("last", "stage"), [(("gemm", "argmax"), "parallel_decode"), (("norm", "argmax"), "forward")]
)
def test_parallel_decoding_picks_tokens_by_their_scores(
    last: tuple[str, ...], stage: str, tmp_path: Path
) -> None:
    """CLIP's text tower looks for the end of the prompt, which picks none."""
    run = Pipeline()
    for step in range(4):
        run.call("MaskGit_0", ["embed", "add", *LAYER * 4, "norm", *last], stage, step)
    b = run.builder()
    for at, word in enumerate(run.words):
        if word == "flash":
            queries = [2, 8, 64, 64]
            name = "aten::scaled_dot_product_attention"
            b.op(name, 1_000 * at - 50, 900, **{"Input Dims": [queries] * 3})
    run.builder = lambda: b  # type: ignore[method-assign]
    assert found(run.table(tmp_path)) == run.truth
