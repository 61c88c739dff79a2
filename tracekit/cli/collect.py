"""`tracekit collect`."""

from __future__ import annotations

import json
import shlex
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from tracekit.cli.progress import shown_progress
from tracekit.cli.terminal import be_quiet
from tracekit.errors import OutOfMemoryError, TracekitError, UsageError
from tracekit.runfolder import COUNTERS

if TYPE_CHECKING:
    from tracekit.collectors.passes import RecordOptions, RunSummary
    from tracekit.collectors.progress import Listener
    from tracekit.collectors.targets import ListedPreset
    from tracekit.collectors.workload import ModelOptions, Workload

Command = TypeVar("Command", bound=Callable[..., Any])

_ATTENTION: Final = ("auto", "eager", "math", "flash", "efficient", "cudnn")
_DTYPES: Final = ("bfloat16", "float16", "float32")
_PASSES: Final = ("timing", "light", "rich", "eager")
_COUNT: Final = click.IntRange(min=1)

_MODEL_OPTIONS: Final[tuple[tuple[str, Any, str], ...]] = (
    ("--batch", click.IntRange(min=1), "Images, videos or prompts at once [1]."),
    ("--size", _COUNT, "Side of the image in pixels."),
    ("--frames", _COUNT, "Frames of the video."),
    ("--steps", _COUNT, "Sampling steps."),
    ("--prompt-tokens", _COUNT, "Tokens of the prompt."),
    ("--new-tokens", _COUNT, "Tokens to generate."),
    ("--trace-steps", _COUNT, "Steps of each stage to record, spread over all [all]."),
    ("--preset", str, "A published size of the model, of those that --list --verbose shows."),
    ("--weights", click.Path(), "Folder with weights [random ones; time does not depend on them]."),
)
"""Option, type and help of each field of `ModelOptions` that is given as it is."""


