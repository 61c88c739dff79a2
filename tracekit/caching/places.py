"""Where caches are, and how large each of them may grow."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tracekit.errors import UsageError
from tracekit.runfolder import EAGER_PASS, LIGHT_PASS, MANIFEST, RICH_PASS, TIMING
from tracekit.units import parse_size

RUN_CACHE: Final = ".tracekit-cache"
"""Name of the cache inside a run folder."""

ENTRIES: Final = "entries"
"""Name of the folder in a cache that holds a folder for each cached trace."""

INDEX: Final = "index"
"""Name of the folder in a cache that holds a small file for each path."""

FOLDER_VARIABLE: Final = "TRACEKIT_CACHE"
SIZE_VARIABLE: Final = "TRACEKIT_CACHE_SIZE"
DEFAULT_SIZE_BYTES: Final = 5 * 10**9

_RUN_FILES: Final = (MANIFEST, TIMING, LIGHT_PASS, RICH_PASS, EAGER_PASS)

# What backup and archive programs look for (https://bford.info/cachedir/).
_TAG_NAME: Final = "CACHEDIR.TAG"
_TAG: Final = "Signature: 8a477f597d28d172789f06886806bc55\n# The cache of tracekit.\n"
_MARKS: Final = {_TAG_NAME: _TAG, ".gitignore": "*\n"}


def size_limit() -> int:
    """Return the most bytes that one cache may hold, 0 when caching is turned off.

    Raises
    ------
    UsageError
        `TRACEKIT_CACHE_SIZE` is no size.
    """
    text = os.environ.get(SIZE_VARIABLE, "").strip()
    if not text:
        return DEFAULT_SIZE_BYTES
    size_bytes = parse_size(text)
    if size_bytes is None:
        raise UsageError(f"{SIZE_VARIABLE}={text}: is no size; give one such as 500MB, 2GB or 0")
    return size_bytes


def user_cache() -> Path | None:
    """Return the user's own cache folder, which need not exist; null without a home."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).absolute()
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    if Path(xdg).is_absolute():
        return Path(xdg) / "tracekit"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    caches = home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache"
    return caches / "tracekit"


def run_cache(file: Path) -> Path | None:
    """Return the cache of the run folder that a file stands in, null when it stands in none."""
    folder = file.parent
    if not any((folder / name).exists() for name in _RUN_FILES):
        return None
    cache = folder / RUN_CACHE
    return cache if is_inside_its_run(cache) else None


def is_inside_its_run(cache: Path) -> bool:
    """Whether a run folder's cache is really there.

    A run folder may come from anywhere, and must not make us write or remove elsewhere.
    """
    return not any(path.is_symlink() for path in (cache, cache / ENTRIES, cache / INDEX))


def caches_for(file: Path) -> tuple[Path, ...]:
    """Return the caches that may hold a file, the one to write to first."""
    return tuple(cache for cache in (run_cache(file), user_cache()) if cache is not None)


def run_caches_below(folder: Path) -> Iterator[Path]:
    """Yield the caches of all run folders in a folder, itself included."""
    for parent, names, _ in os.walk(folder):
        if RUN_CACHE in names:
            names.remove(RUN_CACHE)
            cache = Path(parent, RUN_CACHE)
            if is_inside_its_run(cache):
                yield cache


def make_cache(cache: Path) -> None:
    """Create a cache folder that does not exist, marked as one.

    Raises
    ------
    OSError
        It cannot be created.
    """
    cache.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Traces of one user are not for others to read; those in a run folder are like the run.
        cache.mkdir(mode=0o777 if cache.name == RUN_CACHE else 0o700)
    except FileExistsError:
        return
    for name, text in _MARKS.items():
        (cache / name).write_text(text, encoding="ascii")


def unmake_cache(cache: Path) -> None:
    """Remove a cache folder that holds nothing but its marks.

    Raises
    ------
    OSError
        It holds something else, or cannot be removed.
    """
    if all(entry.name in _MARKS for entry in cache.iterdir()) and (cache / _TAG_NAME).exists():
        for name in _MARKS:
            (cache / name).unlink(missing_ok=True)
        cache.rmdir()
