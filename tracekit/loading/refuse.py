"""Recognises inputs that tracekit does not read, and says by name what they are and what to do."""

from __future__ import annotations

import re
from typing import Final

from tracekit.errors import InputError, UnsupportedInputError

_MAGIC: Final[tuple[tuple[bytes, str], ...]] = (
    (
        b"SQLite format 3\0",
        "is an SQLite database, such as Nsight Systems exports; tracekit reads torch.profiler "
        "traces: record one with torch.profiler and export_chrome_trace",
    ),
    (
        b"PAR1",
        "is a Parquet file, not a trace; give the trace that it was made from",
    ),
    (
        b"PK\x03\x04",
        "is a zip archive; unpack it and give the trace inside",
    ),
    (
        b"\x28\xb5\x2f\xfd",
        "is zstd-compressed; unpack it with `zstd -d` and give the JSON inside",
    ),
    (
        b"BZh",
        "is bzip2-compressed; unpack it with `bunzip2` and give the JSON inside",
    ),
    (
        b"\xfd7zXZ\0",
        "is xz-compressed; unpack it with `unxz` and give the JSON inside",
    ),
    (
        b"NVTXT",
        "is an Nsight file; tracekit reads torch.profiler traces in JSON",
    ),
)
"""File signatures and what to say of them."""

_EVENT_FILE = re.compile(rb"brain\.Event:\d")
"""File version record at the start of every TensorBoard event file (tensorflow, `event.proto`)."""

_XPLANE = re.compile(rb"/(?:host|device):(?:CPU|GPU|TPU|metadata)|Task Environment")

_TEXT_CONTROL: Final = bytes(set(range(32)) - {9, 10, 12, 13})


def refuse_unsupported(path: str, first_bytes: bytes) -> None:
    """Raise for an input whose first bytes belong to another format.

    Raises
    ------
    UnsupportedInputError
        The bytes are those of a known format that is out of scope.
    InputError
        The bytes are not text at all.
    """
    for magic, explanation in _MAGIC:
        if first_bytes.startswith(magic):
            raise UnsupportedInputError(f"{path}: {explanation}")
    if _EVENT_FILE.search(first_bytes[:64]):
        raise UnsupportedInputError(
            f"{path}: is a TensorBoard event file; tracekit reads the *.pt.trace.json files that "
            "torch.profiler writes beside it"
        )
    if first_bytes.startswith(b"\x1f\x8b") or _looks_like_json(first_bytes):
        return
    is_binary = first_bytes.translate(None, _TEXT_CONTROL) != first_bytes
    if is_binary and _XPLANE.search(first_bytes[:4096]):
        raise UnsupportedInputError(
            f"{path}: is an XPlane protobuf of JAX/XLA; tracekit reads torch.profiler traces"
        )
    if b"\0" in first_bytes[:4096]:
        raise InputError(
            f"{path}: is a binary file, not JSON; give a trace that torch.profiler exported"
        )


def refuse_jax(path: str) -> UnsupportedInputError:
    """Return the error for a Chrome trace that JAX or XLA wrote."""
    return UnsupportedInputError(
        f"{path}: is a JAX/XLA trace; tracekit reads torch.profiler (Kineto) traces only"
    )


def refuse_xpu(path: str) -> UnsupportedInputError:
    """Return the error for a Kineto trace of an Intel XPU."""
    return UnsupportedInputError(
        f"{path}: is a trace of an Intel XPU; tracekit reads NVIDIA and AMD GPUs and CPU-only runs"
    )


def _looks_like_json(first_bytes: bytes) -> bool:
    start = first_bytes[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    return start[:1] in (b"{", b"[")
