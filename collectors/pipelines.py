"""Any diffusers pipeline as a workload: loaded from a folder or an id, staged by its components."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracekit.collectors.environment import import_torch, missing
from tracekit.collectors.pipeline_inputs import PipelineCall, PipelineOptions, call_of
from tracekit.collectors.pipeline_stages import denoisers_of, modules_of
from tracekit.collectors.staging import staged
from tracekit.collectors.workload import Workload
from tracekit.collectors.written_attention import written_out
from tracekit.errors import InputError, MissingDependencyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracekit.collectors.workload import StageMarker

_INDEX: Final = "model_index.json"
_MODULAR_INDEX: Final = "modular_model_index.json"
_STEPS: Final = "num_inference_steps"


def build_pipeline(options: PipelineOptions) -> Workload:
    """Return one call of a pipeline as a workload.

    With `trace_steps` the recorded call samples in that many steps, spread over all noise levels by
    the pipeline's own scheduler.

    Raises
    ------
    MissingDependencyError
        diffusers, or a library that the pipeline needs, is not installed.
    InputError
        The folder is no pipeline, lacks a component, or the id is not known here.
    UsageError
        An option or argument is of no use to this pipeline, or one is lacking.
    """
    if options.model.tiny:
        raise UsageError("--tiny: a pipeline has the size that its folder says; leave it out")
    pipeline = load_pipeline(options)
    call = call_of(pipeline, options)
    silence(pipeline)
    work = PipelineWork(pipeline, call, options)
    return Workload(
        name=type(pipeline).__name__,
        run=work.run,
        modules=modules_of(pipeline),
        stages={},
        config=_describe(pipeline, call, options),
        run_traced=work.run_traced if work.is_cut else None,
        compile_targets=denoisers_of(pipeline),
    )


class PipelineWork:
    """Calls the pipeline, each time with the same random numbers."""

    def __init__(self, pipeline: Any, call: PipelineCall, options: PipelineOptions) -> None:
        self._pipeline = pipeline
        self._arguments = call.arguments
        self._options = options.model
        self._takes_generator = "generator" not in call.arguments and takes(pipeline, "generator")
        steps = call.arguments.get(_STEPS, _default(pipeline, _STEPS))
        traced = options.model.trace_steps
        self.is_cut = traced is not None and not (isinstance(steps, int) and traced >= steps)

    def run(self, marker: StageMarker) -> object:
        """Call the pipeline once."""
        return self._call(marker, self._arguments)

    def run_traced(self, marker: StageMarker) -> object:
        """Call the pipeline once, with the steps that are to be recorded."""
        return self._call(marker, {**self._arguments, _STEPS: self._options.trace_steps})

    def _call(self, marker: StageMarker, arguments: dict[str, Any]) -> object:
        import torch

        if self._takes_generator:
            generator = torch.Generator(self._options.device).manual_seed(self._options.seed)
            arguments = {**arguments, "generator": generator}
        with ExitStack() as inside:
            inside.enter_context(_quiet())
            if self._options.attention == "eager":
                inside.enter_context(written_out())
            inside.enter_context(staged(self._pipeline, marker))
            return self._pipeline(**arguments)


def load_pipeline(options: PipelineOptions) -> Any:
    """Return the pipeline of a folder that `save_pretrained` has written, or of a hub's id.

    What is cached is taken from there, and only what is not is fetched. Raises what
    `build_pipeline` does.
    """
    torch = import_torch()
    try:
        with _quiet():
            from diffusers import DiffusionPipeline, __version__
    except ImportError as error:
        raise missing("diffusers") from error
    path = options.path
    local = _local_folder(path)
    # It was renamed; the old name is known until version 1.
    name = "torch_dtype" if __version__.startswith("0.") else "dtype"
    dtype = {name: getattr(torch, options.model.dtype)}
    attempts: list[dict[str, Any]] = [{"local_files_only": True}]
    attempts += [{"local_files_only": True, "variant": "fp16"}]
    attempts += [] if local else [{}]
    for number, how in enumerate(attempts, 1):
        try:
            with _quiet():
                found = DiffusionPipeline.from_pretrained(str(local or path), **dtype, **how)
                return found.to(options.model.device)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if number == 1:
                first = error
            if number == len(attempts):
                raise _not_loaded(path, first if local else error, local=local) from error
    raise AssertionError


def takes(pipeline: Any, argument: str) -> bool:
    """Say whether a pipeline's `__call__` names an argument."""
    import inspect

    return argument in inspect.signature(pipeline.__call__).parameters


