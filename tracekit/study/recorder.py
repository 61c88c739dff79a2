"""Records one case of a study through the collectors, and keeps what a study keeps of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracekit.errors import OutOfMemoryError
from tracekit.output import whole_file
from tracekit.runfolder import (
    EAGER_PASS,
    LIGHT_PASS,
    MANIFEST,
    RICH,
    RICH_PASS,
    TIMING,
    open_run,
)
from tracekit.study.kept import GRAPHS_FILE, keep
from tracekit.study.plan import BASELINE, Case

if TYPE_CHECKING:
    from tracekit.collectors.building import WorkloadBuilder
    from tracekit.collectors.passes import RecordOptions
    from tracekit.collectors.progress import Listener
    from tracekit.collectors.workload import ModelOptions, PassName, Workload

_TRACES: Final = (RICH_PASS, LIGHT_PASS, EAGER_PASS)


@dataclass(frozen=True, slots=True)
class RecorderOptions:
    """What all cases have in common; `dtype` null is bfloat16 on a GPU and float32 on a CPU."""

    device: str = "cuda"
    dtype: str | None = None
    seed: int = 0
    tiny: bool = False

    @property
    def true_dtype(self) -> str:
        """The dtype that models are made in."""
        return self.dtype or ("float32" if self.device == "cpu" else "bfloat16")


class CaseRecorder:
    """Records cases, one after the other; the modules of the last one are kept while they serve."""

    def __init__(self, options: RecorderOptions) -> None:
        self.options = options

    @cached_property
    def _builder(self) -> WorkloadBuilder:
        # Not before the device is known to be there: it imports torch.
        from tracekit.collectors.building import WorkloadBuilder

        return WorkloadBuilder()

    def environment(self) -> dict[str, Any]:
        """Return versions, host and devices.

        Raises
        ------
        MissingDependencyError
            torch is not installed.
        HostError
            There is no such device.
        """
        from tracekit.collectors.environment import check_device, describe_environment

        check_device(self.options.device)
        return describe_environment()

    def __call__(self, case: Case, folder: Path, listener: Listener) -> dict[str, Any]:
        """Record a case into a run folder and return what the manifest of the study says of it.

        A model that does not fit is taken in the next smaller preset; a point of a sweep is not.

        Raises
        ------
        TracekitError
            It could not be recorded; `OutOfMemoryError` if nothing of it fits.
        """
        refused: list[str] = []
        preset: str | None = case.options.get("preset")
        while True:
            facts, too_large = self._attempt(case, preset, folder, listener)
            if facts is not None:
                return {**facts, "instead_of": refused}
            self._builder.release()
            smaller = () if case.sweep else self._smaller(case, preset)
            if not smaller:
                raise OutOfMemoryError(too_large)
            refused.append(too_large)
            preset = smaller[0]

    def time_again(self, case: Case, folder: Path, listener: Listener) -> dict[str, Any]:
        """Take the times of a case that is recorded anew, in place of those in its folder.

        Its kernels stay as they were recorded; their time now is measured by a light pass, where
        the case has one, and returned as `light_ns`, beside the machine.

        Raises
        ------
        TracekitError
            It could not be timed; what is in the folder stays.
        """
        attempt, too_large = self._attempt(case, _preset_of(folder, case), folder, listener, True)
        if attempt is None:
            raise OutOfMemoryError(too_large)
        return attempt

    def release(self) -> None:
        """Give back the memory of the last case."""
        self._builder.release()

    def _attempt(
        self,
        case: Case,
        preset: str | None,
        folder: Path,
        listener: Listener,
        again: bool = False,
    ) -> tuple[dict[str, Any] | None, str]:
        """Return what was recorded, or null and why it does not fit.

        The error itself is not handed on: what its frames hold would not be free.
        """
        from tracekit.collectors.environment import is_out_of_memory

        how = self._graphed if case.is_graphed else self._recorded
        record = self._timed_again if again else how
        try:
            return record(case, self._model_options(case, preset), folder, listener), ""
        except OutOfMemoryError as error:
            return None, str(error)
        except Exception as error:
            if is_out_of_memory(error):
                return None, f"{case.name}: out of memory on {self.options.device}"
            raise

    def _smaller(self, case: Case, preset: str | None) -> tuple[str, ...]:
        from tracekit.collectors.models import import_model
        from tracekit.collectors.models._presets import smaller_presets

        if self.options.tiny:
            return ()
        return smaller_presets(import_model(case.model), self._model_options(case, preset))

    def _model_options(self, case: Case, preset: str | None) -> ModelOptions:
        from tracekit.collectors.workload import ModelOptions

        given: dict[str, Any] = {**case.options, "preset": preset}
        options = self.options
        return ModelOptions(
            attention=case.attention,  # type: ignore[arg-type]
            dtype=case.dtype or options.true_dtype,  # type: ignore[arg-type]
            device=options.device,
            seed=options.seed,
            tiny=options.tiny,
            **given,
        )

    def _recorded(
        self, case: Case, model: ModelOptions, folder: Path, listener: Listener
    ) -> dict[str, Any]:
        from tracekit.collectors.passes import record_workload
        from tracekit.collectors.variants import repeated_blocks, varied

        listener.begin("build")
        whole = self._builder.build(case.model, model)
        workload = whole if case.is_whole else sampled(whole)
        if case.compiles:
            blocks = repeated_blocks(workload.modules, workload.compile_targets)
            workload = replace(workload, compile_targets=blocks)
        options = self._record_options(case, model, listener)
        try:
            with varied(workload.modules, case.settings):
                record_workload(workload, folder, options)
        finally:
            if case.compiles:
                # Compiled blocks serve no other case.
                self._builder.release()
        peaks = self._peaks(workload, options, listener) if case.sweep else {}
        listener.begin("analyze")
        return keep_recorded(folder, case_facts(whole, folder) | {"peak_bytes": peaks})

    def _timed_again(
        self, case: Case, model: ModelOptions, folder: Path, listener: Listener
    ) -> dict[str, Any]:
        from tracekit.collectors.environment import describe_environment
        from tracekit.collectors.passes import record_workload

        listener.begin("build")
        whole = self._builder.build(case.model, model)
        workload = whole if case.is_whole else sampled(whole)
        passes: tuple[PassName, ...] = ("timing", "light") if case.light else ("timing",)
        beside = folder.with_name(f"{folder.name}.again")
        try:
            options = replace(self._record_options(case, model, listener), passes=passes)
            record_workload(workload, beside, options)
            light_ns = _light_ns(beside)
            created = take_times(beside, folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        found = describe_environment()
        machine = {name: found[name] for name in ("host", "versions")}
        return {"created": created, **machine, "light_ns": light_ns}

    def _graphed(
        self, case: Case, model: ModelOptions, folder: Path, listener: Listener
    ) -> dict[str, Any]:
        from tracekit.collectors.step_graphs import time_calls

        listener.begin("build")
        workload = self._builder.build(case.model, model)
        listener.begin("graphs")
        found = time_calls(workload, model.attention, model.device, case.repeats)
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder / GRAPHS_FILE, force=True) as temporary:
            temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        inputs = workload.config.get("inputs", {})
        return {
            "preset": inputs.get("preset"),
            "inputs": inputs,
            "sampled": {
                stage: {
                    "timed": steps,
                    "recorded": 0,
                    "whole": whole_steps(workload, stage, steps),
                }
                for stage, steps in found["steps"].items()
            },
        }

    def _record_options(self, case: Case, model: ModelOptions, listener: Listener) -> RecordOptions:
        from tracekit.collectors.passes import RecordOptions

        return RecordOptions(
            passes=("timing", "light", "rich") if case.light else ("timing", "rich"),
            repeats=case.repeats,
            warm_up=case.warm_up,
            # Which backend PyTorch takes does not concern attention that is written out.
            attention="auto" if case.attention == BASELINE else model.attention,
            compile=case.compiles,
            device=model.device,
            dtype=model.dtype,
            seed=model.seed,
            force=True,
            listener=listener,
        )

    def _peaks(self, workload: Workload, options: Any, listener: Listener) -> dict[str, int]:
        if not self.options.device.startswith("cuda"):
            return {}
        from tracekit.collectors.peaks import stage_peaks
        from tracekit.collectors.speedups import attention_backend

        listener.begin("memory")
        with attention_backend(options.attention, options.device):
            return stage_peaks(workload.run)


def sampled(workload: Workload) -> Workload:
    """Return the work of the steps that are to be recorded, as if there were no others."""
    if workload.run_traced is None:
        return workload
    return replace(
        workload,
        run=workload.run_traced,
        stages=workload.traced_stages,
        run_traced=None,
        traced_stages={},
    )


def case_facts(workload: Workload, folder: Path) -> dict[str, Any]:
    """Return what the manifest of a study says of a run: preset, steps, backends, size.

    `sampled` has of each stage the steps that were timed, those that were recorded, and how many
    the whole work has.
    """
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    inputs = workload.config.get("inputs", {})
    steps = {row["stage"]: row for row in manifest["stages"]}
    return {
        "preset": inputs.get("preset"),
        "inputs": inputs,
        "parameters": workload.config.get("parameters", {}).get("total"),
        "sampled": {
            stage: {
                "timed": row["steps"],
                "recorded": row["traced_steps"],
                "whole": whole_steps(workload, stage, row["steps"]),
            }
            for stage, row in steps.items()
        },
        "peak_memory_bytes": manifest.get("peak_memory_bytes"),
        "attention_backends": _backends(manifest),
    }


def whole_steps(workload: Workload, stage: str, timed: int) -> int:
    """Return how many steps of a stage the whole work has.

    A pipeline of diffusers does not tell its stages before it runs; its sampling loop has as many
    steps as it was called with, everything else happens as often in a part as in the whole.
    """
    if workload.stages:
        return int(workload.stages.get(stage, timed))
    steps = workload.config.get("inputs", {}).get("num_inference_steps")
    return int(steps) if stage == "denoise" and steps is not None else timed


def keep_recorded(folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Analyze the traces of a run folder, write what is kept of them, and remove them.

    Returns the facts and the kernel time of each pass in ns.
    """
    from tracekit.analysis.analyze import analyze_table
    from tracekit.analysis.corrected import RunBeside
    from tracekit.api import kernels, load
    from tracekit.runrecord import read_run_record

    file = open_run(str(folder))[0]
    path = folder / LIGHT_PASS
    light = load(path) if path.exists() else None
    table = kernels(folder)
    is_gpu = table.linked.basis == "gpu"
    beside = RunBeside(RICH, read_run_record(file), light=light if is_gpu else None)
    keep(folder, table, analyze_table(table, beside=beside)[0])
    for name in _TRACES:
        (folder / name).unlink(missing_ok=True)
    alone_ns = int(light.activities.dur_ns.sum()) if light is not None and is_gpu else None
    return {**facts, "kernel_ns": {"rich": int(table.dur_ns.sum()), "light": alone_ns}}


