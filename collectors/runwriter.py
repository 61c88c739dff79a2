"""Writes a run folder: the manifest first, then each file whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tracekit import runfolder
from tracekit.errors import HostError, OutputExistsError
from tracekit.output import whole_file

SCHEMA: Final = "tracekit.run/1"
_CHUNK: Final = 1 << 22
_OURS: Final = (
    runfolder.MANIFEST,
    runfolder.TIMING,
    runfolder.LIGHT_PASS,
    runfolder.RICH_PASS,
    runfolder.EAGER_PASS,
    runfolder.COUNTERS,
)


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file of the folder under its final name."""

    name: str
    size_bytes: int
    sha256: str


class RunFolder:
    """A run folder that is being written.

    `manifest` is what `run.json` holds beside schema, `complete` and files; change it, then `save`.
    A process that is killed leaves hidden temporary files at most.

    Raises
    ------
    OutputExistsError
        The folder holds something, and `force` is false; with `force` the files of an earlier run
        are removed and all others stay.
    HostError
        The folder cannot be created or written.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], *, force: bool = False) -> None:
        self.path = path
        self.manifest = manifest
        self.files: dict[str, WrittenFile] = {}
        refuse_filled(path, force=force)
        try:
            path.mkdir(parents=True, exist_ok=True)
            for name in _OURS:
                (path / name).unlink(missing_ok=True)
            for left in _left_over(path):
                left.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error
        self.save()

    def save(self, *, complete: bool = False) -> None:
        """Write the manifest as it is now."""
        body = {"schema": SCHEMA, "complete": complete, **self.manifest}
        body["files"] = [
            {"name": file.name, "size_bytes": file.size_bytes, "sha256": file.sha256}
            for file in self.files.values()
        ]
        self._write(runfolder.MANIFEST, _json(body))
        self._sync()

    def write_json(self, name: str, body: dict[str, Any]) -> WrittenFile:
        """Write one JSON file of the folder."""
        data = _json(body)
        self._forget(name)
        self._write(name, data)
        return self._remember(name, len(data), hashlib.sha256(data).hexdigest())

    def write_gzip(self, name: str, plain: Path, *, max_bytes: int | None = None) -> WrittenFile:
        """Compress a file into the folder.

        Raises
        ------
        TooLargeError
            The compressed file has more than `max_bytes`; it is not kept.
        """
        target = self.path / name
        self._forget(name)
        with whole_file(target, force=True) as temporary:
            compress(plain, temporary)
            size_bytes = temporary.stat().st_size
            if max_bytes is not None and size_bytes > max_bytes:
                raise TooLargeError(name, size_bytes, max_bytes)
            digest = _digest(temporary)
        return self._remember(name, size_bytes, digest)

    @contextmanager
    def scratch(self, suffix: str) -> Iterator[Path]:
        """Give the path of an empty hidden file in the folder that is gone after the block."""
        try:
            handle, name = tempfile.mkstemp(prefix=".", suffix=f"{suffix}.part", dir=self.path)
            os.close(handle)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        try:
            yield Path(name)
        finally:
            with suppress(OSError):
                # The profiler writes beside the file first, and leaves that where the disk is full.
                for left in self.path.glob(f"{Path(name).name}*"):
                    left.unlink(missing_ok=True)

    def _write(self, name: str, data: bytes) -> None:
        with whole_file(self.path / name, force=True) as temporary:
            temporary.write_bytes(data)

    def _forget(self, name: str) -> None:
        """Take a file that will be replaced out of the manifest, which has the old one's digest."""
        if self.files.pop(name, None) is not None:
            self.save()

    def _remember(self, name: str, size_bytes: int, digest: str) -> WrittenFile:
        self._sync()
        self.files[name] = WrittenFile(name, size_bytes, digest)
        return self.files[name]

    def _sync(self) -> None:
        """Make the names durable, where the system can do that."""
        with suppress(OSError):
            handle = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def add_file(folder: Path, name: str, plain: Path, about: dict[str, Any]) -> None:
    """Put a file into a run folder that is written already, and into its manifest.

    `about` is what the manifest says of the file beside its size and digest.

    Raises
    ------
    HostError
        The folder cannot be written.
    """
    with whole_file(folder / name, force=True) as temporary:
        shutil.copyfile(plain, temporary)
        size_bytes, digest = temporary.stat().st_size, _digest(temporary)
    manifest = folder / runfolder.MANIFEST
    try:
        body = json.loads(manifest.read_bytes())
    except OSError as error:
        raise cannot_write(manifest, error) from error
    body["files"] = [file for file in body.get("files", []) if file["name"] != name]
    body["files"].append({"name": name, "size_bytes": size_bytes, "sha256": digest, **about})
    with whole_file(manifest, force=True) as temporary:
        temporary.write_bytes(_json(body))


class TooLargeError(HostError):
    """A pass is larger than it may be."""

    def __init__(self, name: str, size_bytes: int, max_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.max_bytes = max_bytes
        super().__init__(
            f"{name} would have {size_bytes / 1e6:.1f} MB and may have {max_bytes / 1e6:.1f} MB; "
            "give a larger --max-trace-mb or fewer --trace-steps"
        )


def _left_over(folder: Path) -> Iterator[Path]:
    """Return the temporary files of a run that was killed."""
    yield from folder.glob(".*.part*")
    for name in _OURS:
        yield from folder.glob(f".{name}.*")


def refuse_filled(path: Path, *, force: bool) -> None:
    """Raise when a run must not be written to a path.

    Raises
    ------
    OutputExistsError
        The path is a file, or a folder that is not empty and `force` is false.
    HostError
        The folder cannot be read.
    """
    try:
        if path.exists() and not path.is_dir():
            raise OutputExistsError(f"{path}: is a file; give a folder with -o")
        if not force and path.is_dir() and any(path.iterdir()):
            raise OutputExistsError(
                f"{path}: exists already and is not empty; give --force to overwrite its run"
            )
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> HostError:
    """Return the error that says why a path cannot be written."""
    reason = (error.strerror or str(error)).lower()
    return HostError(f"{path}: cannot be written ({reason}); choose another place with -o")


def compress(plain: Path, target: Path) -> None:
    """Write a file's gzip, the same for the same bytes."""
    with (
        plain.open("rb") as source,
        target.open("wb") as sink,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=sink, mtime=0) as packed,
    ):
        while chunk := source.read(_CHUNK):
            packed.write(chunk)


def _digest(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _json(body: dict[str, Any]) -> bytes:
    return (json.dumps(body, indent=1, ensure_ascii=False, default=str) + "\n").encode()
