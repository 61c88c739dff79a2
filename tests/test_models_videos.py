"""The models of videos: shapes, labels of attention at any size, options, what is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

from model_helpers import Marks, build
from tracekit.collectors.labelling import labelled
from tracekit.collectors.models import MODELS
from tracekit.collectors.workload import ModelOptions, Workload
from tracekit.errors import UsageError
from tracekit.labels import AttentionLabel, parse_attention

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]

SHAPES = {
    "latte": (1, 4, 3, 32, 32),
    "stable-video-diffusion": (1, 3, 3, 64, 128),
    "animatediff": (1, 3, 3, 64, 64),
    "wan": (1, 5, 3, 32, 48),
    "cogvideox": (1, 9, 3, 32, 48),
    "hunyuan-video": (1, 9, 3, 32, 48),
}
"""What a tiny video is: batch, frames, channels, height, width."""
PRESETS = [(model, preset) for model in SHAPES for preset in import_module(MODELS[model]).PRESETS]


def module_of(model: str) -> ModuleType:
    return import_module(MODELS[model])


def video_of(workload: Workload) -> tuple[Any, list[tuple[str, int | None]]]:
    """Run once and return the pixels, and the stages as they were marked."""
    marks = Marks()
    return workload.run(marks), marks.calls


def labels_of(workload: Workload) -> list[AttentionLabel]:
    return labels_while(lambda: video_of(workload), workload.modules)


def labels_while(run: Callable[[], object], modules: Mapping[str, Any]) -> list[AttentionLabel]:
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with labelled(modules), torch.profiler.profile(activities=cpu) as profiler, torch.no_grad():
        run()
    found = [parse_attention(event.name) for event in profiler.events()]
    return [label for label in found if label is not None]


@pytest.mark.parametrize(("model", "preset"), PRESETS)
def test_each_size_has_its_shape_its_stages_and_its_attention(model: str, preset: str) -> None:
    module = module_of(model)
    workload = build(model, preset=preset)
    video, stages = video_of(workload)
    assert tuple(video.shape)[2:] == SHAPES[model][2:]
    assert 0 <= video.min() < video.max() <= 1
    assert tuple(dict.fromkeys(name for name, _ in stages)) == module.STAGES
    steps = [step for name, step in stages if name == "denoise"]
    assert steps == list(range(workload.config["inputs"]["num_inference_steps"]))
    found: dict[str, set[tuple[str | None, str | None]]] = {}
    for label in labels_of(workload):
        part = (label.path or "").partition(".")[0]
        found.setdefault(part, set()).add((label.kind, label.axis))
    assert found == module.ATTENTION


@pytest.mark.parametrize("model", SHAPES)
def test_the_first_size_is_the_default(model: str) -> None:
    first = next(iter(module_of(model).PRESETS))
    workload = build(model)
    assert workload.config["inputs"]["preset"] == first
    assert tuple(video_of(workload)[0].shape) == SHAPES[model]


@pytest.mark.parametrize(("model", "preset"), PRESETS)
def test_the_full_size_is_the_published_one(model: str, preset: str) -> None:
    module = module_of(model)
    parts = module.parts(ModelOptions(device="meta", preset=preset))
    published = module.PRESETS[preset].published
    assert parts.keys() == published.keys()
    for name, part in parts.items():
        count = sum(parameter.numel() for parameter in part.parameters())
        assert count == pytest.approx(published[name], rel=0.05), name


@pytest.mark.parametrize("model", SHAPES)
def test_attention_written_out_gives_the_same_video(model: str) -> None:
    fused, written_out = (video_of(build(model, attention=how))[0] for how in ("auto", "eager"))
    assert torch.allclose(fused, written_out, atol=1e-4)


@pytest.mark.parametrize("model", SHAPES)
@pytest.mark.parametrize("attention", ["auto", "eager"])
def test_it_runs_in_half_precision(model: str, attention: Any) -> None:
    video, _ = video_of(build(model, dtype="bfloat16", attention=attention))
    assert video.isfinite().all()


@pytest.mark.parametrize(
    ("model", "changes", "shape"),
    [
        ("wan", {"frames": 9, "size": 64, "batch": 2}, (2, 9, 3, 64, 64)),
        ("hunyuan-video", {"frames": 13, "size": 64, "batch": 2}, (2, 13, 3, 64, 64)),
        ("stable-video-diffusion", {"frames": 5, "size": 64, "batch": 2}, (2, 5, 3, 64, 64)),
        ("animatediff", {"frames": 2, "size": 24, "batch": 2}, (2, 2, 3, 24, 24)),
        ("latte", {"frames": 7, "size": 48, "batch": 2}, (2, 7, 3, 48, 48)),
        (
            "cogvideox",
            {"frames": 17, "size": 64, "batch": 2, "prompt_tokens": 9},
            (2, 17, 3, 64, 64),
        ),
    ],
)
def test_the_video_asked_for_is_what_comes(
    model: str, changes: dict[str, Any], shape: tuple[int, ...]
) -> None:
    assert tuple(video_of(build(model, steps=1, **changes))[0].shape) == shape


@pytest.mark.parametrize(
    ("model", "changes", "says"),
    [
        ("wan", {"frames": 8}, "--frames 8: it must be one more than a multiple of 4"),
        ("wan", {"size": 40}, "--size 40: it must be a multiple of 16"),
        ("cogvideox", {"frames": 13}, "--frames 13: it must be one more than a multiple of 8"),
        ("cogvideox", {"size": 40}, "--size 40: it must be a multiple of 16"),
        ("hunyuan-video", {"frames": 128}, "--frames 128"),
        ("latte", {"prompt_tokens": 8}, "no use for --prompt-tokens"),
        ("stable-video-diffusion", {"size": 96}, "--size 96: it must be a multiple of 64"),
        ("animatediff", {"frames": 0}, "--frames 0: it must be at least 1"),
        ("animatediff", {"prompt_tokens": 8}, "no use for --prompt-tokens"),
        ("wan", {"new_tokens": 3}, "no use for --new-tokens"),
        ("wan", {"preset": "14B"}, "did you mean 14b"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    model: str, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError) as raised:
        build(model, **changes)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_text_is_attended_by_every_patch_of_wan() -> None:
    """2 latent frames of 2 by 3 patches, 16 tokens of text; the autoencoder sees 4 by 6."""
    lengths = {
        (label.path.split(".")[0], label.kind): (label.query_length, label.key_length)
        for label in labels_of(build("wan"))
        if label.path is not None
    }
    assert lengths == {
        ("text_encoder", "self"): (16, 16),
        ("transformer", "self"): (12, 12),
        ("transformer", "cross"): (12, 16),
        ("vae", "self"): (24, 24),
    }


def test_text_and_video_of_cogvideox_are_one_sequence() -> None:
    """226 tokens of text; 3 latent frames of 2 by 3 patches."""
    joint = {label for label in labels_of(build("cogvideox")) if label.kind == "joint"}
    assert {(label.query_length, label.key_length) for label in joint} == {(244, 244)}


def test_text_of_hunyuan_video_is_refined_alone_and_then_joined() -> None:
    """32 tokens of text; 3 latent frames of 2 by 3 patches, of 4 by 6 in the autoencoder."""
    lengths = {
        (label.path.split(".")[0], label.kind): (label.query_length, label.key_length)
        for label in labels_of(build("hunyuan-video"))
        if label.path is not None
    }
    assert lengths["transformer", "self"] == (32, 32)
    assert lengths["transformer", "joint"] == (50, 50)
    assert lengths["vae", "self"] == (72, 72)


def test_hunyuan_video_decodes_in_tiles() -> None:
    """Latents of 33 by 1 make tiles of 32 by 1 and of 9 by 1, 5 frames one of 5 and one of 2."""
    vae = build("hunyuan-video").modules["vae"]
    decode: Any = vae.decode
    found = labels_while(lambda: decode(torch.zeros(1, 16, 5, 33, 1)), {"vae": vae})
    assert {label.query_length for label in found} == {32 * 5, 9 * 5, 32 * 2, 9 * 2}


def test_latte_attends_over_space_and_over_time() -> None:
    """4 frames of 2 by 2 patches; of the text, 8 words and the end, not the filling."""
    found = [label for label in labels_of(build("latte")) if "transformer" in (label.path or "")]
    assert {(one.axis, one.kind, one.query_length, one.key_length) for one in found} == {
        ("spatial", "self", 4, 4),
        ("spatial", "cross", 4, 9),
        ("temporal", "self", 4, 4),
    }
    longer = labels_of(build("latte", frames=6))
    assert {one.query_length for one in longer if one.axis == "temporal"} == {6}


def test_the_image_is_normalized_as_clip_does() -> None:
    module = module_of("stable-video-diffusion")
    images = torch.full((2, 3, 4, 4), 0.5)
    found = module.ClipNormalize()(images=images, do_normalize=True, return_tensors="pt")
    expected = (0.5 - 0.4578275) / 0.26130258
    assert found.pixel_values.shape == images.shape
    assert found.pixel_values[1, 1] == pytest.approx(expected, abs=1e-6)


def test_stable_video_diffusion_has_an_axis_of_time_for_each_of_space() -> None:
    """3 frames; one embedding of the image, which both axes attend to."""
    found = labels_of(build("stable-video-diffusion"))
    unet = [one for one in found if (one.path or "").startswith("unet")]
    along_time = {(one.kind, one.key_length) for one in unet if one.axis == "temporal"}
    assert along_time == {("self", 3), ("cross", 1)}
    sides = {one.query_length for one in unet if one.axis == "spatial"}
    assert sides == {128, 32, 8, 2}
    assert {one.query_length for one in found if one not in unet} == {17, 128}


def test_animatediff_attends_twice_over_time() -> None:
    found = labels_of(build("animatediff", frames=5))
    along_time = [one for one in found if one.axis == "temporal"]
    assert {(one.kind, one.query_length, one.key_length) for one in along_time} == {("self", 5, 5)}
    modules = {(one.path or "").partition(".transformer_blocks")[0] for one in along_time}
    assert all("motion_modules" in name for name in modules)
    # Of one layer a block 4 on the way down, 1 in the middle and 8 on the way up.
    assert (len(modules), len(along_time)) == (13, 3 * 2 * 13)


def test_more_frames_than_animatediff_was_made_for_have_positions() -> None:
    unet: Any = build("animatediff", frames=34).modules["unet"]
    assert unet.config.motion_max_seq_length == 34
