"""Stages that nobody marked: of pipelines by their components, of `generate`, and undone after."""

from __future__ import annotations

import copy
import inspect
import threading
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import pipeline_builders as builders  # noqa: E402
from pipeline_builders import Marks  # noqa: E402
from tracekit.collectors.everywhere import staged_everywhere  # noqa: E402
from tracekit.collectors.patching import Patches  # noqa: E402
from tracekit.collectors.pipeline_stages import denoisers_of, modules_of  # noqa: E402
from tracekit.collectors.staging import roots_of, staged  # noqa: E402
from tracekit.collectors.written_attention import attention_written_out, written_out  # noqa: E402

if TYPE_CHECKING:
    pass

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]

CALLS: dict[str, dict[str, Any]] = {
    "sd": {},
    "animatediff": {"num_frames": 2, "height": 16, "width": 16},
    "flux": {"height": 8, "width": 8, "max_sequence_length": builders.TEXT},
    "wan": {"num_frames": 5, "height": 16, "width": 16, "max_sequence_length": builders.TEXT},
    "ddpm": {},
    "cascade": {"height": 128, "width": 128, "prior_num_inference_steps": 3},
}
STAGES: dict[str, list[tuple[str, int | None]]] = {
    "sd": [("text_encoder", None), ("text_encoder", None), ("denoise", 0), ("denoise", 1),
           ("vae_decode", None)],
    "animatediff": [("text_encoder", None), ("text_encoder", None), ("denoise", 0),
                    ("denoise", 1), ("vae_decode", None)],
    "flux": [("text_encoder", None), ("text_encoder_2", None), ("denoise", 0), ("denoise", 1),
             ("vae_decode", None)],
    "wan": [("text_encoder", None), ("text_encoder", None), ("denoise", 0), ("denoise", 1),
            ("vae_decode", None)],
    "ddpm": [("denoise", 0), ("denoise", 1)],
    "cascade": [("text_encoder", None), ("text_encoder", None), ("denoise", 0), ("denoise", 1),
                ("denoise", 2), ("denoise", 3), ("denoise", 4), ("vae_decode", None)],
}  # fmt: skip


def call(name: str, pipeline: Any, **more: Any) -> Any:
    prompt = {} if name == "ddpm" else {"prompt": "a cat"}
    arguments = {"num_inference_steps": 2, "output_type": "pt", **prompt, **CALLS[name], **more}
    return pipeline(**arguments, generator=torch.Generator().manual_seed(0))


def attributes(pipeline: Any) -> dict[Any, set[str]]:
    """Return what the instances and classes of a pipeline's parts have of their own."""
    found = {}
    for name, part in vars(pipeline).items():
        if hasattr(part, "__dict__"):
            found[name] = set(vars(part))
            found[type(part)] = set(vars(type(part)))
    return found


@pytest.mark.parametrize("name", list(STAGES))
def test_pipelines_are_staged_by_their_components(name: str) -> None:
    pipeline, marks = builders.built(name), Marks()
    plain = call(name, pipeline)[0]
    before = attributes(pipeline)
    with staged(pipeline, marks):
        result = call(name, pipeline)[0]
    assert marks.calls == STAGES[name]
    assert torch.equal(torch.as_tensor(result), torch.as_tensor(plain))
    assert attributes(pipeline) == before
    call(name, pipeline)
    assert len(marks.calls) == len(STAGES[name])


def test_a_step_lasts_until_the_scheduler_has_stepped() -> None:
    pipeline, marks = builders.built("sd"), Marks()
    seen = []
    step = type(pipeline.scheduler).step

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(marks.open)
        return step(self, *args, **kwargs)

    def after(_pipeline: Any, _step: int, _time: Any, tensors: Any) -> Any:
        seen.append(marks.open)
        return tensors

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(pipeline.scheduler), "step", watched)
        with staged(pipeline, marks):
            call("sd", pipeline, callback_on_step_end=after)
    assert seen == ["denoise", None, "denoise", None]


def test_guidance_stays_in_its_step_and_signatures_are_kept() -> None:
    pipeline, marks, calls = builders.built("wan"), Marks(), []
    forward = pipeline.transformer.forward
    signature = inspect.signature(pipeline.scheduler.step)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(marks.calls[-1])
        assert inspect.signature(pipeline.scheduler.step) == signature
        return forward(*args, **kwargs)

    pipeline.transformer.forward = counted
    with staged(pipeline, marks):
        call("wan", pipeline)
    assert calls == [("denoise", 0), ("denoise", 0), ("denoise", 1), ("denoise", 1)]


