"""Records one case of a study through the collectors, and keeps what a study keeps of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracekit.errors import OutOfMemoryError
from tracekit.runfolder import LIGHT_PASS, MANIFEST, RICH, RICH_PASS, open_run
from tracekit.study.kept import keep
from tracekit.study.plan import BASELINE, Case

if TYPE_CHECKING:
    from tracekit.collectors.building import WorkloadBuilder
    from tracekit.collectors.progress import Listener
    from tracekit.collectors.workload import ModelOptions, Workload

_TRACES: Final = (RICH_PASS, LIGHT_PASS)


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

    def release(self) -> None:
        """Give back the memory of the last case."""
        self._builder.release()

    def _attempt(
        self, case: Case, preset: str | None, folder: Path, listener: Listener
    ) -> tuple[dict[str, Any] | None, str]:
        """Return what was recorded, or null and why it does not fit.

        The error itself is not handed on: what its frames hold would not be free.
        """
        from tracekit.collectors.environment import is_out_of_memory

        try:
            return self._recorded(case, self._model_options(case, preset), folder, listener), ""
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
            dtype=options.true_dtype,  # type: ignore[arg-type]
            device=options.device,
            seed=options.seed,
            tiny=options.tiny,
            **given,
        )

    def _recorded(
        self, case: Case, model: ModelOptions, folder: Path, listener: Listener
    ) -> dict[str, Any]:
        from tracekit.collectors.passes import RecordOptions, record_workload

        listener.begin("build")
        workload = self._builder.build(case.model, model)
        whole = workload
        if not case.is_whole:
            workload = sampled(workload)
        options = RecordOptions(
            passes=("timing", "light", "rich") if case.light else ("timing", "rich"),
            repeats=case.repeats,
            warm_up=case.warm_up,
            # Which backend PyTorch takes does not concern attention that is written out.
            attention="auto" if case.attention == BASELINE else model.attention,
            device=model.device,
            dtype=model.dtype,
            seed=model.seed,
            force=True,
            listener=listener,
        )
        record_workload(workload, folder, options)
        peaks = self._peaks(workload, options, listener) if case.sweep else {}
        listener.begin("analyze")
        return keep_recorded(folder, case_facts(whole, folder) | {"peak_bytes": peaks})

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


def _backends(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Return how many calls each backend took, as the rich pass saw them."""
    for entry in manifest.get("passes", ()):
        if entry.get("pass") == "rich":
            found = entry.get("attention_backends") or {}
            return {str(name): int(count) for name, count in found.items()}
    return {}
