"""Make-A-Video's cascade: what each stage is given, its sizes, steps and chunks."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import pytest

import model_helpers
from model_helpers import META, TINY, Marks
from tracekit.collectors.workload import ModelOptions, Workload
from tracekit.errors import UsageError

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    video = import_module("tracekit.collectors.models.make_a_video")
    further = import_module("tracekit.collectors.models._make_a_video")

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]


def build(options: ModelOptions = TINY, **changes: Any) -> Workload:
    return model_helpers.build("make-a-video", options, **changes)


def shapes_of_inputs(workload: Workload) -> dict[str, list[tuple[int, ...]]]:
    """What each denoiser is called with, over a run."""
    found: dict[str, list[tuple[int, ...]]] = {}
    for name in workload.compile_targets:

        def note(_: Any, args: Any, name: str = name) -> None:
            found.setdefault(name, []).append(tuple(args[0].shape))

        workload.modules[name].register_forward_pre_hook(note)
    workload.run(Marks())
    return found


def test_the_full_size_computes_76_frames_of_768_pixels() -> None:
    workload = build(META, steps=1)
    seen = shapes_of_inputs(workload)
    assert seen["prior"] == [(2, 1024)]
    assert seen["unet"] == [(2, 3, 16, 64, 64)]
    assert seen["frame_interpolation"] == [(1, 7, 76, 64, 64)]
    assert seen["super_resolution_256"] == [(1, 6, 76, 256, 256)]
    assert seen["super_resolution_768"] == [(8, 6, 768, 768)] * 9 + [(4, 6, 768, 768)]


def test_no_tensor_of_the_full_size_needs_64_bit_indices() -> None:
    workload = build(META, steps=1)
    largest = 0

    def note(_: Any, args: Any, result: Any) -> None:
        nonlocal largest
        tensors = [each for each in (*args, result) if isinstance(each, torch.Tensor)]
        largest = max([largest, *(each.numel() for each in tensors)])

    for module in workload.modules.values():
        for part in module.modules():
            part.register_forward_hook(note)
    result: Any = workload.run(Marks())
    assert tuple(result.shape) == (1, 3, 76, 768, 768)
    assert 1.7e9 < largest < 2**31


def test_the_steps_of_the_other_stages_follow_those_of_the_base() -> None:
    full = {"prior": 25, "frame_interpolation": 50}
    full |= {"super_resolution_256": 27, "super_resolution_768": 15}
    assert dict(build(META).stages) == {"text_encoder": 1, "denoise": 50} | full
    few = build(META, steps=2, trace_steps=1)
    assert few.stages["prior"] == few.stages["super_resolution_768"] == 1
    assert few.stages["frame_interpolation"] == 2
    assert set(few.traced_stages.values()) == {1}


def test_batch_size_frames_and_prompt_are_those_of_the_base_frames() -> None:
    workload = build(batch=2, size=16, frames=2, steps=1, prompt_tokens=5)
    result: Any = workload.run(Marks())
    assert tuple(result.shape) == (2, 3, 6, 192, 192)
    assert workload.config["inputs"]["frames_interpolated"] == 6
    assert workload.config["inputs"]["sizes_enlarged"] == [64, 192]
    assert result.isfinite().all()


def test_interpolation_is_given_the_frames_there_are_and_where() -> None:
    unet = video.parts(TINY)["frame_interpolation"]
    stage = further.interpolation_stage(unet, 1, 3, 8, TINY)
    frames = torch.arange(1.0, 10).reshape(1, 3, 3, 1, 1).expand(-1, -1, -1, 8, 8)
    condition = stage.condition(frames)
    assert tuple(condition.shape) == (1, 4, 11, 8, 8)
    assert torch.equal(condition[:, :3, [0, 5, 10]], frames)
    assert condition[0, 3, :, 0, 0].tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert condition[:, :, 1:5].count_nonzero() == 0


def test_every_frame_of_768_pixels_starts_from_the_same_noise() -> None:
    unet = video.parts(TINY)["super_resolution_768"]
    start = further.super_resolution_768(unet, 1, 9, 96, TINY).noise
    assert tuple(start.shape) == (1, 3, 9, 96, 96)
    assert all(torch.equal(start[:, :, 0], start[:, :, frame]) for frame in range(9))


def test_super_resolution_is_given_the_frames_enlarged_without_noise() -> None:
    unet = video.parts(TINY)["super_resolution_256"]
    stage = further.super_resolution_256(unet, 1, 2, 32, TINY)
    frames = torch.full((1, 3, 2, 8, 8), 0.25)
    expected = torch.full((1, 3, 2, 32, 32), 0.25)
    assert torch.allclose(stage.condition(frames), expected, atol=1e-6)


def test_chunks_of_frames_do_not_change_the_numbers() -> None:
    # In float64: where few numbers are normalized, float32 rounds differently by batch.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unet = video.parts(TINY)["super_resolution_768"].double()
    given = torch.randn(1, 6, 9, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    time = torch.tensor(7)
    chunked = further.some_frames_at_a_time(unet)(given, time, None)
    for frame in range(9):
        alone = unet(given[:, :, frame], time).sample
        assert torch.allclose(chunked[:, :, frame], alone, atol=1e-10)


def test_the_base_frames_see_the_image_embedding() -> None:
    workload = build()
    texts: dict[str, Any] = {}
    for name in ("unet", "super_resolution_256"):

        def note(_: Any, args: Any, more: Any, name: str = name) -> None:
            texts[name] = more.get("encoder_hidden_states", args[-1])

        workload.modules[name].register_forward_pre_hook(note, with_kwargs=True)
    workload.run(Marks())
    assert tuple(texts["unet"].shape) == (2, 78, 32)
    assert texts["unet"][0, -1].count_nonzero() == 0
    assert texts["unet"][1, -1].std() > 0.01
    assert torch.equal(texts["super_resolution_256"], texts["unet"][1:])


def test_weights_are_of_the_base_alone() -> None:
    with pytest.raises(UsageError, match="--preset full has random weights"):
        build(META, preset="full", weights="folder")
