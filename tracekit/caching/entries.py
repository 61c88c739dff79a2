"""The folders of a cache: made whole or not at all, listed, and removed oldest first."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tracekit.caching.places import ENTRIES, INDEX, make_cache, unmake_cache
from tracekit.caching.sources import forget

_TEMPORARY: Final = ".tmp-"
_TEMPORARY_NAME: Final = re.compile(r"\.tmp-[0-9a-f]{16}")
_ABANDONED_S: Final = 3600
_MAX_RECORDS: Final = 1000
_NAME: Final = re.compile(r"([0-9a-f]{1,16})-([0-9a-f]{64})-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Entry:
    """The folder of one cached trace: its size in bytes, and when it was last used, in ns."""

    folder: Path
    size_bytes: int
    used_ns: int

    @property
    def digest(self) -> str:
        """Digest of the file that it was made from."""
        return self.folder.name.split("-")[1]


def entry_name(size_bytes: int, digest: str, variant: str) -> str:
    """Return the name of an entry: size and digest of the file, and how it was read."""
    return f"{size_bytes:x}-{digest}-{variant}"


def may_hold(cache: Path, size_bytes: int, digest: str = "") -> bool:
    """Whether a cache has an entry of a file of this size, whose digest starts like this."""
    start = f"{size_bytes:x}-{digest}"
    try:
        return any(item.name.startswith(start) for item in (cache / ENTRIES).iterdir())
    except OSError:
        return False


def list_folders(cache: Path) -> list[Entry]:
    """Return the entries of a cache, last used first."""
    entries = []
    with suppress(OSError), os.scandir(cache / ENTRIES) as found:
        for item in found:
            if _NAME.fullmatch(item.name):
                with suppress(OSError):
                    used_ns = item.stat(follow_symlinks=False).st_mtime_ns
                    entries.append(Entry(Path(item.path), _size_of(item), used_ns))
    return sorted(entries, key=lambda entry: (-entry.used_ns, entry.folder.name))


def publish(cache: Path, name: str, fill: Callable[[Path], None]) -> None:
    """Make an entry: `fill` writes its files into a folder, which then takes its place at once.

    When another process was faster its entry stays.

    Raises
    ------
    OSError
        The cache cannot be written.
    """
    make_cache(cache)
    entries = cache / ENTRIES
    entries.mkdir(exist_ok=True)
    temporary = entries / f"{_TEMPORARY}{secrets.token_hex(8)}"
    temporary.mkdir()
    try:
        fill(temporary)
        _rename(temporary, entries / name)
        _sync_folder(entries)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it.

    Raises
    ------
    OSError
        It cannot be written.
    """
    with path.open("wb", buffering=0) as stream:
        rest = memoryview(data)
        while rest:
            rest = rest[stream.write(rest) :]
        os.fsync(stream.fileno())


def mark_used(folder: Path) -> None:
    """Say that an entry was used now."""
    with suppress(OSError):
        os.utime(folder)


def remove(folder: Path) -> bool:
    """Remove an entry, out of the sight of others first; whether it is gone by our doing."""
    aside = folder.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
    try:
        folder.rename(aside)
    except OSError:
        return False
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        with suppress(OSError):
            aside.unlink()
    return True


def shrink(cache: Path, limit_bytes: int) -> None:
    """Remove the entries used least recently beyond a size, and what dead processes left."""
    held = 0
    for entry in list_folders(cache):
        is_hopeless = entry.size_bytes > limit_bytes
        held += 0 if is_hopeless else entry.size_bytes
        if is_hopeless or held > limit_bytes:
            remove(entry.folder)
    _remove_temporary(cache, time.time() - _ABANDONED_S)
    forget(cache, _MAX_RECORDS)


def remove_remains(cache: Path) -> None:
    """Remove what is left of a cache without entries; foreign files stay, and the folder then."""
    _remove_temporary(cache, time.time())
    if list_folders(cache):
        return
    forget(cache, keep=0)
    for name in (ENTRIES, INDEX):
        with suppress(OSError):
            (cache / name).rmdir()
    with suppress(OSError):
        unmake_cache(cache)


def _rename(temporary: Path, final: Path) -> None:
    try:
        temporary.rename(final)
    except OSError:
        # Which error says that something is there already differs between systems.
        if not os.path.lexists(final):
            raise


def _remove_temporary(cache: Path, before_s: float) -> None:
    with suppress(OSError):
        for item in (cache / ENTRIES).iterdir():
            if _TEMPORARY_NAME.fullmatch(item.name) and item.lstat().st_mtime <= before_s:
                shutil.rmtree(item, ignore_errors=True)


def _size_of(item: os.DirEntry[str]) -> int:
    if not item.is_dir(follow_symlinks=False):
        return item.stat(follow_symlinks=False).st_size
    with os.scandir(item.path) as files:
        return sum(file.stat(follow_symlinks=False).st_size for file in files)


def _sync_folder(folder: Path) -> None:
    # Not every system lets a folder be opened; the rename is then as lasting as it makes it.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