def take_times(source: Path, folder: Path) -> str | None:
    """Put the times of one run folder in place of those of another, whose manifest says so.

    Returns when they were taken.
    """
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    other = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
    for name, key in (("files", "name"), ("passes", "pass")):
        timing = TIMING if name == "files" else "timing"
        theirs = [row for row in other[name] if row[key] == timing]
        manifest[name] = theirs + [row for row in manifest[name] if row[key] != timing]
    created = other.get("created")
    manifest["timed"] = created
    with whole_file(folder / MANIFEST, force=True) as temporary:
        temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    (source / TIMING).replace(folder / TIMING)
    return None if created is None else str(created)


def _light_ns(folder: Path) -> int | None:
    """Return the kernel time of the light pass of a run folder, null without one, or on a CPU."""
    from tracekit.api import load

    path = folder / LIGHT_PASS
    if not path.exists():
        return None
    return int(load(path).activities.dur_ns.sum()) or None


def _preset_of(folder: Path, case: Case) -> str | None:
    """Return the preset that a case was recorded with: a smaller one, where it did not fit."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        preset = manifest["model"]["config"]["inputs"]["preset"]
    except (OSError, ValueError, KeyError, TypeError):
        preset = case.options.get("preset")
    return None if preset is None else str(preset)


def _backends(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Return how many calls each backend took, as the rich pass saw them."""
    for entry in manifest.get("passes", ()):
        if entry.get("pass") == "rich":
            found = entry.get("attention_backends") or {}
            return {str(name): int(count) for name, count in found.items()}
    return {}