def test_without_a_scheduler_each_call_is_a_step() -> None:
    class Plain(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    pipeline, marks = builders.built("sd"), Marks()
    pipeline.unet, pipeline.scheduler = Plain(), None
    pipeline.safety_checker = Plain()
    with staged(pipeline, marks):
        for _ in range(3):
            pipeline.unet(torch.ones(1))
        pipeline.vae.encode(torch.ones(1, 3, 16, 16))
        pipeline.safety_checker(torch.ones(1))
    assert marks.calls == [
        ("denoise", 0), ("denoise", 1), ("denoise", 2), ("vae_encode", None),
        ("safety_checker", None),
    ]  # fmt: skip


def test_components_that_are_swapped_or_offloaded() -> None:
    from accelerate.hooks import ModelHook, add_hook_to_module

    pipeline, moved = builders.built("sd"), []

    class Hook(ModelHook):  # type: ignore[misc]
        def pre_forward(self, module: Any, *args: Any, **kwargs: Any) -> Any:
            moved.append(marks.open)
            return args, kwargs

    add_hook_to_module(pipeline.text_encoder, Hook())
    for unet in (pipeline.unet, builders.image_unet()):
        pipeline.unet, marks = unet, Marks()
        with staged(pipeline, marks):
            call("sd", pipeline)
        assert marks.calls == STAGES["sd"]
    assert moved == ["text_encoder"] * 4


@pytest.mark.parametrize("how", ["wrapped", "in place", "its forward"])
def test_compiled_components_are_not_compiled_again(how: str) -> None:
    torch.compiler.reset()
    pipeline, graphs = builders.built("ddpm"), []

    def backend(graph: Any, _inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    unet = builders.SmallUnet()
    pipeline.unet = unet
    if how == "wrapped":
        pipeline.unet = torch.compile(unet, backend=backend)
    elif how == "in place":
        unet.compile(backend=backend)
    else:
        unet.forward = torch.compile(unet.forward, backend=backend)
    impl = unet._compiled_call_impl
    call("ddpm", pipeline)
    known = len(graphs)
    assert known
    for _ in range(2):
        marks = Marks()
        with staged(pipeline, marks):
            call("ddpm", pipeline)
        assert marks.calls == STAGES["ddpm"]
        with staged_everywhere(Marks()):
            call("ddpm", pipeline)
        call("ddpm", pipeline)
    assert len(graphs) == known
    assert unet._compiled_call_impl is impl
    assert "_compiled_call_impl" not in vars(pipeline.unet) or how == "in place"


def test_what_raises_closes_its_stage_and_undoes_everything() -> None:
    pipeline, marks = builders.built("sd"), Marks()
    before = attributes(pipeline)

    def stop(_pipeline: Any, step: int, _time: Any, tensors: Any) -> Any:
        if step:
            raise KeyError("stop")
        return tensors

    with pytest.raises(KeyError, match="stop"), staged(pipeline, marks):
        call("sd", pipeline, callback_on_step_end=stop)
    assert marks.open is None
    with pytest.raises(RuntimeError), staged(pipeline, marks):
        pipeline.unet(torch.ones(1, 3, 8, 8), 0, torch.ones(1, builders.TEXT, 32))
    assert marks.open is None
    assert attributes(pipeline) == before


def test_copies_made_meanwhile_work_by_themselves() -> None:
    pipeline, marks = builders.built("sd"), Marks()
    with staged(pipeline, marks):
        scheduler, unet = copy.deepcopy(pipeline.scheduler), copy.deepcopy(pipeline.unet)
        scheduler.set_timesteps(2)
        scheduler.step(torch.ones(1), scheduler.timesteps[0], torch.ones(1))
        with torch.no_grad():
            unet(torch.ones(1, 4, 8, 8), 0, torch.ones(1, builders.TEXT, 32))
    assert marks.calls == []
    assert "_compiled_call_impl" not in vars(unet)


def test_other_threads_have_no_part_in_it() -> None:
    pipeline, marks = builders.built("sd"), Marks()
    with staged(pipeline, marks):
        other = threading.Thread(target=call, args=("sd", pipeline))
        other.start()
        other.join()
        assert marks.calls == []
        call("sd", pipeline)
    assert marks.calls == STAGES["sd"]


def test_composite_pipelines_name_each_part_once() -> None:
    pipeline = builders.built("cascade")
    names = modules_of(pipeline)
    assert pipeline.prior_text_encoder is pipeline.text_encoder
    assert list(names) == ["text_encoder", "decoder", "vqgan", "prior_prior"]
    assert denoisers_of(pipeline) == ("decoder", "prior_prior")
    assert denoisers_of(builders.built("animatediff")) == ("unet",)
    assert roots_of(pipeline) == names
    assert roots_of(None) == roots_of({}) == {}
    assert list(roots_of(torch.nn.Linear(1, 1))) == ["model"]


def test_patches_count_their_users() -> None:
    class Thing:
        def value(self) -> int:
            return 1

    def doubled(before: Any) -> Any:
        return lambda *args: before(*args) * 2

    thing, patches = Thing(), Patches()
    first, second = (patches.replaced(thing, "value", doubled) for _ in range(2))
    first.__enter__()
    second.__enter__()
    assert thing.value() == 2
    first.__exit__(None, None, None)
    assert thing.value() == 2
    second.__exit__(None, None, None)
    assert (thing.value(), vars(thing)) == (1, {})
    with patches.replaced(Thing, "value", doubled):
        assert thing.value() == 2
        Thing.value = lambda self: 5  # type: ignore[method-assign]
    assert thing.value() == 5


def generate(model: Any, tokens: int = 3, **more: Any) -> Any:
    prompt = torch.tensor([[1, 4, 5, 6]])
    return model.generate(
        prompt, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, **more
    )


LLAMA = [("prefill", None), ("decode", 0), ("decode", 1)]
T5 = [("encoder", None), ("decode", 0), ("decode", 1), ("decode", 2)]


@pytest.mark.parametrize(("name", "stages"), [("llama", LLAMA), ("t5", T5)])
def test_generate_is_staged(name: str, stages: list[tuple[str, int | None]]) -> None:
    model, marks = getattr(builders, name)(), Marks()
    before = set(vars(model))
    plain = generate(model)
    with staged(model, marks):
        assert torch.equal(generate(model), plain)
    assert marks.calls == stages
    assert set(vars(model)) <= before | {"_compiled_call", "_last_compile_config"}
    generate(model)
    assert len(marks.calls) == len(stages)


def test_what_a_decoder_starts_with_is_a_prompt_if_it_is_longer() -> None:
    model, marks = builders.t5(), Marks()
    with staged(model, marks):
        generate(model, decoder_input_ids=torch.tensor([[0, 4, 5]]))
    assert marks.calls == [("encoder", None), *LLAMA]


def test_beams_and_chunks_of_the_prompt() -> None:
    model, marks = builders.llama(), Marks()
    with staged(model, marks):
        generate(model, num_beams=2)
    assert marks.calls == LLAMA
    marks = Marks()
    with staged(model, marks):
        generate(model, prefill_chunk_size=2)
    assert marks.calls == [("prefill", None), *LLAMA]


def test_drafts_of_an_assistant_belong_to_the_step_that_is_open() -> None:
    model, marks = builders.llama(), Marks()
    with staged_everywhere(marks, label=False):
        generate(model, tokens=4, assistant_model=builders.llama())
    assert marks.names()[0] == "prefill"
    assert set(marks.names()[1:]) == {"decode"}
    assert marks.steps("decode") == list(range(len(marks.calls) - 1))
    assert len(marks.calls) <= 4


def test_a_model_that_generate_compiles() -> None:
    from transformers import CompileConfig

    model, marks = builders.llama(), Marks()
    config = CompileConfig(backend="eager", fullgraph=True)
    config._compile_all_devices = True
    with staged_everywhere(marks):
        generate(model, cache_implementation="static", compile_config=config)
    assert marks.calls == LLAMA
    assert "_compiled_call_impl" not in vars(model)


def test_everything_is_staged_wherever_it_is_called() -> None:
    import diffusers
    from transformers import GenerationMixin, PreTrainedModel

    classes = (
        diffusers.DiffusionPipeline, diffusers.StableDiffusionPipeline, diffusers.DDIMScheduler,
        diffusers.StableCascadeCombinedPipeline, GenerationMixin, PreTrainedModel,
    )  # fmt: skip
    before = [dict(vars(kind)) for kind in classes]
    old, marks = builders.built("sd"), Marks()
    with staged_everywhere(marks) as attention:
        signature = inspect.signature(diffusers.StableDiffusionPipeline.__call__)
        assert "prompt" in signature.parameters
        call("sd", old)
        call("sd", builders.built("sd"))
        call("cascade", builders.built("cascade"))
        generate(builders.llama())
        generate(builders.llama())
    assert [dict(vars(kind)) for kind in classes] == before
    assert marks.steps("denoise") == list(range(2 + 2 + 5))
    assert marks.steps("decode") == [0, 1, 2, 3]
    assert marks.names()[:5] == marks.names()[5:10] == [name for name, _ in STAGES["sd"]]
    assert ("LlamaForCausalLM", "model.model.layers.1.self_attn") in attention
    owners = {owner for owner, _ in attention}
    assert owners == {
        "StableDiffusionPipeline", "StableCascadeCombinedPipeline", "LlamaForCausalLM",
    }  # fmt: skip
    call("sd", old)
    assert len(marks.steps("denoise")) == 9


def test_attention_written_out_is_the_same_attention() -> None:
    torch.manual_seed(0)
    reference = torch.nn.functional.scaled_dot_product_attention
    query, key, value = (torch.randn(2, heads, 5, 8) for heads in (4, 2, 2))
    mask = torch.rand(5, 5) > 0.5
    mask[:, 0] = True
    for more in (
        {"is_causal": True},
        {"attn_mask": mask},
        {"attn_mask": torch.randn(5, 5), "scale": 0.3},
    ):
        expected = reference(query, key, value, enable_gqa=True, **more)
        found = attention_written_out(query, key, value, enable_gqa=True, **more)
        assert torch.allclose(found, expected, atol=1e-6), more
    with written_out():
        assert torch.nn.functional.scaled_dot_product_attention is attention_written_out
    assert torch.nn.functional.scaled_dot_product_attention is reference