def _pass_names(text: str) -> tuple[str, ...]:
    """Return names of passes, with commas between."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names or set(names) - set(_PASSES):
        raise click.BadParameter(f"{text!r}: give some of {','.join(_PASSES)}")
    return names


def _model_options(command: Command) -> Command:
    for option, kind, text in reversed(_MODEL_OPTIONS):
        command = click.option(option, type=kind, default=None, help=text)(command)
    return command


@click.command()
@click.argument("target", nargs=-1, metavar="TARGET")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The run folder to write.")
@click.option("--force", is_flag=True, help="Overwrite the run in the folder.")
@click.option("--list", "list_models", is_flag=True, help="List the models, and stop.")
@click.option("--verbose", is_flag=True, help="With --list: presets, and what no source gives.")
@click.option("--passes", type=_pass_names, help="What to record [timing,light,rich].")
@click.option(
    "--attention",
    type=click.Choice(_ATTENTION),
    default="auto",
    show_default=True,
    help="Implementation; where a call cannot take it, efficient and then math run.",
)
@click.option("--dtype", type=click.Choice(_DTYPES), help="[bfloat16; float32 on a CPU].")
@click.option("--device", default="cuda", show_default=True, help="cuda, cuda:N or cpu.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of weights and inputs.")
@click.option("--repeats", type=_COUNT, default=5, show_default=True, help="Runs to time.")
@click.option("--warm-up", type=_COUNT, default=2, show_default=True, help="Runs before that.")
@click.option(
    "--label",
    type=click.Choice(["attention", "all"]),
    default="attention",
    show_default=True,
    help="Modules to label; all means every leaf as well.",
)
@click.option(
    "--stacks",
    is_flag=True,
    help="Record Python stacks in the rich pass: idle time is then blamed on functions, and the "
    "pass takes longer.",
)
@click.option("--compile", "compile_", is_flag=True, help="Compile the model's main modules.")
@click.option("--cuda-graph", is_flag=True, help="Run the model's main modules from CUDA graphs.")
@click.option(
    "--ncu",
    is_flag=True,
    help="Count cache hits of attention with Nsight Compute as well, in a run of its own.",
)
@click.option(
    "--ncu-kernels",
    metavar="REGEX",
    help="Count only attention kernels with such names, where there are many [all].",
)
@click.option(
    "--ncu-launches",
    type=_COUNT,
    default=2000,
    show_default=True,
    help="Most kernels to count; each takes tens of milliseconds.",
)
@click.option("--max-trace-mb", type=float, help="Largest file of a pass, in MB.")
@click.option("--tiny", is_flag=True, help="A tiny model of the same kind: seconds on a CPU.")
@click.option("--prompt", help="What a pipeline is asked for.")
@click.option(
    "--pipeline-arg",
    "pipeline_args",
    multiple=True,
    metavar="KEY=VALUE",
    help="An argument of a pipeline's __call__, as JSON or a text; images by their path.",
)
@_model_options
def collect(target: tuple[str, ...], output: Path | None, **given: Any) -> None:
    """Record a run into a folder that tracekit analyze reads.

    TARGET is MODEL, or pipeline PATH_OR_ID, or MODULE:CALLABLE, or -- COMMAND.

    MODEL is a name that --list shows. pipeline PATH_OR_ID is any pipeline of diffusers: a folder
    that save_pretrained has written, or an id on the hub; options that it has no use for are
    refused. MODULE:CALLABLE is a function of yours; the modules that it
    uses are labelled. If it takes an argument, that is the options, --batch and so on, as a
    tracekit.collectors.ModelOptions. It may also return a tracekit.collectors.Workload.
    COMMAND is python script.py … or python -m module …: it runs once, under the profiler, and its
    exit code is passed through; its diffusers pipelines and calls of generate are told apart into
    stages; options of models do not apply.
    """
    if given["list_models"]:
        _list_models(verbose=given["verbose"])
        return
    if given["verbose"]:
        raise UsageError("--verbose: goes with --list")
    # Not above: the module of the process that ncu starts must not be imported before it runs.
    from tracekit.cli.counted import check_countable, count
    from tracekit.collectors.runwriter import refuse_filled
    from tracekit.collectors.script import is_script

    _check_target(target, given, is_script=is_script(target))
    if output is None:
        raise UsageError("give the run folder to write with -o")
    be_quiet()
    refuse_filled(output, force=given["force"])
    if given["ncu"]:
        check_countable(given, is_script=is_script(target))
    elif given["ncu_kernels"] is not None:
        raise UsageError("--ncu-kernels: goes with --ncu")
    if is_script(target):
        _script(target, output, given)
        return
    with _out_of_memory(given["device"]), shown_progress() as listener:
        # Nobody holds the model afterwards: ncu's process may need the memory.
        summary = _record(workload_of(target, given), output, _record_options(given, listener))
    launches = count(target, given, output) if given["ncu"] else None
    _tell(summary, launches)


def _check_target(target: tuple[str, ...], given: dict[str, Any], *, is_script: bool) -> None:
    is_pipeline = target[:1] == ("pipeline",)
    if is_pipeline and len(target) != 2:
        raise UsageError("give one folder or id: tracekit collect -o RUN pipeline PATH_OR_ID")
    if len(target) != 1 and not is_pipeline and not is_script:
        raise UsageError(
            "give one model, pipeline PATH_OR_ID, one module:callable, or -- python script.py …; "
            "--list shows the models"
        )
    for name in () if is_pipeline else ("prompt", "pipeline_args"):
        if given[name]:
            raise UsageError(f"--{name.replace('_', '-').rstrip('s')}: is for pipelines only")


def _script(command: tuple[str, ...], output: Path, given: dict[str, Any]) -> None:
    from tracekit.cli.counted import count
    from tracekit.collectors.script import record_script

    started = time.monotonic()
    code = record_script(command, output, stacks=given["stacks"], force=given["force"])
    folder = click.format_filename(output)
    # stdout is the script's.
    click.echo(f"Recorded rich in {folder}.", err=True)
    click.echo(f"Took {time.monotonic() - started:.1f} s; the script ended with {code}.", err=True)
    if given["ncu"] and code:
        click.echo("Counted nothing, because the script failed.", err=True)
    elif given["ncu"]:
        launches = count(command, given, output, is_script=True)
        click.echo(f"Counted {launches} launches of attention in {COUNTERS}.", err=True)
    click.echo(f"Next: tracekit analyze {shlex.quote(folder)}", err=True)
    raise click.exceptions.Exit(code)


def _list_models(*, verbose: bool) -> None:
    from tracekit.collectors.targets import list_models

    models = list_models()
    width = max((len(model.name) for model in models), default=0)
    for model in models:
        click.echo(_filled(f"{model.name.ljust(width)}  {model.description}".rstrip(), width + 2))
        if verbose:
            _list_presets(model.presets)


def _list_presets(presets: tuple[ListedPreset, ...]) -> None:
    """Print a line a preset, the default first, and what is assumed where no source says it."""
    for number, preset in enumerate(presets):
        default = ", the default" if number == 0 and len(presets) > 1 else ""
        size = f"{preset.parameters / 1e9:.3g} B parameters"
        click.echo(_filled(f"    --preset {preset.name}: {preset.about}, {size}{default}", 8))
        if preset.assumed:
            click.echo(_filled(f"{' ' * 8}assumed: {', '.join(preset.assumed)}", 8))


def _filled(text: str, indent: int) -> str:
    """Return a line, broken to what a terminal shows, what follows indented."""
    return textwrap.fill(text, 100, subsequent_indent=" " * indent, break_on_hyphens=False)


def workload_of(target: tuple[str, ...], given: dict[str, Any]) -> Workload:
    """Return what is to be recorded, from a target and the options of the command by their names.

    Raises
    ------
    TracekitError
        There is no such model or device, or the options do not fit.
    """
    from tracekit.collectors.environment import check_device
    from tracekit.collectors.targets import is_callable_target, load_callable

    if target[0] == "pipeline":
        return _pipeline(target[1], given)
    if is_callable_target(target[0]):
        check_device(given["device"])
        return load_callable(target[0], _model_options_from(given), _for_the_model(given))
    from tracekit.collectors.models import load_builder

    build = load_builder(target[0])
    check_device(given["device"])
    return build(_model_options_from(given))


def _pipeline(path: str, given: dict[str, Any]) -> Workload:
    from tracekit.collectors.environment import check_device
    from tracekit.collectors.pipeline_inputs import PipelineOptions
    from tracekit.collectors.pipelines import build_pipeline

    arguments = _pipeline_arguments(given["pipeline_args"])
    check_device(given["device"])
    options = PipelineOptions(path, _model_options_from(given), given["prompt"], arguments)
    return build_pipeline(options)


def _pipeline_arguments(texts: tuple[str, ...]) -> dict[str, Any]:
    """Return what KEY=VALUE texts say; a value that is no JSON is a text."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--pipeline-arg {text}: give KEY=VALUE")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _model_options_from(given: dict[str, Any]) -> ModelOptions:
    from tracekit.collectors.workload import ModelOptions

    fields = [option[2:].replace("-", "_") for option, _, _ in _MODEL_OPTIONS]
    values = {name: given[name] for name in fields if given[name] is not None}
    return ModelOptions(
        attention=given["attention"],
        dtype=_dtype(given),
        device=given["device"],
        seed=given["seed"],
        tiny=given["tiny"],
        **values,
    )


