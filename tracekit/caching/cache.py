"""The cache of loaded traces: what a file held, by its content and how it was read."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import tracekit
from tracekit.caching import entries, places, sources
from tracekit.caching.pending import wait_for_writers
from tracekit.caching.places import RUN_CACHE

if TYPE_CHECKING:
    from tracekit.trace import Trace

SCHEMA: Final = 1
"""Number of the entries' form; entries of another number are never read."""

_log = logging.getLogger(__name__)

Later: TypeAlias = Callable[[Callable[[], None]], None]
"""Takes work, and does it at once or later."""


@dataclass(frozen=True, slots=True)
class CachedTrace:
    """One entry: where it is, the file it came from, size in bytes, times in absolute ns.

    What a damaged entry cannot tell is null.
    """

    folder: Path
    source: Path | None
    size_bytes: int
    events: int | None
    created_ns: int | None
    used_ns: int


@dataclass(frozen=True, slots=True)
class Cleared:
    """What was removed: entries, and their size in bytes."""

    entries: int
    size_bytes: int


def cached_load(
    path: str, options_key: str, load: Callable[[], Trace], later: Later | None = None
) -> Trace:
    """Return the trace of a file from the cache, else from `load`, and keep it for the next time.

    `later` is given the work of keeping it, to be done while the trace is used already.
    `options_key` stands for everything but the content that decides what `load` returns. URLs,
    small files and what is no file are not cached. Whatever fails about the cache itself, the
    trace is returned; what `load` raises is raised.

    Raises
    ------
    UsageError
        `TRACEKIT_CACHE_SIZE` is no size.
    """
    limit_bytes = places.size_limit()
    if limit_bytes == 0 or "://" in path:
        return load()
    file = Path(path).absolute()
    signature = sources.signature_worth_caching(file)
    if signature is None:
        return load()
    request = _Request(file, signature, _variant(options_key))
    wait_for_writers()
    found = request.find(path)
    if found is not None:
        return found
    trace = load()
    if later is None:
        request.keep(trace, limit_bytes)
    else:
        later(lambda: request.keep(trace, limit_bytes))
    return trace


def is_remembered(path: str) -> bool:
    """Whether a file that has not changed was kept, so that `cached_load` will be quick.

    Raises
    ------
    UsageError
        `TRACEKIT_CACHE_SIZE` is no size.
    """
    file = Path(path).absolute()
    signature = sources.signature_worth_caching(file) if places.size_limit() else None
    if signature is None:
        return False
    caches = places.caches_for(file)
    digest = sources.recall_any(caches, file, signature)
    return digest is not None and any(
        entries.may_hold(cache, signature.size_bytes, digest) for cache in caches
    )


def list_entries(paths: Iterable[str] = ()) -> list[CachedTrace]:
    """Return the entries for these traces and folders, last used first.

    Without paths: those in the user's cache folder. A folder stands for every trace under it, and
    for the caches of the run folders under it.
    """
    wait_for_writers()
    found = [_describe(entry) for entry in _select(paths)]
    return sorted(found, key=lambda entry: (-entry.used_ns, str(entry.folder)))


def clear(paths: Iterable[str] = ()) -> Cleared:
    """Remove the entries that `list_entries` gives for these paths; traces are never touched."""
    paths = tuple(paths)
    wait_for_writers()
    removed = [entry for entry in _select(paths) if entries.remove(entry.folder)]
    for found in _caches(paths):
        entries.remove_remains(found)
    return Cleared(len(removed), sum(entry.size_bytes for entry in removed))


