"""`tracekit validate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tracekit.cli.options import keeper_for, load_options, options_from, output_options
from tracekit.cli.terminal import is_colored, tell, text_width
from tracekit.errors import TracekitError

if TYPE_CHECKING:
    from tracekit.reports.validation import ValidationFormat
    from tracekit.validation_results import Validation

Gate = tuple[str, float]
_DEFAULT_MODE: Final = "rich"


class _GateType(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    name = "[MODE=]SHARE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Gate:
        from tracekit.validation_results import MODES

        if isinstance(value, tuple):
            return value
        mode, _, text = str(value).rpartition("=")
        mode = mode or _DEFAULT_MODE
        if mode not in MODES:
            self.fail(f"{mode!r} is no mode; choose from {', '.join(MODES)}", param, ctx)
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            self.fail(f"{text!r} is no share; give one from 0 to 1, such as 0.98", param, ctx)
        return mode, share


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@output_options("text", "json", "markdown", about="What to write.")
@click.option(
    "--fail-under",
    "gates",
    multiple=True,
    type=_GateType(),
    help="Exit with 1 if a run's accuracy is below this, such as 0.98 or kernels_only=0.85.",
)
@load_options
def validate(
    paths: tuple[str, ...],
    format_: ValidationFormat,
    output: Path | None,
    force: bool,
    gates: tuple[Gate, ...],
    **loading: Any,
) -> None:
    """Hold the classification of labelled traces against their labels.

    PATH is a trace or run folder collected with --label all, or a folder of these. Every label is
    removed before the trace is classified, and then shapes, modules and ops in turn.
    """
    with keeper_for(loading) as keeper:
        from tracekit.output import refuse_existing, whole_file
        from tracekit.reports.validation import render_validation
        from tracekit.validating import validate as run_validation

        if output is not None:
            refuse_existing(output, force=force)
        result = run_validation(paths, options_from(loading), cache=keeper)
        to_terminal = output is None
        text = render_validation(
            result, format_, width=text_width(to_terminal), color=to_terminal and is_colored()
        )
        _echo_warnings(result, shown=format_ == "text" and to_terminal)
        if output is None:
            click.echo(text, nl=False)
        else:
            with whole_file(output, force=force) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="")
    _hold(result, gates)


def _echo_warnings(result: Validation, *, shown: bool) -> None:
    for run in result.runs:
        for warning in run.warnings:
            tell(f"{run.path}: {warning}")
    if not shown:
        for row in result.unusable:
            tell(f"left out: {row.error}")


def _hold(result: Validation, gates: tuple[Gate, ...]) -> None:
    """Raise where the accuracy of a run is below what was asked for."""
    below = [
        f"{run.name} {part.mode} {part.accuracy:.4f} < {share:g}"
        for mode, share in gates
        for run in result.runs
        for part in run.modes
        if part.mode == mode and part.accuracy is not None and part.accuracy < share
    ]
    if below:
        raise TracekitError(f"accuracy is below what --fail-under asks for: {'; '.join(below)}")
