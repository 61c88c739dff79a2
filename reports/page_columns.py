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
"""Bytes of the longest varint of 64 bits."""
_MOST: Final = 2**63 - 1


def encoded(values: Column, *, signed: bool = False) -> dict[str, Any]:
    """Return a column of integers, in order, as an object of the data block.

    `signed` integers are written in zigzag: 0, -1, 1, -2 as 0, 1, 2, 3. Raises `ValueError` for a
    value below 0 in a column that is not.
    """
    values = values.astype(np.int64)
    if not signed and len(values) and int(values.min()) < 0:
        raise ValueError("only integers from 0 on can be encoded, unless they are signed")
    whole = ((values << 1) ^ (values >> 63) if signed else values).view(np.uint64)
    data = base64.b64encode(zlib.compress(_varints(whole), _LEVEL))
    return {"encoding": ENCODING, "rows": len(values), "data": data.decode("ascii")}


def decoded(column: dict[str, Any], *, signed: bool = False) -> Column:
    """Return the integers of a column of the data block, `signed` ones from zigzag.

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
    inflate = zlib.decompressobj()
    try:
        packed = base64.b64decode(text, validate=True)
        # What would inflate to more than its rows can take is not inflated.
        data = inflate.decompress(packed, rows * _MOST_BYTES + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise InputError(f"a column is damaged ({error})") from error
    values = _from_varints(np.frombuffer(data, np.uint8))
    if len(values) != rows or not inflate.eof:
        raise InputError(f"a column holds {len(values):,} integers, not {rows:,}")
    if signed:
        return (values >> np.uint64(1)).view(np.int64) ^ -(values & np.uint64(1)).view(np.int64)
    if len(values) and int(values.max()) > _MOST:
        raise InputError("a column is damaged (an integer has more than 63 bits)")
    return values.view(np.int64)


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


def _from_varints(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return the integers of varints.

    Raises
    ------
    InputError
        The last one is cut off, or one does not fit into 64 bits.
    """
    last = np.flatnonzero(data < 0x80)
    if len(data) and (not len(last) or last[-1] != len(data) - 1):
        raise InputError("a column is damaged (its last integer is cut off)")
    first = np.append(0, last[:-1] + 1) if len(last) else last
    size = last - first + 1
    longest = int(size.max(initial=0))
    is_full = size == _MOST_BYTES
    if longest > _MOST_BYTES or (data[last[is_full]] > 1).any():
        raise InputError("a column is damaged (an integer has more than 64 bits)")
    values = np.zeros(len(last), np.uint64)
    for place in range(longest):
        has = size > place
        bits = data[first[has] + place].astype(np.uint64) & np.uint64(0x7F)
        values[has] |= bits << np.uint64(7 * place)
    return values
