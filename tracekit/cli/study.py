"""`tracekit study`."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tracekit.cli.options import output_options
from tracekit.cli.progress import shown_study
from tracekit.cli.terminal import be_quiet, is_colored, text_width
from tracekit.errors import UsageError

if TYPE_CHECKING:
    from tracekit.reports import Format
    from tracekit.reports.study import StudyFormat
    from tracekit.study.memory import Dtype
    from tracekit.study.running import StudySummary

_SIZE: Final = re.compile(r"(\d{1,7})(?:[x×](\d{1,7}))?")
_REPORTS: Final[dict[str, StudyFormat]] = {".html": "html", ".md": "markdown", ".json": "json"}
_COUNT: Final = re.compile(r"\d{1,7}")


class _Sizes(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    name = "SIDE|HEIGHTxWIDTH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[tuple[int, int], ...]:
        if isinstance(value, tuple):
            return value
        found = []
        for text in str(value).split(","):
            match = _SIZE.fullmatch(text.strip())
            if match is None:
                self.fail(f"{text!r} is no size; give 512 or 480x832", param, ctx)
            found.append((int(match[1]), int(match[2] or match[1])))
        return tuple(found)


class _Counts(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    name = "N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        texts = [text.strip() for text in str(value).split(",")]
        for text in texts:
            if not _COUNT.fullmatch(text):
                self.fail(f"{text!r} is no number of frames; give 16 or 8,16,32", param, ctx)
        return tuple(map(int, texts))


@click.group()
def study() -> None:
    """Carry out the study of arXiv 2312.14385, on any model."""


@study.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder of the study; one that was begun goes on.",
)
@click.option(
    "--models",
    multiple=True,
    metavar="NAME,…",
    help="Models or groups: paper, today, all [paper].",
)
@click.option(
    "--sweeps",
    multiple=True,
    metavar="NAME,…",
    help="image-size, frames, video-size, prompt, output, batch, or none [those of the models].",
)
@click.option(
    "--experiments",
    multiple=True,
    metavar="NAME,…",
    help="variants (layouts, types, norms, batch of the models whose shares deviate), graphs "
    "(their steps as CUDA graphs), or none [none].",
)
@click.option("--quick", is_flag=True, help="Fewer repeats and points: a quarter of an hour.")
@click.option("--tiny", is_flag=True, help="Tiny models: a minute on a CPU, to try it.")
@click.option("--device", default="cuda", show_default=True, help="cuda, cuda:N or cpu.")
@click.option(
    "--dtype",
    type=click.Choice(["bfloat16", "float16", "float32"]),
    help="[bfloat16; float32 on a CPU].",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of weights and inputs.")
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    help="Time everything as often at least; what is done with fewer is timed again.",
)
@click.option(
    "--minutes", type=click.FloatRange(min=0), help="Begin nothing after this time; call again."
)
def run(
    output: Path,
    models: tuple[str, ...],
    sweeps: tuple[str, ...],
    experiments: tuple[str, ...],
    quick: bool,
    tiny: bool,
    **given: Any,
) -> None:
    """Measure the models of the study on this machine, into a folder that study report reads.

    Each model runs with attention written out (eager) and with Flash Attention. Long loops are
    sampled: some steps of each stage stand for all. Sweeps vary one size of a model, experiments
    look for causes. What is done stays done: the same call goes on where the last one stopped, and
    tries again what failed.
    """
    from tracekit.study.experiments import chosen_experiments
    from tracekit.study.families import chosen_models
    from tracekit.study.plan import chosen_sweeps
    from tracekit.study.recorder import CaseRecorder, RecorderOptions
    from tracekit.study.running import StudyOptions, run_study

    if quick and tiny:
        raise UsageError("--quick, --tiny: give one of them")
    names = chosen_models(_names(models) or ("paper",))
    recorder = CaseRecorder(RecorderOptions(tiny=tiny, **_recording(given)))
    options = StudyOptions(
        models=names,
        scale="tiny" if tiny else "quick" if quick else "full",
        sweeps=chosen_sweeps(_names(sweeps), names),
        experiments=chosen_experiments(_names(experiments), names),
        dtype=recorder.options.true_dtype,
        device=given["device"],
        seed=given["seed"],
        minutes=given["minutes"],
        repeats=given["repeats"],
    )
    be_quiet()
    with shown_study() as listener:
        summary = run_study(output, options, recorder, listener)
    _tell(summary)


@study.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write here, as the name ends: .html, .md or .json; Markdown to stdout without it.",
)
@click.option("--force", is_flag=True, help="Overwrite the output file if it exists.")
def report(folder: Path, output: Path | None, force: bool) -> None:
    """Say what a study found: the claims of the paper, each with a verdict, and all tables.

    FOLDER is what study run has written. Needs neither a GPU nor the traces: everything is made
    again from the kernel tables that were kept.
    """
    from tracekit.output import refuse_existing, whole_file
    from tracekit.reports.study import render_study
    from tracekit.study.report import study_report

    if output is not None:
        if output.suffix.lower() not in _REPORTS:
            raise UsageError(f"{output}: give a name that ends in {', '.join(_REPORTS)}")
        refuse_existing(output, force=force)
    format_ = "markdown" if output is None else _REPORTS[output.suffix.lower()]
    text = render_study(study_report(folder), format_)
    if output is None:
        click.echo(text, nl=False)
        return
    with whole_file(output, force=force) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _names(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.strip() for text in texts for name in text.split(",") if name.strip())


def _recording(given: dict[str, Any]) -> dict[str, Any]:
    return {name: given[name] for name in ("device", "dtype", "seed")}


def _tell(summary: StudySummary) -> None:
    states = [f"{count} {state.replace('_', ' ')}" for state, count in summary.states.items()]
    folder = click.format_filename(summary.folder)
    click.echo(f"{folder}: {', '.join(states) or 'nothing done'}; took {summary.took_s:.0f} s.")
    failed = summary.states.get("failed", 0)
    if summary.not_begun:
        click.echo(f"{summary.not_begun} not begun: the same call goes on from here.")
    elif failed:
        click.echo(f"{failed} failed: the same call tries them again.")
    click.echo(f"Next: tracekit study report {shlex.quote(folder)} -o study.html")


@study.command()
@click.argument("models", nargs=-1, metavar="[MODEL[:PRESET]]...")
@click.option(
    "--size",
    "sizes",
    type=_Sizes(),
    multiple=True,
    help="Size in pixels, several with commas: 512,1024,2048 [as published].",
)
@click.option(
    "--frames",
    type=_Counts(),
    multiple=True,
    help="Frames of a video, several with commas [as published].",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Images or videos made at once; guidance doubles it where the model does so.",
)
@click.option(
    "--prompt-tokens", type=click.IntRange(min=1), help="Tokens of the prompt [as published]."
)
@click.option(
    "--heads", type=click.IntRange(min=1), help="Heads of every layer [those of the model]."
)
@click.option(
    "--dtype",
    type=click.Choice(["bfloat16", "float16", "float32"]),
    default="bfloat16",
    show_default=True,
    help="What scores are held in.",
)
@output_options("text", "json", "csv", "markdown", about="What to write; json has every layer.")
def memory(
    models: tuple[str, ...],
    sizes: tuple[tuple[tuple[int, int], ...], ...],
    frames: tuple[tuple[int, ...], ...],
    batch: int,
    prompt_tokens: int | None,
    heads: int | None,
    dtype: Dtype,
    format_: Format,
    output: Path | None,
    force: bool,
) -> None:
    """Say how much memory the scores of attention take, with and without Flash Attention.

    Needs no GPU and no trace: sizes follow from the architecture. MODEL is a denoiser, such as
    sdxl or sd3:3.5-large; all without it: stable-diffusion, sdxl, sd3, flux, pixart, make-a-video,
    stable-video-diffusion, animatediff, latte, cogvideox, wan, hunyuan-video.
    """
    from tracekit.output import refuse_existing, whole_file
    from tracekit.reports.memory import render_memory
    from tracekit.study.memory import MemoryOptions, study_memory

    if output is not None:
        refuse_existing(output, force=force)
    options = MemoryOptions(
        sizes=tuple(size for group in sizes for size in group),
        frames=tuple(count for group in frames for count in group),
        batch=batch,
        prompt_tokens=prompt_tokens,
        heads=heads,
        dtype=dtype,
    )
    to_terminal = output is None
    text = render_memory(
        study_memory(models, options),
        format_,
        width=text_width(to_terminal),
        color=to_terminal and is_colored(),
    )
    if output is None:
        click.echo(text, nl=False)
        return
    with whole_file(output, force=force) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
