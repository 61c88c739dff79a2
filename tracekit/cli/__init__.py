"""The command line: thin commands over the public functions.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import Final

import click

from tracekit import __version__
from tracekit.cli.analyze import analyze
from tracekit.cli.annotate import annotate
from tracekit.cli.cache import cache
from tracekit.cli.collect import collect
from tracekit.cli.kernels import kernels
from tracekit.cli.open import open_
from tracekit.cli.report import report
from tracekit.cli.study import study
from tracekit.cli.tables import tables
from tracekit.cli.terminal import tell
from tracekit.cli.validate import validate
from tracekit.errors import HostError, TracekitError

_INTERRUPTED: Final = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="tracekit %(version)s")
def cli() -> None:
    """Tells where a generative model's GPU time goes, from torch.profiler traces.

    Start with: tracekit analyze trace.json.gz
    """


cli.add_command(analyze)
cli.add_command(annotate)
cli.add_command(cache)
cli.add_command(collect)
cli.add_command(kernels)
cli.add_command(open_)
cli.add_command(report)
cli.add_command(study)
cli.add_command(tables)
cli.add_command(validate)


def main() -> None:
    """Run the command line and exit with the code that the result calls for."""
    # No linear algebra is done here: threads for it would only cost their start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # A command lives for seconds and makes few cycles; looking for them takes time.
    gc.disable()
    code = run()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    # Everything is written and nothing is left to tidy up but memory, which ends with the process.
    os._exit(code)


def run(args: list[str] | None = None) -> int:
    """Run one command and return its exit code; errors go to stderr as one line.

    0 done, 1 a gate failed, 2 wrong usage, 3 the input cannot be used, 4 a missing optional
    dependency, 5 this machine cannot do it, 130 interrupted.
    """
    try:
        # Not cli.main(): it turns a closed pipe into exit code 1.
        with cli.make_context("tracekit", sys.argv[1:] if args is None else args) as context:
            cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("tracekit: interrupted", err=True)
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever reads our output has seen enough; nothing must be written any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        return _tell(HostError("not enough memory for this trace"))
    except TracekitError as error:
        return _tell(error)
    return 0


def _tell(error: TracekitError) -> int:
    tell(str(error))
    return error.exit_code
