"""CSV that no spreadsheet runs, Parquet and DataFrames that keep everything as it is."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit.errors import MissingDependencyError
from tracekit.tabular import csv_cell, csv_cells, encodable, to_pandas, write_csv, write_parquet

FORMULAS = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\tx", "\rx", "-", "=", "-1 ", "-1\n"]
NUMBERS = ["-1", "+1", "-1.5", "-.5", "+2e10", "-1.e-3"]
PLAIN = ["", "a=b", " =1", "'=1", "核-1", "a\n=1"]
texts = st.text(alphabet="=+-@\t\r\n'\" ,;0123456789.eEa核\0", max_size=12)


def written(table: pa.Table) -> list[list[str]]:
    sink = io.BytesIO()
    write_csv(table, sink)
    return list(csv.reader(io.StringIO(sink.getvalue().decode(), newline="")))


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_get_an_apostrophe(text: str) -> None:
    assert csv_cell(text) == "'" + text


@pytest.mark.parametrize("text", NUMBERS + PLAIN)
def test_numbers_and_plain_texts_stay(text: str) -> None:
    assert csv_cell(text) == text


@settings(deadline=None)
@given(st.lists(st.none() | texts, max_size=8))
def test_a_column_is_written_as_its_cells(cells: list[str | None]) -> None:
    expected = [None if cell is None else csv_cell(cell) for cell in cells]
    assert csv_cells(pa.array(cells, pa.string())).to_pylist() == expected


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=8), st.booleans())
def test_what_is_written_can_be_read_back(cells: list[str], coded: bool) -> None:
    column = pa.array(cells, pa.string())
    rows = written(pa.table({"name": column.dictionary_encode() if coded else column, "n": cells}))
    assert rows[0] == ["name", "n"]
    assert [row[0] for row in rows[1:]] == [csv_cell(cell) for cell in cells]


def test_numbers_lists_and_nulls() -> None:
    table = pa.table(
        {
            "n": pa.array([-1, None], pa.int64()),
            "x": pa.array([-0.5, None], pa.float64()),
            "l": pa.array([[-1, 2], None], pa.list_(pa.int64())),
        }
    )
    assert written(table) == [["n", "x", "l"], ["-1", "-0.5", "[-1, 2]"], ["", "", ""]]


def test_chunks_with_dictionaries_of_their_own() -> None:
    chunks = [pa.array([text]).dictionary_encode() for text in ("=a", "b", "=a")]
    rows = written(pa.table({"name": pa.chunked_array(chunks)}))
    assert rows == [["name"], ["'=a"], ["b"], ["'=a"]]


def test_a_table_without_rows_has_its_header() -> None:
    assert written(pa.table({"name": pa.array([], pa.string()).dictionary_encode()})) == [["name"]]


def test_parquet_is_verbatim(tmp_path: Path) -> None:
    cells = [*FORMULAS, *NUMBERS, *PLAIN, "a\0b", None]
    write_parquet(pa.table({"name": cells}), tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet")["name"].to_pylist() == cells


@settings(deadline=None)
@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=9))
def test_any_text_can_be_encoded(text: str) -> None:
    shown = encodable(text)
    shown.encode()
    if not any("\ud800" <= char <= "\udfff" for char in text):
        assert shown == text


def test_data_frames_have_nullable_numbers() -> None:
    table = pa.table({"n": pa.array([1, None], pa.int64()), "t": pa.array(["a", None])})
    frame = to_pandas(table)
    assert str(frame["n"].dtype) == "Int64"
    assert frame["n"].isna().tolist() == [False, True]


def test_without_pandas_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match=r"gpu-tracekit\[pandas\]"):
        to_pandas(pa.table({"n": [1]}))
