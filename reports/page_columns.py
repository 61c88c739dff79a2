"""Columns of integers as text: varints, deflated, in base64.

A million kernels as JSON numbers would take 40 MB and a second to parse; as LEB128 varints of the
differences between neighbours, deflated, they take a few, and any browser inflates them with
`DecompressionStream("deflate")`.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tracekit.errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

    Column = npt.NDArray[np.int64]

ENCODING: Final = "leb128+deflate+base64"
"""Unsigned LEB128 (7 bits a byte, lowest first), in zlib's format, in base64."""
_LEVEL: Final = 6
_MOST_BYTES: Final = 10
_MOST_EXPANSION: Final = 1100
"""Deflate expands to at most 1,032 times its size."""


def encoded(values: Column) -> dict[str, Any]:
    """Return a column of integers from 0 on, in order, as an object of the data block.

    Raises `ValueError` for a value below 0.
    """
    if len(values) and int(values.min()) < 0:
        raise ValueError("only integers from 0 on can be encoded")
    data = base64.b64encode(zlib.compress(_varints(values.astype(np.uint64)), _LEVEL))
    return {"encoding": ENCODING, "rows": len(values), "data": data.decode("ascii")}


def zigzag(values: Column) -> Column:
    """Return integers from 0 on in place of signed ones: 0, -1, 1, -2 become 0, 1, 2, 3."""
    return (values << 1) ^ (values >> 63)


def unzigzag(values: Column) -> Column:
    """Return the signed integers that `zigzag` was given."""
    return (values >> 1) ^ -(values & 1)


def decoded(column: dict[str, Any]) -> Column:
    """Return the integers of a column of the data block.

    Raises
    ------
    InputError
        The column is damaged, or encoded otherwise.
    """
    if column.get("encoding") != ENCODING:
        raise InputError(f"a column is encoded as {column.get('encoding')!r}, not {ENCODING}")
    rows, text = column.get("rows"), column.get("data")
    if not isinstance(rows, int) or rows < 0 or not isinstance(text, str):
        raise InputError("a column lacks its rows or its data")
    try:
        packed = base64.b64decode(text, validate=True)
        inflate = zlib.decompressobj()
        data = inflate.decompress(packed, rows * _MOST_BYTES + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise InputError(f"a column is damaged ({error})") from error
    values = _from_varints(np.frombuffer(data, np.uint8))
    if len(values) != rows or not (inflate.eof or not rows):
        raise InputError(f"a column holds {len(values):,} integers, not {rows:,}")
    return values


def _varints(values: npt.NDArray[np.uint64]) -> bytes:
    """Return the varints of unsigned integers one after another."""
    size = np.ones(len(values), np.int64)
    for bits in range(7, 64, 7):
        more = values >= np.uint64(1 << bits)
        if not more.any():
            break
        size += more
    last = np.cumsum(size) - 1
    out = np.zeros(int(size.sum()), np.uint8)
    rest, at, left = values, last - size + 1, size
    while len(rest):
        goes_on = left > 1
        out[at] = (rest & np.uint64(0x7F)).astype(np.uint8) | (goes_on.astype(np.uint8) << 7)
        rest, at, left = rest[goes_on] >> np.uint64(7), at[goes_on] + 1, left[goes_on] - 1
    return out.tobytes()


def _from_varints(data: npt.NDArray[np.uint8]) -> Column:
    """Return the integers of varints.

    Raises
    ------
    InputError
        The last one is cut off, or one does not fit into 63 bits.
    """
    last = np.flatnonzero(data < 0x80)
    if len(data) and (not len(last) or last[-1] != len(data) - 1):
        raise InputError("a column is damaged (its last integer is cut off)")
    first = np.append(0, last[:-1] + 1) if len(last) else last
    size = last - first + 1
    if len(size) and int(size.max()) > _MOST_BYTES - 1:
        raise InputError("a column is damaged (an integer has more than 63 bits)")
    values = np.zeros(len(last), np.int64)
    for place in range(int(size.max()) if len(size) else 0):
        has = size > place
        values[has] |= (data[first[has] + place] & np.int64(0x7F)).astype(np.int64) << (7 * place)
    return values
