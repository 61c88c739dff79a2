"""The errors that tracekit raises on purpose; each carries the exit code of the command line.

* TracekitError
  * UsageError (2)
    * OutputExistsError
  * InputError (3): the input cannot be used
    * TraceFormatError: it is meant to be a trace and is broken, or holds nothing to analyze
    * UnsupportedInputError: it is a known format that tracekit does not read
    * LimitExceededError: it is larger than the limits allow; the text names the option
  * MissingDependencyError (4): an extra is not installed
  * HostError (5): this machine cannot do it (no space, not writable, no GPU)
    * OutOfMemoryError: the memory of the device does not suffice
"""

from __future__ import annotations


class TracekitError(Exception):
    """Base of every error that tracekit raises on purpose; its text is one line for a person."""

    exit_code = 1


class UsageError(TracekitError):
    """The call itself is wrong."""

    exit_code = 2


class OutputExistsError(UsageError):
    """An output file exists and was not to be overwritten."""


class InputError(TracekitError):
    """The input cannot be used."""

    exit_code = 3


class TraceFormatError(InputError):
    """The input is meant to be a trace, and is broken or holds nothing to analyze."""


class UnsupportedInputError(InputError):
    """The input is of a known format that tracekit does not read."""


class LimitExceededError(InputError):
    """The input crosses a limit; the text names the option that raises it."""


class MissingDependencyError(TracekitError):
    """An optional dependency is not installed; the text names the extra that brings it."""

    exit_code = 4


class HostError(TracekitError):
    """The machine cannot do what was asked: no space, not writable, no GPU."""

    exit_code = 5


class OutOfMemoryError(HostError):
    """The memory of the device does not suffice; something smaller may fit."""
