"""Reads what a damaged gzip member still gives, beyond where the fast reader stopped."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import IO, Final

_RAW_DEFLATE: Final = -zlib.MAX_WBITS
_HEADER_BYTES: Final = 10
_HAS_CHECKSUM, _HAS_EXTRA, _HAS_NAME, _HAS_COMMENT = 2, 4, 8, 16
"""Flags of a gzip header (RFC 1952, section 2.3.1)."""


def rest_of_member(stream: IO[bytes], known_bytes: int, chunk_bytes: int) -> Iterator[bytes]:
    """Yield the decompressed bytes of the gzip member at which a stream stands.

    The first `known_bytes` are left out. The member's checksum and length are not looked at; it
    ends where its data ends or makes no sense.
    """
    if not _skip_header(stream):
        return
    inflate = zlib.decompressobj(_RAW_DEFLATE)
    pending = stream.read(chunk_bytes)
    while pending and not inflate.eof:
        try:
            data = inflate.decompress(pending, chunk_bytes)
        except zlib.error:
            return
        if len(data) > known_bytes:
            yield data[known_bytes:]
        known_bytes = max(0, known_bytes - len(data))
        pending = inflate.unconsumed_tail or stream.read(chunk_bytes)


def _skip_header(stream: IO[bytes]) -> bool:
    header = stream.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        return False
    flags = header[3]
    if flags & _HAS_EXTRA:
        stream.read(int.from_bytes(stream.read(2), "little"))
    for flag in (_HAS_NAME, _HAS_COMMENT):
        while flags & flag and stream.read(1) not in (b"\0", b""):
            pass
    if flags & _HAS_CHECKSUM:
        stream.read(2)
    return True