def _default(pipeline: Any, argument: str) -> Any:
    import inspect

    parameter = inspect.signature(pipeline.__call__).parameters.get(argument)
    return None if parameter is None else parameter.default


def _local_folder(path: str) -> Path | None:
    """Return the folder that a path names, null for a hub's id; raise if it holds no pipeline."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        if folder.exists():
            raise InputError(f"{path}: is a file; give a pipeline's folder or its id on the hub")
        if path.startswith((".", "/", "~")) or path.count("/") > 1:
            raise InputError(f"{path}: there is no such folder")
        return None
    if (folder / _MODULAR_INDEX).is_file() and not (folder / _INDEX).is_file():
        raise InputError(
            f"{path}: is a modular pipeline; run it in a script: "
            "tracekit collect -o RUN -- python script.py"
        )
    if not (folder / _INDEX).is_file():
        raise InputError(
            f"{path}: holds no {_INDEX}; give a whole pipeline's folder, as save_pretrained writes"
        )
    _check_index(path, folder)
    return folder


def _check_index(path: str, folder: Path) -> None:
    try:
        index = json.loads((folder / _INDEX).read_text())
        kind = str(index["_class_name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: {_INDEX} is broken: {_line(error)}") from error
    if kind.startswith(("Onnx", "Flax")):
        raise InputError(f"{path}: {kind} does not run on torch")
    for name, value in index.items():
        is_part = isinstance(value, list) and len(value) == 2 and value[0] is not None
        if is_part and not name.startswith("_") and not (folder / name).exists():
            raise InputError(
                f"{path}: the component {name} is missing: {_INDEX} names it, and there is no "
                f"folder {name}"
            )


def _not_loaded(path: str, error: Exception, *, local: Path | None) -> Exception:
    text = _line(error)
    if isinstance(error, ImportError):
        return MissingDependencyError(f"{path}: needs a library that is not installed: {text}")
    if local is None:
        why = _line(error.__cause__ or error.__context__ or error)
        return InputError(
            f"{path}: is no folder here, is not in the hub's cache, and cannot be fetched ({why})"
        )
    return InputError(f"{path}: cannot be loaded as a pipeline: {text}")


def _line(error: BaseException) -> str:
    """Return the first sentence of an error on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars and advice of the libraries from the terminal."""
    import sys

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        silenced = []
        for name in ("diffusers", "transformers"):
            module = sys.modules.get(f"{name}.utils.logging")
            if module is not None:
                silenced.append((module, module.get_verbosity(), module.is_progress_bar_enabled()))
                module.set_verbosity_error()
                module.disable_progress_bar()
        try:
            yield
        finally:
            for module, verbosity, had_bar in silenced:
                module.set_verbosity(verbosity)
                if had_bar:
                    module.enable_progress_bar()


def silence(pipeline: Any) -> None:
    """Turn off the progress bars of a pipeline and of those inside it."""
    for part in (pipeline, *vars(pipeline).values()):
        silence = getattr(part, "set_progress_bar_config", None)
        if callable(silence):
            silence(disable=True)


def _describe(pipeline: Any, call: PipelineCall, options: PipelineOptions) -> dict[str, Any]:
    """Return class, components, sizes and the call, as JSON."""
    modules = modules_of(pipeline)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in modules.items()}
    scheduler = getattr(pipeline, "scheduler", None)
    whole = {
        **{name: _config(part) for name, part in modules.items()},
        "scheduler": {"class": type(scheduler).__name__, **_config(scheduler)},
        "pipeline": type(pipeline).__name__,
        "inputs": {**call.shown(), "made_up": sorted(call.made_up)},
        "weights": options.path,
        "parameters": {**counts, "total": sum(counts.values())},
    }
    result: dict[str, Any] = json.loads(json.dumps(whole, default=str))
    return result


def _config(part: Any) -> Mapping[str, Any]:
    config: Any = getattr(part, "config", None)
    if hasattr(config, "to_dict"):
        found: dict[str, Any] = config.to_dict()
        return found
    return dict(config) if hasattr(config, "keys") else {"class": type(part).__name__}
