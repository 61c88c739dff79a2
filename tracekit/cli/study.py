"""`tracekit study`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tracekit.cli.options import output_options
from tracekit.cli.terminal import is_colored, text_width

if TYPE_CHECKING:
    from tracekit.reports import Format
    from tracekit.study.memory import Dtype

_SIZE: Final = re.compile(r"(\d{1,7})(?:[x×](\d{1,7}))?")
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
    """Questions of the study of generative models (arXiv 2312.14385), for any model."""


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
