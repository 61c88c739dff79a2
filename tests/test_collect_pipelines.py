"""`tracekit collect pipeline`: tiny pipelines, saved to disk, loaded back, recorded, analyzed."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import pipeline_builders as builders  # noqa: E402
import tracekit  # noqa: E402
from collect_helpers import manifest_of, names_in  # noqa: E402
from tracekit.cli import run  # noqa: E402
from tracekit.collectors.pipeline_inputs import PipelineOptions, call_of  # noqa: E402
from tracekit.collectors.workload import ModelOptions  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Collect = Callable[..., tuple[int, str, str]]

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]

QUICK = ("--device", "cpu", "--repeats", "1", "--warm-up", "1")
RICH = (*QUICK, "--passes", "rich")
SMALL = {
    "sd": ("--steps", "3"),
    "animatediff": ("--steps", "2", "--frames", "3", "--size", "16"),
    "flux": ("--steps", "2", "--size", "8", "--pipeline-arg", "max_sequence_length=8"),
    "wan": ("--steps", "2", "--frames", "5", "--size", "16"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where saved pipelines are kept for all tests."""
    return tmp_path_factory.mktemp("pipelines")


@pytest.fixture
def collect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Collect:
    """A function that runs `tracekit collect` in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KINETO_LOG_LEVEL", "99")
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "ERROR")

    def call(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["collect", *args])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def stages_of(analysis: Any) -> dict[str, int | None]:
    return {stage.stage: stage.steps for stage in analysis.stages if stage.source == "label"}


def test_all_passes_of_a_pipeline(collect: Collect, folders: Path, tmp_path: Path) -> None:
    folder = str(builders.saved("sd", folders))
    code, out, err = collect(
        "-o", "run", "pipeline", folder, *QUICK, "--steps", "3", "--prompt", "a cat", "--batch", "2"
    )
    assert (code, err) == (0, "")
    assert out.startswith("Recorded timing, light, rich in run (")
    body = manifest_of(tmp_path / "run")
    assert body["complete"]
    assert body["model"]["name"] == "StableDiffusionPipeline"
    assert body["stages"] == [
        {"stage": "text_encoder", "steps": 2, "traced_steps": 2},
        {"stage": "denoise", "steps": 3, "traced_steps": 3},
        {"stage": "vae_decode", "steps": 1, "traced_steps": 1},
    ]
    config = body["model"]["config"]
    assert config["inputs"] == {
        "prompt": "a cat", "num_inference_steps": 3, "num_images_per_prompt": 2,
        "output_type": "pt", "made_up": [],
    }  # fmt: skip
    assert config["scheduler"]["class"] == "DDIMScheduler"
    assert config["unet"]["block_out_channels"] == [8, 16]
    assert config["parameters"]["total"] > config["parameters"]["unet"] > 0
    timing = json.loads((tmp_path / "run" / "timing.json").read_text())
    marked = [(entry["stage"], entry["step"]) for entry in timing["repeats"][0]["stages"]]
    assert marked[2:] == [("denoise", 0), ("denoise", 1), ("denoise", 2), ("vae_decode", None)]
    analysis = tracekit.analyze(tmp_path / "run")
    assert stages_of(analysis) == {"text_encoder": 2, "denoise": 3, "vae_decode": 1}


@pytest.mark.parametrize(
    ("name", "stages", "axes", "kinds"),
    [
        ("animatediff", {"text_encoder": 2, "denoise": 2, "vae_decode": 1},
         {"sequence", "spatial", "temporal"}, {"self", "cross"}),
        ("flux", {"text_encoder": 1, "text_encoder_2": 1, "denoise": 2, "vae_decode": 1},
         {"sequence", "spatial"}, {"self", "joint"}),
        ("wan", {"text_encoder": 2, "denoise": 2, "vae_decode": 1},
         {"sequence", "spatial", "spatio-temporal"}, {"self", "cross"}),
    ],
)  # fmt: skip
def test_stages_and_attention_of_other_architectures(
    collect: Collect,
    folders: Path,
    tmp_path: Path,
    name: str,
    stages: dict[str, int],
    axes: set[str],
    kinds: set[str],
) -> None:
    folder = str(builders.saved(name, folders))
    code, _, err = collect("-o", "run", "pipeline", folder, *RICH, *SMALL[name])
    assert (code, err) == (0, "")
    assert manifest_of(tmp_path / "run")["passes"][0]["attention_modules"] > 3
    analysis = tracekit.analyze(tmp_path / "run")
    assert stages_of(analysis) == stages
    assert {entry.key for entry in analysis.attention.by_axis} == axes
    assert {entry.key for entry in analysis.attention.by_kind} == kinds
    denoise = next(stage for stage in analysis.stages if stage.stage == "denoise")
    assert denoise.traced_steps == len(denoise.per_step) == 2
    assert denoise.categories["linear"] > 0


def test_labels_hold_component_paths_and_real_lengths(
    collect: Collect, folders: Path, tmp_path: Path
) -> None:
    folder = str(builders.saved("flux", folders))
    assert collect("-o", "run", "pipeline", folder, *RICH, *SMALL["flux"])[0] == 0
    names = set(names_in(tmp_path / "run"))
    # 8 tokens of text and those of the image: 8 by 8 pixels, 1/1 in this VAE, patches of 2 by 2.
    assert "tk1|attn|transformer.transformer_blocks.0.attn|joint|spatial|24|24|2" in names
    assert any(name.startswith("tk1|attn|text_encoder.") for name in names)
    assert any(
        name.startswith("tk1|attn|vae.decoder.mid_block.attentions.0|self|") for name in names
    )
    assert "tk1|stage|denoise|1" in names


def test_traced_steps_are_a_run_of_fewer_steps(
    collect: Collect, folders: Path, tmp_path: Path
) -> None:
    folder = str(builders.saved("sd", folders))
    code, _, _ = collect(
        "-o", "run", "pipeline", folder, *QUICK, "--steps", "6", "--trace-steps", "2"
    )
    assert code == 0
    stages = {entry["stage"]: entry for entry in manifest_of(tmp_path / "run")["stages"]}
    assert (stages["denoise"]["steps"], stages["denoise"]["traced_steps"]) == (6, 2)
    timing = json.loads((tmp_path / "run" / "timing.json").read_text())
    steps = [{e["stage"]: e["steps"] for e in t["stages"]} for t in (timing, timing["traced"])]
    assert [each["denoise"] for each in steps] == [6, 2]
    analysis = tracekit.analyze(tmp_path / "run")
    denoise = next(stage for stage in analysis.stages if stage.stage == "denoise")
    assert (denoise.steps, denoise.traced_steps) == (6, 2)


def test_images_that_are_needed_are_made_up(
    collect: Collect, folders: Path, tmp_path: Path
) -> None:
    folder = str(builders.saved("img2img", folders))
    code, _, err = collect("-o", "run", "pipeline", folder, *RICH, "--steps", "5", "--size", "32")
    assert (code, err) == (0, "")
    inputs = manifest_of(tmp_path / "run")["model"]["config"]["inputs"]
    assert inputs["image"] == "random image of 32 x 32"
    assert inputs["made_up"] == ["image", "prompt"]
    # A strength of 0.8 samples in 4 of the 5 steps.
    expected = {"text_encoder": 2, "vae_encode": 1, "denoise": 4, "vae_decode": 1}
    assert stages_of(tracekit.analyze(tmp_path / "run")) == expected


def test_images_are_read_from_their_paths(folders: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (24, 16), (255, 0, 0)).save(tmp_path / "red.png")
    path = str(tmp_path / "red.png")
    options = PipelineOptions("", ModelOptions(), arguments={"image": [path], "strength": 0.5})
    call = call_of(builders.built("img2img"), options)
    assert [image.size for image in call.arguments["image"]] == [(24, 16)]
    assert call.arguments["strength"] == 0.5
    assert list(call.made_up) == ["prompt"]


def test_a_pipeline_without_text(collect: Collect, folders: Path, tmp_path: Path) -> None:
    folder = str(builders.saved("ddpm", folders))
    assert collect("-o", "run", "pipeline", folder, *RICH, "--steps", "2", "--batch", "2")[0] == 0
    inputs = manifest_of(tmp_path / "run")["model"]["config"]["inputs"]
    assert (inputs["batch_size"], "prompt" in inputs) == (2, False)
    assert stages_of(tracekit.analyze(tmp_path / "run")) == {"denoise": 2}


def test_attention_written_out_and_every_leaf(
    collect: Collect, folders: Path, tmp_path: Path
) -> None:
    folder = str(builders.saved("flux", folders))
    more = ("--attention", "eager", "--label", "all")
    assert collect("-o", "run", "pipeline", folder, *RICH, *SMALL["flux"], *more)[0] == 0
    names = set(names_in(tmp_path / "run"))
    assert not [name for name in names if "scaled_dot_product" in name]
    assert {"aten::softmax", "aten::matmul"} <= names
    assert any(name.startswith("tk1|mod|transformer.x_embedder|Linear") for name in names)


def test_compiled_pipelines_keep_their_stages(
    collect: Collect, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What compiles is not what is tested here, and takes a compiler and a minute.
    monkeypatch.setattr(
        torch.nn.Module,
        "compile",
        lambda self, **_: setattr(self, "_compiled_call_impl", self.forward),
    )
    folder = str(builders.saved("sd", folders))
    more = ("--steps", "3", "--trace-steps", "2", "--compile", "--passes", "rich")
    code, _, err = collect("-o", "run", "pipeline", folder, *QUICK, *more)
    assert (code, err) == (0, "")
    body = manifest_of(tmp_path / "run")
    assert body["stages"][1] == {"stage": "denoise", "steps": 3, "traced_steps": 2}
    assert [entry["pass"] for entry in body["passes"]] == ["eager", "rich"]
    for file in ("eager.json.gz", "trace.json.gz"):
        names = names_in(tmp_path / "run", file)
        assert {"tk1|stage|denoise|0", "tk1|stage|denoise|1"} <= set(names)
        assert any(name.startswith("tk1|attn|unet.") for name in names) == (file[0] == "e")


@pytest.mark.parametrize(
    ("name", "args", "code", "text"),
    [
        ("sd", ("--frames", "4"), 2, "StableDiffusionPipeline has no use for --frames"),
        ("sd", ("--new-tokens", "4"), 2, "has no use for --new-tokens"),
        ("sd", ("--weights", "w"), 2, "has no use for --weights"),
        ("sd", ("--tiny",), 2, "leave it out"),
        ("flux", ("--pipeline-arg", "zzz=3"), 2, "--pipeline-arg zzz: FluxPipeline takes none"),
        ("sd", ("--pipeline-arg", "guidance=3"), 2, "did you mean guidance_scale?"),
        ("sd", ("--pipeline-arg", "guidance_scale"), 2, "give KEY=VALUE"),
        ("ddpm", ("--prompt", "a cat"), 2, "DDPMPipeline has no use for --prompt"),
        ("ddpm", ("--size", "32"), 2, "DDPMPipeline has no use for --size"),
        ("img2img", ("--pipeline-arg", "image=gone.png"), 3, "gone.png: cannot be read"),
        ("sd", ("--pipeline-arg", "guidance_scale=high"), 3, "raised TypeError: "),
    ],
)  # fmt: skip
def test_what_a_pipeline_cannot_take(
    collect: Collect, folders: Path, name: str, args: tuple[str, ...], code: int, text: str
) -> None:
    folder = str(builders.saved(name, folders))
    steps = ("--steps", "2")
    found, out, err = collect("-o", "run", "pipeline", folder, *RICH, *steps, *args)
    assert (found, out) == (code, "")
    assert text in err
    assert err.count("\n") == 1


def test_wrong_targets(collect: Collect, tmp_path: Path) -> None:
    for args, text in (
        (("pipeline",), "give one folder or id"),
        (("pipeline", "a", "b"), "give one folder or id"),
        (("llama", "--prompt", "hello"), "--prompt: is for pipelines only"),
        (("llama", "--pipeline-arg", "a=1"), "--pipeline-arg: is for pipelines only"),
    ):
        code, out, err = collect("-o", "run", *args, "--device", "cpu")
        assert (code, out) == (2, ""), args
        assert text in err
    assert not (tmp_path / "run").exists()


def test_folders_that_are_no_pipeline(collect: Collect, folders: Path, tmp_path: Path) -> None:
    whole = builders.saved("sd", folders)

    def broken(name: str, index: str | None = None, without: str | None = None) -> None:
        shutil.copytree(whole, tmp_path / name)
        if index is not None:
            (tmp_path / name / "model_index.json").write_text(index)
        if without is not None:
            shutil.rmtree(tmp_path / name / without)

    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "modular").mkdir()
    (tmp_path / "modular" / "modular_model_index.json").write_text("{}")
    broken("torn", index="{")
    broken("flax", index='{"_class_name": "FlaxStableDiffusionPipeline"}')
    broken("no_unet", without="unet")
    broken("no_class", index='{"_class_name": "NoSuchPipeline"}')
    broken("no_weights")
    for weights in (tmp_path / "no_weights" / "vae").glob("*.safetensors"):
        weights.unlink()
    for path, text in (
        ("./gone", "there is no such folder"),
        ("empty", "holds no model_index.json"),
        ("file", "is a file"),
        ("modular", "is a modular pipeline"),
        ("torn", "model_index.json is broken"),
        ("flax", "does not run on torch"),
        ("no_unet", "the component unet is missing"),
        ("no_class", "cannot be loaded as a pipeline"),
        ("no_weights", "cannot be loaded as a pipeline"),
    ):
        code, out, err = collect("-o", "run", "pipeline", path, *RICH)
        assert (code, out) == (3, ""), (path, err)
        assert text in err, path
        assert path in err
        assert err.count("\n") == 1, path
    assert not (tmp_path / "run").exists()


def test_an_id_that_cannot_be_fetched(collect: Collect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    code, out, err = collect("-o", "run", "pipeline", "nobody/nothing", *RICH)
    assert (code, out) == (3, "")
    assert "nobody/nothing: is no folder here" in err
    assert err.count("\n") == 1


def test_without_diffusers_or_a_gpu(
    collect: Collect, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(builders.saved("sd", folders))
    if not torch.cuda.is_available():
        code, _, err = collect("-o", "run", "pipeline", folder)
        assert code == 5
        assert err.count("\n") == 1
    monkeypatch.setitem(sys.modules, "diffusers", None)
    code, out, err = collect("-o", "run", "pipeline", folder, *RICH)
    assert (code, out) == (4, "")
    assert "diffusers" in err
    assert "gpu-tracekit[collect]" in err


def test_unknown_arguments_go_to_those_that_take_any(
    collect: Collect, folders: Path, tmp_path: Path
) -> None:
    folder = str(builders.saved("sd", folders))
    more = ("--steps", "1", "--pipeline-arg", "zzz=1", "--pipeline-arg", 'prompt=["a", "b"]')
    assert collect("-o", "run", "pipeline", folder, *RICH, *more)[0] == 0
    inputs = manifest_of(tmp_path / "run")["model"]["config"]["inputs"]
    assert (inputs["zzz"], inputs["prompt"]) == (1, ["a", "b"])


def test_out_of_memory(
    collect: Collect, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import diffusers

    def too_large(*_args: Any, **_kwargs: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    folder = str(builders.saved("sd", folders))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffusers.DiffusionPipeline, "to", too_large)
        code, _, err = collect("-o", "run", "pipeline", folder, *RICH)
        assert (code, "out of memory" in err) == (5, True)
        assert not (tmp_path / "run").exists()
    monkeypatch.setattr(diffusers.AutoencoderKL, "decode", too_large)
    code, _, err = collect("-o", "run", "pipeline", folder, *RICH)
    assert code == 5
    assert "StableDiffusionPipeline: out of memory on cpu" in err
    assert manifest_of(tmp_path / "run")["errors"][0]["error"] == "OutOfMemoryError"