class _Request:
    """One file to look up, and to keep when it was not found."""

    def __init__(self, file: Path, signature: sources.Signature, variant: str) -> None:
        self._file = file
        self._signature = signature
        self._variant = variant
        self._caches = places.caches_for(file)
        self._was_settled = signature.is_settled()
        self._digest: sources.Digest | None = None

    def find(self, path: str) -> Trace | None:
        size = self._signature.size_bytes
        remembered = sources.recall_any(self._caches, self._file, self._signature)
        if remembered is not None:
            self._digest = sources.Digest(remembered, settled=True)
        elif not self._was_settled or any(entries.may_hold(c, size) for c in self._caches):
            # Otherwise the content is of use only afterwards, and a file that cannot be loaded is
            # not read twice.
            self._digest = sources.digest_of(self._file, self._signature)
        if self._digest is None:
            return None
        for found in self._caches:
            trace = self._read(found / places.ENTRIES / self._name(), path)
            if trace is not None:
                if remembered is None:
                    self._remember()
                return trace
        return None

    def keep(self, trace: Trace, limit_bytes: int) -> None:
        """Store what was loaded, unless the file may have changed meanwhile."""
        try:
            if self._is_sure_of_content():
                self._store(trace, limit_bytes)
            else:
                _log.debug("%s: changed while it was read, not cached", self._file)
        except Exception:
            # A cache must not fail an analysis, whatever a trace holds.
            _log.debug("%s: cannot be cached", self._file, exc_info=True)

    def _store(self, trace: Trace, limit_bytes: int) -> None:
        """Store in the first cache that can be written."""
        for found in self._caches:
            try:
                entries.publish(found, self._name(), lambda folder: self._write(folder, trace))
            except OSError as error:
                _log.debug("%s: cannot be written: %s", found, error)
            else:
                self._remember()
                entries.shrink(found, limit_bytes)
                return

    def _is_sure_of_content(self) -> bool:
        before = self._digest
        if before is None or not self._was_settled:
            self._digest = sources.digest_of(self._file, self._signature)
        if self._digest is None or sources.signature_now(self._file) != self._signature:
            return False
        return before is None or before.hex == self._digest.hex

    def _read(self, folder: Path, path: str) -> Trace | None:
        if not os.path.lexists(folder):
            return None
        from tracekit.caching.tables import read_trace

        try:
            trace = read_trace(folder, path, self._signature.size_bytes)
        except Exception:
            # Whatever a damaged or foreign entry brings about, it is not there for us.
            _log.debug("%s: cannot be used, removed", folder, exc_info=True)
            entries.remove(folder)
            return None
        entries.mark_used(folder)
        return trace

    def _write(self, folder: Path, trace: Trace) -> None:
        from tracekit.caching.tables import write_trace

        write_trace(folder, trace, self._file)

    def _remember(self) -> None:
        """Put the digest into the first index that can be written."""
        if self._digest is not None:
            for found in self._caches:
                if sources.remember(found, self._file, self._signature, self._digest):
                    return

    def _name(self) -> str:
        digest = self._digest.hex if self._digest is not None else ""
        return entries.entry_name(self._signature.size_bytes, digest, self._variant)


def _variant(options_key: str) -> str:
    """Return a short text for how files are read: by which code, with which options."""
    parts = (tracekit.__version__, str(SCHEMA), _code_digest(), options_key)
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


@functools.cache
def _code_digest() -> str:
    """Return the digest of the code that loads: in a checkout it changes without a new version."""
    package = Path(tracekit.__file__).parent
    code = hashlib.blake2b(digest_size=8)
    for file in sorted([package / "trace.py", *(package / "loading").glob("*.py")]):
        try:
            code.update(file.read_bytes())
        except OSError:
            continue
    return code.hexdigest()


def _select(paths: Iterable[str]) -> Iterator[entries.Entry]:
    paths = tuple(paths)
    wanted = [Path(path).absolute() for path in paths]
    for found in _caches(paths):
        is_run = found.name == RUN_CACHE
        whole = not paths or any(
            _is_within(found, path) if is_run else found == path for path in wanted
        )
        digests = {sources.recall(found, path) for path in wanted}
        for entry in entries.list_folders(found):
            if whole or entry.digest in digests:
                yield entry
                continue
            source = _describe(entry).source
            if source is not None and any(_is_within(source, path) for path in wanted):
                yield entry


def _caches(paths: tuple[str, ...]) -> list[Path]:
    """Return the caches that may hold something for these paths, the user's own included."""
    found: dict[Path, None] = {}
    for path in (Path(path).absolute() for path in paths):
        if path.name == RUN_CACHE:
            if places.is_inside_its_run(path):
                found[path] = None
        elif path.is_dir():
            found.update(dict.fromkeys(places.run_caches_below(path)))
        elif (cache := places.run_cache(path)) is not None:
            found[cache] = None
    if (own := places.user_cache()) is not None:
        found[own] = None
    return [path for path in found if path.is_dir()]


def _describe(entry: entries.Entry) -> CachedTrace:
    from tracekit.caching.tables import read_about

    try:
        about = read_about(entry.folder)
    except (OSError, ValueError, RecursionError):
        return CachedTrace(entry.folder, None, entry.size_bytes, None, None, entry.used_ns)
    source = Path(about.source)
    cache = entry.folder.parent.parent
    if cache.name == RUN_CACHE:
        # A run folder may have moved since, its cache with it.
        source = cache.parent / source.name
    return CachedTrace(
        entry.folder, source, entry.size_bytes, about.events, about.created_ns, entry.used_ns
    )


def _is_within(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents
