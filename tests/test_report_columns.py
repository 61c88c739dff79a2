"""Columns of integers as text: exact, and read back by other means than ours."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.errors import InputError
from tracekit.reports.page_columns import ENCODING, decoded, encoded

whole = st.one_of(st.integers(0, 300), st.integers(0, 2**63 - 1))
around_steps = [0, 1, *(2**bits + more for bits in range(7, 63, 7) for more in (-1, 0, 1))]


def by_hand(column: dict[str, Any]) -> list[int]:
    """LEB128 as the DWARF standard has it, byte by byte."""
    values, value, shift = [], 0, 0
    for byte in zlib.decompress(base64.b64decode(column["data"])):
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            values.append(value)
            value, shift = 0, 0
    assert shift == 0
    return values


def column_of(data: bytes, rows: int) -> dict[str, Any]:
    packed = base64.b64encode(zlib.compress(data)).decode()
    return {"encoding": ENCODING, "rows": rows, "data": packed}


@given(st.lists(whole))
def test_columns_come_back_as_they_were(values: list[int]) -> None:
    column = encoded(np.array(values, np.int64))
    assert column["rows"] == len(values)
    assert by_hand(column) == values
    assert decoded(column).tolist() == values


def test_every_length_of_a_varint_is_right() -> None:
    values = [*around_steps, 2**63 - 1]
    assert by_hand(encoded(np.array(values, np.int64))) == values
    assert decoded(encoded(np.array(values, np.int64))).tolist() == values


@given(st.lists(st.one_of(st.integers(-200, 200), st.integers(-(2**63), 2**63 - 1))))
def test_signed_columns_come_back(values: list[int]) -> None:
    column = encoded(np.array(values, np.int64), signed=True)
    assert by_hand(column) == [2 * v if v >= 0 else -2 * v - 1 for v in values]
    assert decoded(column, signed=True).tolist() == values


def test_what_is_below_0_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 on"):
        encoded(np.array([3, -1]))


@pytest.mark.parametrize(
    ("column", "why"),
    [
        ({"encoding": "json", "rows": 1, "data": ""}, "encoded as 'json'"),
        ({"encoding": ENCODING, "rows": -1, "data": ""}, "rows or its data"),
        ({"encoding": ENCODING, "rows": 1}, "rows or its data"),
        ({"encoding": ENCODING, "rows": 1, "data": "!!"}, "damaged"),
        ({"encoding": ENCODING, "rows": 1, "data": "AAAA"}, "damaged"),
        (column_of(b"\x01\x80", 2), "cut off"),
        (column_of(b"\x80", 1), "cut off"),
        (column_of(b"\x80" * 9 + b"\x01", 1), "more than 63 bits"),
        (column_of(b"\x80" * 9 + b"\x02", 1), "more than 64 bits"),
        (column_of(b"\x80" * 10 + b"\x01", 2), "more than 64 bits"),
        (column_of(b"\x01\x02", 3), "holds 2 integers, not 3"),
        (column_of(b"\x01\x02\x03", 2), "holds 3 integers, not 2"),
        # What would inflate to far more than its rows can need is not inflated.
        (column_of(bytes(10_000_000), 5), "not 5"),
    ],
)
def test_damage_is_told(column: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        decoded(column)


def test_a_column_that_ends_early_is_damaged() -> None:
    column = encoded(np.arange(5000))
    cut = base64.b64encode(base64.b64decode(column["data"])[:-40]).decode()
    with pytest.raises(InputError):
        decoded({**column, "data": cut})
