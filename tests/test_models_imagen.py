"""Imagen's cascade: conditions, guidance, steps, attention's lengths, weights from a folder."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

import model_helpers
from model_helpers import TINY, Marks, read_attention
from tracekit.collectors.models import load_builder
from tracekit.collectors.workload import ModelOptions, Workload
from tracekit.errors import UsageError
from tracekit.labels import AttentionLabel

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    from diffusers import DDPMScheduler
    from diffusers.models.embeddings import TextTimeEmbedding

    from tracekit.collectors.models import _cascade, imagen
    from tracekit.collectors.models._diffusion import Ddim

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def build(**changes: Any) -> Workload:
    return model_helpers.build("imagen", **changes)


def run(workload: Workload) -> Any:
    return workload.run(Marks())


def lengths(workload: Workload) -> dict[str, set[tuple[Any, ...]]]:
    """Kind, axis, query and key length of the attention in each part, as the collectors see it."""
    found: dict[str, set[tuple[Any, ...]]] = {}

    def see(label: AttentionLabel) -> None:
        seen = (label.kind, label.axis, label.query_length, label.key_length)
        found.setdefault(label.path.partition(".")[0], set()).add(seen)

    read_attention(workload.modules, lambda: run(workload), see)
    return found


def test_attention_is_over_image_and_text_and_of_one_query_where_the_text_is_pooled() -> None:
    found = lengths(build(prompt_tokens=7))
    pooled = ("cross", "sequence", 1, 8)
    # 8 pixels a side: attention at 4, 2 and 1 of them.
    base = {("joint", "spatial", side**2, side**2 + 7) for side in (4, 2, 1)}
    assert found["unet"] == {pooled, *base}
    # 32 pixels a side, five levels: attention at 4 and 2.
    larger = {("joint", "spatial", side**2, side**2 + 7) for side in (4, 2)}
    assert found["super_resolution_256"] == {pooled, *larger}
    # 128 pixels a side, made smaller four times: attention at 8.
    assert found["super_resolution_1024"] == {("cross", "spatial", 64, 7)}


@pytest.mark.parametrize(("steps", "larger"), [(1, 1), (5, 2), (6, 3)])
def test_steps_are_those_of_the_base_and_half_as_many_are_a_super_resolutions(
    steps: int, larger: int
) -> None:
    workload, marks = build(steps=steps), Marks()
    workload.run(marks)
    counts = {
        "text_encoder": 1,
        "denoise": steps,
        "super_resolution_256": larger,
        "super_resolution_1024": larger,
    }
    assert marks.counts() == dict(workload.stages) == counts
    assert workload.config["inputs"]["super_resolution_256_steps"] == larger


def test_the_published_steps_are_the_defaults() -> None:
    workload = load_builder("imagen")(ModelOptions(device="meta", preset="if-m", trace_steps=2))
    assert list(workload.stages.values()) == [1, 100, 50, 50]
    assert list(workload.traced_stages.values()) == [1, 2, 2, 2]


def test_sizes_scale_all_three_stages() -> None:
    larger = build(size=256, batch=2, steps=1)
    assert tuple(run(larger).shape) == (2, 3, 256, 256)
    with pytest.raises(UsageError, match="--size 192: it must be a multiple of 128"):
        build(size=192)
    with pytest.raises(UsageError, match="no use for --frames"):
        build(frames=2)


def test_the_full_size_computes_an_image_of_1024_pixels() -> None:
    options = ModelOptions(device="meta", steps=1)
    assert tuple(run(load_builder("imagen")(options)).shape) == (1, 3, 1024, 1024)


def test_weights_come_from_a_folder(tmp_path: Path) -> None:
    made = build()
    for name, module in made.modules.items():
        module.save_pretrained(tmp_path / name)
    loaded = build(tiny=False, weights=str(tmp_path), size=128, steps=4)
    assert loaded.config["weights"] == str(tmp_path)
    assert torch.allclose(run(made), run(loaded), atol=1e-5)


@pytest.mark.parametrize("written_out", [False, True])
def test_the_text_is_pooled_as_diffusers_pools_it(written_out: bool) -> None:
    theirs = TextTimeEmbedding(16, 8, num_heads=4)
    ours = _cascade.TextSummaryEmbedding(theirs, written_out)
    text = torch.randn(2, 5, 16)
    assert torch.allclose(ours(text), theirs(text), atol=1e-5)
    assert set(ours.state_dict()) == set(theirs.state_dict())


def test_a_condition_is_enlarged_and_noised_as_ifs_pipeline_does() -> None:
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    image, noise = torch.rand(2, 3, 4, 4) * 2 - 1, torch.randn(2, 3, 16, 16)
    large = torch.nn.functional.interpolate(image, 16, mode="bilinear", align_corners=True)
    expected = scheduler.add_noise(large, noise, torch.tensor([250, 250]))
    assert torch.allclose(_cascade.Enlarged(noise, 250)(image), expected, atol=1e-4)


def test_frames_are_enlarged_one_by_one() -> None:
    video, noise = torch.rand(2, 3, 5, 4, 4), torch.randn(2, 3, 5, 8, 8)
    whole = _cascade.Enlarged(noise, 100)(video)
    for frame in range(5):
        alone = _cascade.Enlarged(noise[:, :, frame], 100)(video[:, :, frame])
        assert torch.allclose(whole[:, :, frame], alone)


def stage(guidance: float | None, **more: Any) -> tuple[Any, list[Any]]:
    """A stage whose model predicts its text, with a channel too many, and what it was given."""
    given: list[Any] = []

    def denoise(sample: Any, time: Any, text: Any) -> Any:
        given.append((sample, text))
        return text[:, :1].expand(-1, 4)[:, :, None, None].expand(-1, -1, 2, 2)

    noise = torch.zeros(1, 3, 2, 2)
    sampler = Ddim.of(1, TINY)
    made = _cascade.Stage(
        name="s", denoise=denoise, noise=noise, sampler=sampler, guidance=guidance, **more
    )
    return made, given


def test_guidance_doubles_the_batch_and_none_sees_the_conditional_text_alone() -> None:
    text = torch.tensor([[1.0], [3.0]])
    guided, given = stage(5.0)
    result = guided.run(range(1), None, text, Marks())
    noise = torch.full((1, 3, 2, 2), 1.0 + 5.0 * 2.0)
    assert torch.allclose(result, guided.sampler.advance(0, guided.noise, noise))
    assert given[0][0].shape[0] == 2
    plain, given = stage(None)
    result = plain.run(range(1), None, text, Marks())
    assert torch.allclose(result, plain.sampler.advance(0, plain.noise, noise / 11 * 3))
    assert given[0][0].shape[0] == 1
    assert given[0][1].tolist() == [[3.0]]


def test_a_condition_is_put_in_as_the_stage_says() -> None:
    before = torch.ones(1, 3, 2, 2)
    for more, expected in [({}, 6), ({"put_in": torch.add}, 3)]:
        one, given = stage(1.0, condition=lambda image: image * 2, **more)
        one.run(range(1), before, torch.zeros(2, 1), Marks())
        assert given[0][0].shape == (2, expected, 2, 2)
        assert given[0][0].amax() == 2


def test_the_parts_are_within_the_memory_of_one_card() -> None:
    parts = imagen.parts(ModelOptions(device="meta"))
    assert sum(p.numel() for part in parts.values() for p in part.parameters()) * 2 < 22e9
