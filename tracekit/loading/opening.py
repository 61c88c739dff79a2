"""Finds the event list of a file."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tracekit.errors import TraceFormatError
from tracekit.loading import envelope
from tracekit.loading.envelope import Opening
from tracekit.loading.limits import LoadLimits
from tracekit.loading.reader import SPACE
from tracekit.loading.source import ByteSource


def open_events(
    source: ByteSource, chunks: Iterator[bytes], limits: LoadLimits
) -> tuple[Opening, bytes]:
    """Read up to the event list; return where it starts, and what was read of it.

    Raises
    ------
    TraceFormatError
        The file holds no event list.
    LimitExceededError
        There is none within the first bytes.
    """
    head = b""
    for chunk in chunks:
        head += chunk
        opening = envelope.find_opening(head)
        if opening is not None:
            rest = head[opening.offset :]
            while not rest.strip(SPACE) and (more := next(chunks, b"")):
                rest += more
            if rest.strip(SPACE) and rest.lstrip(SPACE)[:1] not in (b"{", b"]"):
                raise TraceFormatError(
                    f"{source.path}: is JSON but no trace: its event list does not hold objects"
                )
            return opening, rest
        limits.check_header(len(head))
    raise TraceFormatError(f"{source.path}: {_why_no_events(head, source.damage)}")


def _why_no_events(head: bytes, damage: str | None) -> str:
    """Say why no event list was found in the first bytes of a file."""
    if not head and damage:
        return f"holds nothing that can be read: {damage}; copy the file again"
    try:
        value = msgspec.json.decode(head)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        if head.lstrip(SPACE + b"\xef\xbb\xbf").startswith(b"{"):
            cause = damage or "it ends, or is broken, before its event list"
            return f"is no complete JSON object: {cause}; record or copy the trace again"
        return "is not JSON; give a trace that torch.profiler exported"
    kind = "object without `traceEvents`" if isinstance(value, dict) else type(value).__name__
    return f"is JSON but no trace ({kind}); give a trace that torch.profiler exported"