def _for_the_model(given: dict[str, Any]) -> list[str]:
    """Return the options that were given and mean something to what is built, not to recording."""
    options = [*(option for option, _, _ in _MODEL_OPTIONS), "--dtype", "--tiny"]
    return [option for option in options if given[option[2:].replace("-", "_")]]


def _dtype(given: dict[str, Any]) -> Any:
    return given["dtype"] or ("float32" if given["device"] == "cpu" else "bfloat16")


def _record_options(given: dict[str, Any], listener: Listener) -> RecordOptions:
    from tracekit.collectors.passes import PASSES, RecordOptions

    size_mb = given["max_trace_mb"]
    return RecordOptions(
        passes=given["passes"] or PASSES,
        repeats=given["repeats"],
        warm_up=given["warm_up"],
        every_leaf=given["label"] == "all",
        stacks=given["stacks"],
        attention=given["attention"],
        compile=given["compile_"],
        cuda_graph=given["cuda_graph"],
        device=given["device"],
        dtype=_dtype(given),
        seed=given["seed"],
        max_trace_bytes=None if size_mb is None else int(size_mb * 1e6),
        force=given["force"],
        listener=listener,
    )


def _record(workload: Workload, output: Path, options: RecordOptions) -> RunSummary:
    from tracekit.collectors.passes import record_workload

    return record_workload(workload, output, options)


@contextmanager
def _out_of_memory(device: str) -> Iterator[None]:
    """Say in a line that building the model took more memory than there is."""
    try:
        yield
    except TracekitError:
        raise
    except Exception as error:
        from tracekit.collectors.environment import is_out_of_memory

        if is_out_of_memory(error):
            raise OutOfMemoryError(
                f"out of memory on {device}; give a smaller --batch or --size"
            ) from error
        raise


def _tell(summary: RunSummary, launches: int | None) -> None:
    from tracekit.units import format_bytes, format_ns

    folder = click.format_filename(summary.folder)
    size = format_bytes(summary.size_bytes)
    click.echo(f"Recorded {', '.join(summary.passes)} in {folder} ({size}).")
    costs = [f"{name} {value:.2f}x" for name, value in summary.dilations.items()]
    if summary.median_wall_ms is not None:
        costs.insert(0, f"a run takes {format_ns(round(summary.median_wall_ms * 1e6))}")
    detail = f": {', '.join(costs)}" if costs else ""
    click.echo(f"Took {summary.took_s:.1f} s{detail}.")
    if launches is not None:
        click.echo(f"Counted {launches} launches of attention in {COUNTERS}.")
    click.echo(f"Next: tracekit analyze {shlex.quote(folder)}")
