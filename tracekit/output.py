"""Writes result files whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tracekit.errors import HostError, OutputExistsError


@contextmanager
def whole_file(path: Path, *, force: bool) -> Iterator[Path]:
    """Give a temporary path beside `path`, which takes its place when the block succeeds.

    Raises
    ------
    OutputExistsError
        `path` exists, and `force` is false.
    HostError
        The folder cannot be written, or has no space left.
    """
    refuse_existing(path, force=force)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise _cannot_write(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise when an output exists and must not be overwritten.

    Raises
    ------
    OutputExistsError
        `path` exists, and `force` is false.
    """
    if path.exists() and not force:
        raise OutputExistsError(f"{path}: exists already; give --force to overwrite it")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _cannot_write(path: Path, error: OSError) -> HostError:
    reason = (error.strerror or str(error)).lower()
    return HostError(f"{path}: cannot be written ({reason}); choose another place with -o")
