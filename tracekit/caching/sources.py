"""Tells by their content which files are the same, without reading them again each time.

A digest costs a second for half a gigabyte. So an index remembers the digest of each path
together with what the file system says about the file. That is only trusted when the file was
at rest while it was read: a file rewritten within the granularity of its time stamps looks
unchanged (git's "racy" files).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

from tracekit.caching.places import INDEX, make_cache
from tracekit.errors import HostError
from tracekit.output import whole_file

SETTLE_NS: Final = 2_000_000_000
"""How long ago a file must have changed last for its time stamps to be trusted."""

MIN_PLAIN_BYTES: Final = 7_000_000
MIN_GZIP_BYTES: Final = 500_000
"""Sizes of files, as stored, below which parsing takes no longer than importing Arrow."""

_GZIP_MAGIC: Final = b"\x1f\x8b"
_DIGEST_BYTES: Final = 32
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_RECORD: Final = re.compile(r"[0-9a-f]{32}\.json|\.[0-9a-f]{32}\.json\.\w+")


@dataclass(frozen=True, slots=True)
class Signature:
    """What the file system says about one state of a file; times in ns.

    `ctime_ns` changes even when somebody sets `mtime_ns` back.
    """

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, status: os.stat_result) -> Signature:
        """Return the signature in the result of a `stat` call."""
        return cls(
            status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev
        )

    def is_settled(self) -> bool:
        """Whether any later change of the file will change its signature."""
        return time.time_ns() - max(self.mtime_ns, self.ctime_ns) > SETTLE_NS


@dataclass(frozen=True, slots=True)
class Digest:
    """The blake2b of a file's bytes in hex; `settled` if its signature stands for it from now."""

    hex: str
    settled: bool


def signature_worth_caching(path: Path) -> Signature | None:
    """Return the signature of a file, null if it is no plain file or too small to be worth it."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size < MIN_GZIP_BYTES:
            return None
        if status.st_size < MIN_PLAIN_BYTES:
            with path.open("rb", buffering=0) as stream:
                if stream.read(len(_GZIP_MAGIC)) != _GZIP_MAGIC:
                    return None
    except (OSError, ValueError):
        return None
    return Signature.of(status)


def signature_now(path: Path) -> Signature | None:
    """Return the present signature of a file, null if it is gone."""
    try:
        return Signature.of(path.stat())
    except OSError:
        return None


def digest_of(path: Path, signature: Signature) -> Digest | None:
    """Return the digest of a file's content, null if it is not, or no longer, what it was."""
    settled = signature.is_settled()
    try:
        with path.open("rb", buffering=0) as stream:
            if Signature.of(os.fstat(stream.fileno())) != signature:
                return None
            content = hashlib.file_digest(stream, _new_hash)
            if Signature.of(os.fstat(stream.fileno())) != signature:
                return None
    except OSError:
        return None
    return Digest(content.hexdigest(), settled)


def recall(cache: Path, path: Path, signature: Signature | None = None) -> str | None:
    """Return the digest that the index has for a path, whatever its state without a signature."""
    try:
        record = json.loads(_record(cache, path).read_bytes())
        digest, known = record["digest"], record["signature"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(digest, str) or _DIGEST.fullmatch(digest) is None:
        return None
    return digest if signature is None or known == list(astuple(signature)) else None


def recall_any(caches: Iterable[Path], path: Path, signature: Signature) -> str | None:
    """Return the digest that the first of these caches has for a path in this state."""
    known = (recall(cache, path, signature) for cache in caches)
    return next((digest for digest in known if digest is not None), None)


def remember(cache: Path, path: Path, signature: Signature, digest: Digest) -> bool:
    """Put the digest of a path into the index, if its signature can be trusted.

    Return whether that is done with: false when the cache cannot be written.
    """
    if not digest.settled:
        return True
    record = _record(cache, path)
    text = json.dumps({"digest": digest.hex, "signature": astuple(signature)})
    try:
        make_cache(cache)
        record.parent.mkdir(exist_ok=True)
        with whole_file(record, force=True) as temporary:
            temporary.write_text(text, encoding="ascii")
    except (HostError, OSError):
        return False
    return True


def forget(cache: Path, keep: int) -> None:
    """Remove all but the newest records of the index, and what dead processes left of others."""
    with suppress(OSError):
        records = [item for item in (cache / INDEX).iterdir() if _RECORD.fullmatch(item.name)]
        records.sort(key=lambda item: item.lstat().st_mtime_ns, reverse=True)
        for record in records[keep:]:
            record.unlink()


def _record(cache: Path, path: Path) -> Path:
    name = hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()
    return cache / INDEX / f"{name}.json"


def _new_hash() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=_DIGEST_BYTES)
