"""Finds the event list of a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

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
        scanned = len(head)
        head += chunk
        opening = envelope.find_opening(head, scanned)
        if opening is not None:
            rest, dropped = _first_text(head[opening.offset :], chunks, limits)
            opening = replace(opening, offset=opening.offset + dropped)
            if rest[:1] not in (b"", b"{", b"]"):
                raise TraceFormatError(
                    f"{source.path}: is JSON but no trace: its event list does not hold objects"
                )
            return opening, rest
        limits.check_header(len(head))
    raise TraceFormatError(f"{source.path}: {_why_no_events(head, source.damage)}")


def _first_text(rest: bytes, chunks: Iterator[bytes], limits: LoadLimits) -> tuple[bytes, int]:
    """Return what stands after white space, and how many bytes of that there were."""
    dropped = 0
    while True:
        text = rest.lstrip(SPACE)
        dropped += len(rest) - len(text)
        limits.check_event(dropped)
        if text or not (rest := next(chunks, b"")):
            return text, dropped


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
