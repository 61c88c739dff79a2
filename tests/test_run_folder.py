"""Run folders: what is corrected, what the passes share, and what a missing file costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from invariants import check_reports

import tracekit
from builders import RunBuilder, TraceBuilder
from tracekit.api import analyze_all
from tracekit.reports import render
from tracekit.results import Analysis, AnalysisSet, Corrected

MS = 1_000_000


def measured(folder: Path) -> Corrected:
    result = tracekit.analyze(folder)
    assert result.corrected is not None, result.trace.warnings
    return result.corrected


def warned(result: Analysis, *parts: str) -> bool:
    return any(all(part in warning for part in parts) for warning in result.trace.warnings)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def light_pass(folder: Path, change: Callable[[TraceBuilder], object], **fields: Any) -> None:
    """Write the light pass anew, bent by `change`."""
    b = RunBuilder(**fields).trace(1.3, labels=False)
    change(b)
    b.write(folder / "kernels.json.gz")


def test_wall_from_timing_and_busy_from_the_light_pass(tmp_path: Path) -> None:
    run = RunBuilder()
    result = tracekit.analyze(run.write(tmp_path / "run"))
    corrected = result.corrected
    assert corrected is not None
    assert result.trace.warnings == ()
    assert result.trace.pass_ == "rich"
    wall_ns = 5 * 6 * 100_000
    busy_ns = 5 * 6 * 50_000
    assert corrected.source == "measured"
    assert sum(row.time_ns for row in corrected.by_cause or ()) == corrected.idle_ns
    assert (corrected.wall_ns, corrected.busy_ns, corrected.idle_ns) == (
        wall_ns,
        busy_ns,
        wall_ns - busy_ns,
    )
    assert (corrected.low_ns, corrected.high_ns) == (wall_ns * 98 // 100, wall_ns * 105 // 100)
    assert corrected.idle_share == pytest.approx(0.5)
    assert corrected.dilation == pytest.approx(1.7, rel=0.05)
    assert "3 unprofiled repeats" in corrected.method
    assert "light pass" in corrected.method
    assert [(s.stage, s.wall_ns, s.busy_ns, s.idle_ns) for s in corrected.stages] == [
        ("text", 600_000, 300_000, 300_000),
        ("denoise", 2_400_000, 1_200_000, 1_200_000),
    ]
    assert result.left_out == ()
    check_reports(result)


def test_what_describes_the_file_stays_uncorrected(tmp_path: Path) -> None:
    folder = RunBuilder().write(tmp_path / "run")
    inside, alone = tracekit.analyze(folder), tracekit.analyze(folder / "trace.json.gz")
    for name in ("time", "categories", "idle", "devices", "attention"):
        assert getattr(inside, name) == getattr(alone, name)
    assert alone.corrected is not None
    assert alone.corrected.source == "estimated"
    assert alone.trace.warnings == ()


@pytest.mark.parametrize("sleep_ms", [1, 2, 5])
def test_a_host_sleep_before_each_step_is_idle_time(tmp_path: Path, sleep_ms: int) -> None:
    without = measured(RunBuilder().write(tmp_path / "without"))
    asleep = measured(RunBuilder(sleep_ns=sleep_ms * MS).write(tmp_path / "with"))
    put_in = 4 * sleep_ms * MS
    assert asleep.idle_ns - without.idle_ns == pytest.approx(put_in, rel=0.01)
    assert asleep.wall_ns - without.wall_ns == pytest.approx(put_in, rel=0.01)
    assert asleep.busy_ns == without.busy_ns
    # The scale of the costs is found by bisection: pieces may differ by a rounded ns.
    (before, _), (other, _) = asleep.stages, without.stages
    assert replace(before, by_cause=()) == replace(other, by_cause=())
    for one, same in zip(before.by_cause, other.by_cause, strict=True):
        assert abs(one.time_ns - same.time_ns) <= 2
    assert asleep.stages[1].idle_ns - without.stages[1].idle_ns == pytest.approx(put_in, rel=0.01)


def test_the_dilation_is_that_of_the_manifest_if_it_says(tmp_path: Path) -> None:
    folder = RunBuilder().write(tmp_path / "run")
    entry = {"pass": "rich", "file": "trace.json.gz", "wall_ms": 6.0, "dilation": 2.0}
    edit(folder / "run.json", lambda run: run["passes"].append(entry))
    assert measured(folder).dilation == pytest.approx(2.0)


@pytest.mark.parametrize("name", ["run.json", "timing.json", "kernels.json.gz", "trace.json.gz"])
def test_a_missing_file_is_a_warning(tmp_path: Path, name: str) -> None:
    folder = RunBuilder().write(tmp_path / "run")
    (folder / name).unlink()
    result = tracekit.analyze(folder)
    check_reports(result)
    if name == "trace.json.gz":
        assert (result.trace.pass_, result.trace.warnings) == ("light", ())
        assert [(row.stage, row.source) for row in result.stages] == [("forward", "sequence")]
    else:
        assert warned(result, f"The run folder holds no {name}")
        assert len(result.trace.warnings) == 1
    if name == "timing.json":
        assert result.corrected is None
    else:
        assert result.corrected is not None
        assert result.corrected.busy_ns == 30 * 50_000
        assert ("rich pass" in result.corrected.method) is (name == "kernels.json.gz")
        assert (result.corrected.stages == ()) is (name == "trace.json.gz")


BROKEN = [
    b"", b"{", b"[]", b"null", b"3", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"schema": 3}',
    b'{"schema": "tracekit.timing/2"}', b'{"repeats": NaN}',
]  # fmt: skip


@pytest.mark.parametrize("data", BROKEN)
@pytest.mark.parametrize("name", ["run.json", "timing.json"])
def test_a_broken_file_is_a_warning(tmp_path: Path, name: str, data: bytes) -> None:
    folder = RunBuilder().write(tmp_path / "run")
    (folder / name).write_bytes(data)
    result = tracekit.analyze(folder)
    assert warned(result, name)
    assert (result.corrected is None) is (name == "timing.json")
    check_reports(result)


WRONG: list[Any] = [None, "x", -1, 1e300, True, [], {}, 1.5]


@pytest.mark.parametrize("value", WRONG)
def test_wrong_values_are_passed_over(tmp_path: Path, value: Any) -> None:
    folder = RunBuilder().write(tmp_path / "run")
    for name in ("run.json", "timing.json"):
        for key in json.loads((folder / name).read_text()):
            if key != "schema":
                original = (folder / name).read_text()
                edit(folder / name, lambda body, key=key: body.update({key: value}))  # type: ignore[misc]
                check_reports(tracekit.analyze(folder))
                (folder / name).write_text(original)

    def spoil(timing: dict[str, Any]) -> None:
        timing["repeats"][0]["wall_ms"] = value
        timing["repeats"][1]["stages"][0] = value
        timing["repeats"][2]["stages"][1]["stage"] = value

    edit(folder / "timing.json", spoil)
    check_reports(tracekit.analyze(folder))


def test_no_repeats_but_their_median(tmp_path: Path) -> None:
    folder = RunBuilder().write(tmp_path / "run")
    edit(folder / "timing.json", lambda timing: timing.update(repeats=[]))
    corrected = measured(folder)
    assert corrected.wall_ns == 3 * MS
    assert corrected.low_ns < corrected.wall_ns < corrected.high_ns
    assert corrected.stages == ()


def test_a_light_pass_that_cannot_be_used(tmp_path: Path) -> None:
    folder = RunBuilder().write(tmp_path / "run")
    light = folder / "kernels.json.gz"
    whole = light.read_bytes()
    for data, why in ((whole[: len(whole) // 2], "cut off"), (b"not a trace", "cannot be used")):
        light.write_bytes(data)
        result = tracekit.analyze(folder)
        assert warned(result, why)
        assert result.corrected is not None
        assert result.corrected.busy_ns == 30 * 50_000
        assert "rich pass" in result.corrected.method
    TraceBuilder().write(light)
    assert warned(tracekit.analyze(folder), "holds no GPU activity")


def test_a_light_pass_of_other_steps_is_not_used(tmp_path: Path) -> None:
    folder = RunBuilder().write(tmp_path / "run")
    light_pass(folder, lambda _: None, steps=2)

    def tell(run: dict[str, Any]) -> None:
        run["passes"] += [
            {"pass": "light", "wall_ms": 2, "steps": {"text": 1, "denoise": 2}},
            {"pass": "rich", "wall_ms": 5, "steps": {"text": 1, "denoise": 4}},
        ]

    edit(folder / "run.json", tell)
    result = tracekit.analyze(folder)
    assert warned(result, "other steps than the rich pass")
    assert measured(folder).busy_ns == 30 * 50_000


def test_a_run_without_a_pass_says_so(tmp_path: Path) -> None:
    folder = RunBuilder().write(tmp_path / "run")
    (folder / "trace.json.gz").unlink()
    (folder / "kernels.json.gz").unlink()
    with pytest.raises(tracekit.InputError, match="holds no trace"):
        tracekit.analyze(folder)


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    folder = RunBuilder().write(tmp_path / "run")
    edit(folder / "run.json", lambda run: run.update(complete=False))
    result = tracekit.analyze(folder)
    assert warned(result, "did not finish")
    assert result.corrected is not None


def test_the_eager_pass_is_not_the_timed_run(tmp_path: Path) -> None:
    folder = RunBuilder().write(tmp_path / "run")
    (folder / "kernels.json.gz").unlink()
    (folder / "trace.json.gz").rename(folder / "eager.json.gz")
    result = tracekit.analyze(folder)
    assert (result.trace.pass_, result.corrected) == ("eager", None)
    assert warned(result, "eager pass did not do the work that was timed")
    edit(folder / "timing.json", lambda timing: timing.update(eager=dict(timing)))
    assert measured(folder).wall_ns == 3 * MS


def test_true_and_traced_steps(tmp_path: Path) -> None:
    folder = RunBuilder(true_steps=50).write(tmp_path / "run")
    text, denoise = tracekit.analyze(folder).stages
    assert (text.stage, text.steps, text.traced_steps) == ("text", 1, 1)
    assert (denoise.stage, denoise.steps, denoise.traced_steps) == ("denoise", 50, 4)
    assert "4 of 50" in render(tracekit.analyze(folder), "text")


def test_steps_that_the_file_does_not_number_are_counted_by_the_manifest(tmp_path: Path) -> None:
    folder = RunBuilder().write(tmp_path / "run")
    b = RunBuilder().trace(1.7)
    for event in b.events:
        if event["cat"] == "user_annotation":
            event["name"] = event["name"].rstrip("0123456789")
    b.write(folder / "trace.json.gz")
    assert [(s.steps, s.traced_steps) for s in tracekit.analyze(folder).stages] == [(1, 1), (4, 4)]


def test_a_manifest_that_counts_otherwise_is_a_warning(tmp_path: Path) -> None:
    folder = RunBuilder().write(tmp_path / "run")
    edit(folder / "run.json", lambda run: run["stages"][1].update(steps=2, traced_steps=2))
    result = tracekit.analyze(folder)
    assert warned(result, "2 steps of denoise", "holds 4")
    assert (result.stages[1].steps, result.stages[1].traced_steps) == (4, 4)


def test_true_and_traced_times_are_never_mixed(tmp_path: Path) -> None:
    folder = RunBuilder(true_steps=50).write(tmp_path / "run")
    assert measured(folder).wall_ns == 3 * MS
    traced = json.loads((folder / "timing.json").read_text())
    whole = RunBuilder(steps=50).timing()
    (folder / "timing.json").write_text(json.dumps(whole))
    result = tracekit.analyze(folder)
    assert result.corrected is None
    assert warned(result, "not corrected", "50 steps of denoise were timed, 4 are in the trace")
    for repeat in whole["repeats"]:
        del repeat["stages"]
    (folder / "timing.json").write_text(json.dumps(whole))
    result = tracekit.analyze(folder)
    assert result.corrected is None
    assert warned(result, "only 4 of the 50 steps of denoise")
    (folder / "timing.json").write_text(json.dumps(whole | {"traced": traced}))
    assert measured(folder).wall_ns == 3 * MS


@pytest.mark.parametrize("staged", [True, False])
def test_without_a_manifest_only_what_is_known_to_be_the_same_is_combined(
    tmp_path: Path, staged: bool
) -> None:
    folder = RunBuilder().write(tmp_path / "run")
    (folder / "run.json").unlink()
    if not staged:
        edit(folder / "timing.json", lambda t: [r.pop("stages") for r in t["repeats"]])
    result = tracekit.analyze(folder)
    assert (result.corrected is not None) is staged
    assert warned(result, "not known whether as many steps") is not staged


def test_what_has_no_partner_is_left_out_with_its_time(tmp_path: Path) -> None:
    folder = RunBuilder().write(tmp_path / "run")

    def bend(b: TraceBuilder) -> None:
        kernels = [event for event in b.events if event["cat"] == "kernel"]
        kernels[3]["name"] = "renamed"
        b.events.remove(kernels[10])
        b.kernel("Memset (Device)", 5_000_000, 700, cat="gpu_memset")

    light_pass(folder, bend)
    result = tracekit.analyze(folder)
    rich, light = (row for row in result.left_out if "without a partner" in row.what)
    assert (rich.events, rich.time_ns) == (0, 100_000)
    assert (light.events, light.time_ns) == (0, 50_700)
    assert rich.why.startswith("2 of 30")
    assert light.why.startswith("2 of 30")
    assert result.corrected is not None
    assert result.corrected.busy_ns == 29 * 50_000 + 700
    assert [stage.busy_ns for stage in result.corrected.stages] == [250_000, 1_150_000]
    assert warned(result, "no partner")
    check_reports(result)


def test_streams_and_devices_are_aligned_apart(tmp_path: Path) -> None:
    folder = RunBuilder().write(tmp_path / "run")

    def other_stream(b: TraceBuilder) -> None:
        for event in [event for event in b.events if event["cat"] == "kernel"][6:]:
            event["args"]["stream"] = 13

    light_pass(folder, other_stream)
    result = tracekit.analyze(folder)
    assert [row.time_ns for row in result.left_out] == [24 * 50_000] * 2
    assert warned(result, "80.0%")
    assert result.corrected is not None
    assert [stage.busy_ns for stage in result.corrected.stages] == [300_000, 0]


def test_busy_for_longer_than_the_wall_time(tmp_path: Path) -> None:
    folder = RunBuilder().write(tmp_path / "run")
    (folder / "timing.json").write_text(json.dumps(RunBuilder(host_ns=10, kernel_ns=10).timing()))
    result = tracekit.analyze(folder)
    assert result.corrected is not None
    assert (result.corrected.idle_ns, result.corrected.idle_share) == (0, 0.0)
    assert [stage.idle_ns for stage in result.corrected.stages] == [0, 0]
    assert warned(result, "longer than the unprofiled wall time")
    check_reports(result)


def test_busy_time_of_several_devices_is_their_mean(tmp_path: Path) -> None:
    folder = RunBuilder().write(tmp_path / "run")
    (folder / "kernels.json.gz").unlink()
    b = RunBuilder().trace(1.7)
    b.kernel("peer", 100, 500_000, device=1)
    b.write(folder / "trace.json.gz")
    corrected = measured(folder)
    assert corrected.busy_ns == (30 * 50_000 + 500_000) // 2
    assert "mean of 2 devices" in corrected.method
    assert "the 2 GPUs are idle 67%" in render(tracekit.analyze(folder), "text")


def test_a_run_without_a_gpu_has_nothing_to_correct(tmp_path: Path) -> None:
    folder = RunBuilder().write(tmp_path / "run")
    for name in ("trace.json.gz", "kernels.json.gz"):
        b = RunBuilder().trace()
        b.events = [event for event in b.events if event["cat"] in ("cpu_op", "user_annotation")]
        b.write(folder / name)
    result = tracekit.analyze(folder)
    assert (result.trace.basis, result.corrected, result.trace.warnings) == ("cpu", None, ())


def test_ranks_are_corrected_each_by_its_own_files(tmp_path: Path) -> None:
    for rank in range(2):
        RunBuilder(sleep_ns=rank * MS).write(tmp_path / f"rank{rank}")
    result = analyze_all([tmp_path])
    assert isinstance(result, AnalysisSet)
    first, second = (run.corrected for run in result.runs)
    assert first is not None
    assert second is not None
    assert second.idle_ns - first.idle_ns == 4 * MS
    assert [run.trace.rank for run in result.runs] == [0, 1]


def test_ranks_share_what_stands_around_them(tmp_path: Path) -> None:
    for rank in range(2):
        folder = RunBuilder(true_steps=9).write(tmp_path / f"rank{rank}")
        for name in ("run.json", "timing.json"):
            (folder / name).replace(tmp_path / name)
    result = analyze_all([tmp_path])
    assert isinstance(result, AnalysisSet)
    assert [run.trace.warnings for run in result.runs] == [(), ()]
    assert all(run.corrected is not None for run in result.runs)
    assert [run.stages[1].steps for run in result.runs] == [9, 9]


@pytest.mark.parametrize("format_", ["text", "markdown"])
def test_the_answer_is_the_corrected_one(tmp_path: Path, format_: str) -> None:
    folder = RunBuilder().write(tmp_path / "run")
    text = render(tracekit.analyze(folder), format_, width=200)  # type: ignore[arg-type]
    assert "Without the profiler the GPU is idle 50% of 3.00 ms (measured; the trace" in text
    assert "Its repeats took 2.94 ms to 3.15 ms." in " ".join(text.split())
    assert "upper bound" not in text


def test_the_cache_changes_nothing(tmp_path: Path, every_size_is_worth_it: None) -> None:
    folder = RunBuilder().write(tmp_path / "run")
    plain = tracekit.analyze(folder)
    assert tracekit.analyze(folder, cache=True) == plain
    assert tracekit.analyze(folder, cache=True) == plain
