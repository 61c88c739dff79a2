"""The passes of a run folder, on a CPU with a toy model."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

torch = pytest.importorskip("torch")

import tracekit  # noqa: E402
from collect_helpers import denoise, manifest_of, names_in, options, toy  # noqa: E402
from tracekit.collectors import profiling, runwriter  # noqa: E402
from tracekit.collectors.markers import spread_left_out  # noqa: E402
from tracekit.collectors.passes import record_workload  # noqa: E402
from tracekit.collectors.profiling import NoKernelsError, examine  # noqa: E402
from tracekit.collectors.speedups import attention_backend  # noqa: E402
from tracekit.errors import HostError, InputError, OutputExistsError, UsageError  # noqa: E402
from tracekit.schemas import read_schema  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

RUN = Draft202012Validator(read_schema("run-1"))
TIMING = Draft202012Validator(read_schema("timing-1"))


def check_folder(folder: Path) -> dict[str, Any]:
    """Everything under a final name is whole, and is what the manifest says."""
    body = manifest_of(folder)
    RUN.validate(body)
    for file in body["files"]:
        data = (folder / file["name"]).read_bytes()
        assert len(data) == file["size_bytes"]
        assert hashlib.sha256(data).hexdigest() == file["sha256"]
    for path in folder.glob("[!.]*"):
        data = path.read_bytes()
        json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    if (folder / "timing.json").exists():
        TIMING.validate(json.loads((folder / "timing.json").read_text()))
    return body


def test_a_run_has_all_passes(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    summary = record_workload(toy(), folder, options(seed=7))
    body = check_folder(folder)
    assert body["complete"] is True
    assert (body["missing"], body["errors"], body["seed"]) == ([], [], 7)
    assert [entry["pass"] for entry in body["passes"]] == ["timing", "light", "rich"]
    assert [file["name"] for file in body["files"]] == [
        "timing.json", "kernels.json.gz", "trace.json.gz",
    ]  # fmt: skip
    assert body["stages"] == [
        {"stage": "text_encoder", "steps": 1, "traced_steps": 1},
        {"stage": "denoise", "steps": 3, "traced_steps": 3},
    ]
    assert body["versions"]["torch"] == torch.__version__
    for entry in body["passes"][1:]:
        assert entry["dilation"] == pytest.approx(
            entry["wall_ms"] / entry["unprofiled_wall_ms"], rel=1e-3
        )
        assert sum(entry["attention_backends"].values()) == 12
    assert summary.passes == ("timing", "light", "rich")
    assert set(summary.dilations) == {"light", "rich"}
    assert sorted(path.name for path in folder.iterdir()) == [
        "kernels.json.gz", "run.json", "timing.json", "trace.json.gz",
    ]  # fmt: skip


def test_times_are_by_repeat_and_stage(tmp_path: Path) -> None:
    record_workload(toy(), tmp_path, options(passes=("timing",), repeats=3))
    body = json.loads((tmp_path / "timing.json").read_text())
    TIMING.validate(body)
    walls = [repeat["wall_ms"] for repeat in body["repeats"]]
    assert len(walls) == 3
    assert (body["min_wall_ms"], body["max_wall_ms"]) == (min(walls), max(walls))
    assert body["median_wall_ms"] == sorted(walls)[1]
    assert body["median_gpu_ms"] is None
    stages = body["repeats"][0]["stages"]
    assert [(entry["stage"], entry["step"]) for entry in stages] == [
        ("text_encoder", None), ("denoise", 0), ("denoise", 1), ("denoise", 2),
    ]  # fmt: skip
    assert sum(entry["wall_ms"] for entry in stages) <= walls[0]
    assert [(row["stage"], row["steps"]) for row in body["stages"]] == [
        ("text_encoder", 1), ("denoise", 3),
    ]  # fmt: skip
    assert manifest_of(tmp_path)["passes"][0]["wall_ms"] == body["median_wall_ms"]


def test_the_rich_pass_is_labelled_and_has_shapes_and_the_light_one_has_not(tmp_path: Path) -> None:
    record_workload(toy(), tmp_path, options())
    rich = names_in(tmp_path)
    assert "tk1|stage|denoise|2" in rich
    assert sum(name.startswith("tk1|attn|net.") for name in rich) == 12
    with gzip.open(tmp_path / "trace.json.gz", "rt") as source:
        assert "Input Dims" in source.read()
    with gzip.open(tmp_path / "kernels.json.gz", "rt") as source:
        text = source.read()
    assert "Input Dims" not in text
    assert "tk1|attn" not in text
    note = manifest_of(tmp_path)["passes"][1]["notes"][0]
    assert note.startswith("CPU ops without shapes")


def test_every_leaf_is_labelled_when_asked_for(tmp_path: Path) -> None:
    record_workload(toy(), tmp_path, options(passes=("rich",), every_leaf=True))
    assert "tk1|mod|net.blocks.0.attn1.to_q|Linear" in names_in(tmp_path)
    assert manifest_of(tmp_path)["passes"][0]["dilation"] is None


def test_traced_steps_are_recorded_and_timed_apart(tmp_path: Path) -> None:
    workload = toy(run_traced=lambda stage: denoise(stage, 1), traced_stages={"denoise": 1})
    record_workload(workload, tmp_path, options())
    body = check_folder(tmp_path)
    assert body["stages"][1] == {"stage": "denoise", "steps": 3, "traced_steps": 1}
    timing = json.loads((tmp_path / "timing.json").read_text())
    assert len(timing["repeats"][0]["stages"]) == 4
    assert len(timing["traced"]["repeats"][0]["stages"]) == 2
    assert body["passes"][2]["unprofiled_wall_ms"] == timing["traced"]["median_wall_ms"]


def test_stages_nobody_announced_are_counted(tmp_path: Path) -> None:
    record_workload(toy(stages={}), tmp_path, options(passes=("light",)))
    assert manifest_of(tmp_path)["stages"] == [
        {"stage": "text_encoder", "steps": 1, "traced_steps": 1},
        {"stage": "denoise", "steps": 3, "traced_steps": 3},
    ]


def test_tracekit_analyzes_the_folder(tmp_path: Path) -> None:
    record_workload(toy(), tmp_path, options())
    result = tracekit.analyze(str(tmp_path))
    assert result.trace.basis == "cpu"
    stages = {row.stage: row.traced_steps for row in result.stages}
    assert stages == {"text_encoder": 1, "denoise": 3}
    shares = {row.category: row.time_ns for row in result.categories}
    assert shares["attention"] > 0
    assert shares["linear"] > 0


def test_a_filled_folder_is_refused_and_force_replaces_only_the_run(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    (tmp_path / "trace.json.gz").write_bytes(b"stale")
    with pytest.raises(OutputExistsError, match="--force"):
        record_workload(toy(), tmp_path, options())
    assert (tmp_path / "trace.json.gz").read_bytes() == b"stale"
    record_workload(toy(), tmp_path, options(passes=("timing",), force=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mine.txt", "run.json", "timing.json",
    ]  # fmt: skip
    with pytest.raises(OutputExistsError, match="is a file"):
        record_workload(toy(), tmp_path / "mine.txt", options(force=True))


class Failing:
    """Work that raises from its `number`th run on."""

    def __init__(self, error: BaseException, number: int) -> None:
        self.error, self.left = error, number

    def __call__(self, stage: Any) -> object:
        self.left -= 1
        if self.left < 0:
            with stage("denoise", step=0):
                raise self.error
        return denoise(stage)


TIMED = 1 + 2
"""Runs of warm-up and timing with `options()`."""


@pytest.mark.parametrize(
    ("error", "expected", "text"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt, None),
        (torch.OutOfMemoryError("CUDA out of memory"), HostError, "out of memory on cpu"),
        (MemoryError(), HostError, "out of memory"),
        (ValueError("bad\ninput"), InputError, "toy: raised ValueError: bad input"),
    ],
)
def test_what_ends_a_pass_keeps_those_before(
    tmp_path: Path, error: BaseException, expected: type[BaseException], text: str | None
) -> None:
    work = Failing(error, TIMED + 1)
    with pytest.raises(expected, match=text):
        record_workload(toy(run=work), tmp_path, options())
    body = check_folder(tmp_path)
    assert body["complete"] is False
    assert body["missing"] == ["rich"]
    assert [entry["pass"] for entry in body["passes"]] == ["timing", "light"]
    assert (body["errors"][0]["pass"], body["errors"][0]["error"]) == ("rich", type(error).__name__)
    assert not list(tmp_path.glob(".*"))
    tracekit.analyze(str(tmp_path))


def test_the_profiler_is_stopped_after_an_interrupt(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        record_workload(
            toy(run=Failing(KeyboardInterrupt(), 1)), tmp_path, options(passes=("rich",))
        )
    assert not torch.autograd._profiler_enabled()
    record_workload(toy(), tmp_path, options(passes=("rich",), force=True))
    assert check_folder(tmp_path)["complete"] is True


def test_a_full_disk_costs_only_the_pass_that_did_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compress = runwriter.compress

    def full(plain: Path, target: Path) -> None:
        if "trace.json.gz" in target.name:
            target.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        compress(plain, target)

    monkeypatch.setattr(runwriter, "compress", full)
    with pytest.raises(HostError, match="no space left on device"):
        record_workload(toy(), tmp_path, options())
    body = check_folder(tmp_path)
    assert (body["missing"], body["complete"]) == (["rich"], False)
    assert not list(tmp_path.glob(".*"))


def test_a_trace_that_is_cut_short_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = torch.profiler.profile.export_chrome_trace

    def cut(self: Any, path: str) -> None:
        export(self, path)
        with open(path, "r+b") as file:  # noqa: PTH123
            file.truncate(2000)

    monkeypatch.setattr(torch.profiler.profile, "export_chrome_trace", cut)
    with pytest.raises(HostError, match="cut short"):
        record_workload(toy(), tmp_path, options(passes=("rich",)))
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match="cannot be written"):
        record_workload(toy(), tmp_path / "file" / "run", options())


def test_a_pass_without_kernels_is_recorded_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []
    export = profiling.export_trace

    def empty_at_first(*args: Any, **kwargs: Any) -> Any:
        tries.append(args[2])
        if len(tries) == 1:
            raise NoKernelsError("no GPU kernels")
        return export(*args, **kwargs)

    monkeypatch.setattr(profiling, "export_trace", empty_at_first)
    record_workload(toy(), tmp_path, options(passes=("light",)))
    assert tries == ["kernels.json.gz"] * 2
    assert "recorded twice" in manifest_of(tmp_path)["passes"][0]["notes"][0]


def test_a_pass_that_stays_without_kernels_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def empty(*args: Any, **kwargs: Any) -> Any:
        if args[2] == "kernels.json.gz":
            raise NoKernelsError("kernels.json.gz: the profiler recorded no GPU kernels")
        return export(*args, **kwargs)

    export = profiling.export_trace
    monkeypatch.setattr(profiling, "export_trace", empty)
    with pytest.raises(HostError, match="no GPU kernels"):
        record_workload(toy(), tmp_path, options())
    body = check_folder(tmp_path)
    assert (body["missing"], body["complete"]) == (["light"], False)
    assert [entry["pass"] for entry in body["passes"]] == ["timing", "rich"]


def test_a_pass_that_is_too_large_is_recorded_with_fewer_steps(tmp_path: Path) -> None:
    work = toy(run=lambda stage: denoise(stage, 40), stages={"text_encoder": 1, "denoise": 40})
    record_workload(work, tmp_path / "all", options(passes=("rich",)))
    size = (tmp_path / "all" / "trace.json.gz").stat().st_size
    few = options(passes=("timing", "rich"), repeats=1, max_trace_bytes=size // 3)
    record_workload(work, tmp_path / "few", few)
    body = check_folder(tmp_path / "few")
    assert (tmp_path / "few" / "trace.json.gz").stat().st_size <= size // 3
    entry = body["passes"][1]
    assert 1 <= entry["steps"]["denoise"] < 20
    assert entry["steps"]["text_encoder"] == 1
    assert body["stages"][1] == {
        "stage": "denoise", "steps": 40, "traced_steps": entry["steps"]["denoise"],
    }  # fmt: skip
    assert "only some of the steps" in entry["notes"][0]
    assert (entry["unprofiled_wall_ms"], entry["dilation"]) == (None, None)
    found = {name for name in names_in(tmp_path / "few") if name.startswith("tk1|stage|denoise|")}
    assert len(found) == entry["steps"]["denoise"]
    assert "tk1|stage|denoise|0" not in found


def test_a_pass_that_is_too_large_however_cut_is_missing(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="--max-trace-mb"):
        record_workload(toy(), tmp_path, options(max_trace_bytes=100))
    body = check_folder(tmp_path)
    assert body["missing"] == ["light", "rich"]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["run.json", "timing.json"]


def test_which_steps_remain() -> None:
    left_out = spread_left_out({"a": 10, "b": 1}, 0.2)
    assert sorted({("a", index) for index in range(10)} - left_out) == [("a", 2), ("a", 7)]
    assert ("b", 0) not in left_out
    assert spread_left_out({"b": 1}, 0.001) == frozenset()
    assert spread_left_out({}, 0.5) == frozenset()


def test_compiled_work_has_an_eager_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **_: compiled.append(type(self).__name__)
    )
    record_workload(toy(compile_targets=("net",)), tmp_path, options(compile=True))
    assert compiled == ["ToyModel"]
    body = check_folder(tmp_path)
    assert [entry["pass"] for entry in body["passes"]] == ["eager", "timing", "light", "rich"]
    eager, rich = names_in(tmp_path, "eager.json.gz"), names_in(tmp_path)
    assert any(name.startswith("tk1|attn|") for name in eager)
    assert not any(name.startswith("tk1|attn|") for name in rich)
    assert "tk1|stage|denoise|0" in rich
    assert json.loads((tmp_path / "timing.json").read_text())["eager"]["median_wall_ms"] > 0


def test_wrong_wishes_write_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(UsageError, match="modules are known"):
        record_workload(toy(modules={}), folder, options(compile=True))
    with pytest.raises(UsageError, match=r"net\.head: is no module"):
        record_workload(toy(compile_targets=("net.head",)), folder, options(cuda_graph=True))
    with pytest.raises(HostError, match="needs a GPU"):
        record_workload(toy(), folder, options(attention="cudnn"))
    assert not folder.exists()


@pytest.mark.parametrize(
    ("asked", "ran"), [("math", {"math": 12}), ("flash", {"flash": 12}), ("auto", {"flash": 12})]
)
def test_the_attention_backend_that_ran_is_recorded(
    tmp_path: Path, asked: Any, ran: dict[str, int]
) -> None:
    record_workload(toy(), tmp_path, options(passes=("rich",), attention=asked))
    body = manifest_of(tmp_path)
    assert body["attention"] == asked
    assert body["passes"][0]["attention_backends"] == ran
    with attention_backend("eager", "cpu"), suppress(RuntimeError):
        pass


def test_examining_counts_across_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    event = '{\n"ph": "X", "cat": "kernel",\n"name": "aten::_scaled_dot_product_flash_attention"}'
    text = '{"traceEvents": [' + ",\n".join([event] * 50) + "]\n}\n"
    path = tmp_path / "trace.json"
    path.write_text(text)
    for size in (7, 64, 1 << 20):
        monkeypatch.setattr(profiling, "_CHUNK", size)
        facts = examine(path)
        assert (facts.kernels, facts.backends, facts.is_whole) == (50, {"flash": 50}, True)
    path.write_text(text[:-3])
    assert examine(path).is_whole is False
    path.write_text("")
    assert examine(path).is_whole is False


def test_ranks_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    record_workload(toy(), tmp_path, options(passes=("timing",)))
    body = manifest_of(tmp_path)
    assert (body["rank"], body["world_size"]) == (1, 4)
