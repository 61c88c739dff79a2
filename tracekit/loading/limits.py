"""What an input may cost: files come from anywhere, and some are made to hurt."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.errors import LimitExceededError

_RATIO_AFTER_BYTES: Final = 64_000_000
_DEFAULT_MEMORY_BYTES: Final = 8_000_000_000
_TEXTS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_STEP: Final = np.zeros(256, np.int64)
_STEP[list(b"[{")] = 1
_STEP[list(b"]}")] = -1


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """Bounds on one input; crossing one raises `LimitExceededError`, which names its option.

    `max_json_bytes` bounds the decompressed size; `max_ratio` decompressed over compressed bytes,
    from 64 MB on; `max_event_bytes` one event; `max_text_chars` one text (a name, a list of
    shapes); `max_nesting` how deep objects and lists stand in each other, null for what the
    parser can take (some 1,000); `max_events` the elements of the event list;
    `max_memory_bytes` the columns and texts, null for half of the machine's memory.
    """

    max_json_bytes: int = 200_000_000_000
    max_ratio: float = 200.0
    max_event_bytes: int = 16_000_000
    max_text_chars: int = 4_000_000
    max_nesting: int | None = None
    max_events: int = 1_000_000_000
    max_memory_bytes: int | None = None

    def check_size(self, json_bytes: int, stored_bytes: int | None) -> None:
        """Check how much was read so far; `stored_bytes` is null for files without compression.

        Raises
        ------
        LimitExceededError
            The file is larger than it may be, or expands more than it may.
        """
        if json_bytes > self.max_json_bytes:
            raise LimitExceededError(
                f"is larger than {self.max_json_bytes:,} bytes of JSON; raise --max-size if you "
                "trust it"
            )
        expands = stored_bytes is not None and json_bytes > self.max_ratio * stored_bytes
        if expands and json_bytes > _RATIO_AFTER_BYTES:
            raise LimitExceededError(
                f"expands to more than {self.max_ratio:g} times its size, as no real trace does; "
                "raise --max-ratio if you trust it"
            )

    def check_event(self, event_bytes: int) -> None:
        """Check the length of a stretch in which no event ends.

        Raises
        ------
        LimitExceededError
            It is longer than an event may be.
        """
        if event_bytes > self.max_event_bytes:
            raise LimitExceededError(
                f"has an event longer than {self.max_event_bytes:,} bytes; raise --max-event-size "
                "if you trust it"
            )

    def check_header(self, head_bytes: int) -> None:
        """Check how much stands before the event list.

        Raises
        ------
        LimitExceededError
            It is longer than an event may be.
        """
        if head_bytes > self.max_event_bytes:
            raise LimitExceededError(
                f"has no event list within its first {self.max_event_bytes:,} bytes; give a trace "
                "that torch.profiler exported, or raise --max-event-size"
            )

    def check_text(self, text: str) -> None:
        """Check the length of one text.

        Raises
        ------
        LimitExceededError
            It is longer than a text may be.
        """
        if len(text) > self.max_text_chars:
            raise LimitExceededError(
                f"holds a text longer than {self.max_text_chars:,} characters; raise "
                "--max-text-size if you trust it"
            )

    def check_columns(self, events: int, nbytes: int) -> None:
        """Check the events taken in so far, and the bytes of their columns and texts.

        Raises
        ------
        LimitExceededError
            There are more events, or they take more memory, than allowed.
        """
        if events > self.max_events:
            raise LimitExceededError(
                f"holds more than {self.max_events:,} events; raise --max-events if you trust it"
            )
        allowed = self.max_memory_bytes or default_memory_bytes()
        if nbytes > allowed:
            raise LimitExceededError(
                f"needs more than {allowed:,} bytes of memory; raise --max-memory, or use a "
                "machine with more"
            )

    def check_nesting(self, events_text: bytes) -> None:
        """Check how deep a stretch of events is nested; costs a pass over it, so only on demand.

        Raises
        ------
        LimitExceededError
            Objects and lists stand deeper in each other than allowed.
        """
        if self.max_nesting is None:
            return
        bare = np.frombuffer(_TEXTS.sub(b"", events_text), np.uint8)
        if len(bare) and int(np.cumsum(_STEP[bare]).max()) > self.max_nesting:
            raise self.nesting_error()

    def nesting_error(self) -> LimitExceededError:
        """Return the error for a trace that is nested too deeply."""
        allowed = "the parser can take" if self.max_nesting is None else f"{self.max_nesting:,}"
        return LimitExceededError(
            f"is nested deeper than {allowed}, as no real trace is (--max-nesting)"
        )


def default_memory_bytes() -> int:
    """Return half of the machine's memory in bytes, or 8 GB where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return _DEFAULT_MEMORY_BYTES
