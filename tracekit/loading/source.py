"""Opens an input and yields its decompressed bytes in bounded chunks."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Final, cast

from isal import isal_zlib

from tracekit.errors import InputError
from tracekit.loading.limits import LoadLimits
from tracekit.loading.refuse import refuse_unsupported
from tracekit.loading.rescue import rest_of_member

GZIP_MAGIC: Final = b"\x1f\x8b"
"""First two bytes of a gzip member (RFC 1952, section 2.3.1)."""

# The library's stubs declare the exception class as an instance.
_DAMAGED: Final = cast("type[Exception]", isal_zlib.error)
_GZIP_WBITS: Final = 31
_READ_BYTES: Final = 1 << 18


class ByteSource:
    """The decompressed bytes of one file, gzip recognised by content and not by name.

    Take its `chunks` once. Afterwards `size_bytes` is what was yielded, `damage` says in a
    sentence why the bytes end early (null when they do not).

    Raises
    ------
    InputError
        The file is missing, is a folder, cannot be read or is empty.
    UnsupportedInputError
        The first bytes are those of a format that tracekit does not read.
    LimitExceededError
        There is more than the limits allow.
    """

    def __init__(self, path: str, chunk_bytes: int, limits: LoadLimits) -> None:
        self.path = path
        self.size_bytes = 0
        self.damage: str | None = None
        self._chunk_bytes = chunk_bytes
        self._limits = limits
        self._stored_bytes = 0
        self._stream: IO[bytes] | None = None
        self._is_gzip = True

    def chunks(self) -> Generator[bytes]:
        """Yield chunks of at most `chunk_bytes` bytes."""
        with closing(_open(self.path)) as stream:
            self._stream = stream
            first = self._read(stream)
            if not first:
                raise InputError(f"{self.path}: is empty (0 bytes); record the trace again")
            refuse_unsupported(self.path, first)
            is_gzip = self._is_gzip = first.startswith(GZIP_MAGIC)
            chunks = self._gunzip(stream, first) if is_gzip else self._plain(stream, first)
            for index, chunk in enumerate(chunks):
                if index == 0 and is_gzip:
                    refuse_unsupported(self.path, chunk)
                self.size_bytes += len(chunk)
                self._limits.check_size(self.size_bytes, self._stored_bytes if is_gzip else None)
                yield chunk

    def skip_to(self, offset: int) -> bool:
        """Go on at an offset of the decompressed bytes; false where only reading leads there."""
        if self._is_gzip or self._stream is None or not self._stream.seekable():
            return False
        self._stream.seek(offset)
        return True

    def _plain(self, stream: IO[bytes], first: bytes) -> Iterator[bytes]:
        chunk = first
        while chunk:
            yield chunk
            chunk = self._read(stream)

    def _gunzip(self, stream: IO[bytes], first: bytes) -> Iterator[bytes]:
        inflate = isal_zlib.decompressobj(_GZIP_WBITS)
        pending = first
        member_start = member_bytes = 0
        while True:
            try:
                data = inflate.decompress(pending, self._chunk_bytes)
            except _DAMAGED as error:
                self.damage = f"its gzip data is damaged ({str(error).strip()})"
                if stream.seekable():
                    stream.seek(member_start)
                    yield from rest_of_member(stream, member_bytes, self._chunk_bytes)
                return
            if data:
                member_bytes += len(data)
                yield data
            pending = inflate.unconsumed_tail
            if inflate.eof:
                pending = (inflate.unused_data or self._read(stream)).lstrip(b"\0")
                if not pending:
                    return
                if not pending.startswith(GZIP_MAGIC[: len(pending)]):
                    self.damage = "bytes that are not gzip follow its gzip data"
                    return
                inflate = isal_zlib.decompressobj(_GZIP_WBITS)
                member_start, member_bytes = self._stored_bytes - len(pending), 0
            elif not pending and len(data) < self._chunk_bytes:
                pending = self._read(stream)
                if not pending:
                    self.damage = "its gzip data is cut short"
                    return

    def _read(self, stream: IO[bytes]) -> bytes:
        try:
            data = stream.read(min(self._chunk_bytes, _READ_BYTES))
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({_os_reason(error)})") from error
        self._stored_bytes += len(data)
        return data


def _open(path: str) -> IO[bytes]:
    try:
        if "://" in path:
            return _open_url(path)
        return Path(path).open("rb", buffering=0)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the path") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder, not a trace file") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be opened ({_os_reason(error)})") from error


def _open_url(path: str) -> IO[bytes]:
    import fsspec

    try:
        opened: Any = fsspec.open(path, "rb", compression=None).open()
    except ImportError as error:
        raise InputError(f"{path}: this kind of URL needs another package ({error})") from error
    return cast("IO[bytes]", opened)


def _os_reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
