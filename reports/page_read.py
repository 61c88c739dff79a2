"""Reads the data of an HTML report back, for other tools and for tests."""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tracekit.errors import InputError
from tracekit.report_results import SCHEMA
from tracekit.reports.page_columns import decoded
from tracekit.reports.page_data import BLOCK_ID

if TYPE_CHECKING:
    from os import PathLike

    from tracekit.report_results import Column


@dataclass(frozen=True, slots=True)
class TimelineColumns:
    """The columns of a timeline in ns as in the trace; positions are those of the data block.

    Rows have `lane`, `kind`, `place` and `step` (-1 for none); `gaps` have `device` (-1 where it is
    not told), `start_ns`, `dur_ns`, `before`, `after` and `cause`; `attention` has `start_ns`,
    `dur_ns`, `time_ns`, `query_length` and `key_length` (0 where unknown), `axis` and `kind` (-1
    for none).
    """

    start_ns: Column
    dur_ns: Column
    lane: Column
    kind: Column
    place: Column
    step: Column
    gaps: dict[str, Column]
    attention: dict[str, Column]


def read_report(path: str | PathLike[str]) -> dict[str, Any]:
    """Return the data block of an HTML report, columns still encoded.

    Raises
    ------
    InputError
        The file cannot be read, or is no report of this version.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no text in UTF-8"
        raise InputError(f"{path}: cannot be read ({reason[:1].lower()}{reason[1:]})") from error
    finder = _BlockFinder()
    finder.feed(text)
    finder.close()
    if len(finder.blocks) != 1:
        raise InputError(
            f"{path}: holds {len(finder.blocks)} blocks of data, not 1; give a page that "
            "`tracekit report` wrote"
        )
    try:
        block = msgspec.json.decode(finder.blocks[0])
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: its data cannot be parsed ({error})") from error
    schema = block.get("schema") if isinstance(block, dict) else None
    if schema != SCHEMA:
        raise InputError(f"{path}: its data is {schema!r}, not {SCHEMA}")
    return dict(block)


def timeline_columns(timeline: dict[str, Any]) -> TimelineColumns:
    """Return the columns of the timeline of one run of a data block.

    Raises
    ------
    InputError
        A column is damaged.
    """
    origin_ns = int(timeline["origin_ns"])
    columns = _decoded(timeline["columns"], {"start"})
    rows = [lane["rows"] for lane in timeline["lanes"]]
    dur_ns = columns["dur"]
    if sum(rows) != len(dur_ns):
        raise InputError(f"the lanes of a timeline hold {sum(rows):,} rows, not {len(dur_ns):,}")
    start_ns = np.cumsum(columns["start"])
    # Each lane begins anew at the origin.
    first = np.cumsum([0, *rows[:-1]]).astype(np.int64)[: len(rows)]
    before = np.append(0, start_ns)[first]
    start_ns = start_ns - np.repeat(before, rows) + origin_ns
    return TimelineColumns(
        start_ns=start_ns,
        dur_ns=dur_ns,
        lane=np.repeat(np.arange(len(rows)), rows),
        kind=columns["kind"],
        place=columns["place"],
        step=columns["step"] - 1,
        gaps=_gaps(_decoded(timeline["gaps"], {"before", "after"}), start_ns, start_ns + dur_ns),
        attention=_attention(_decoded(timeline["attention"], {"start"}), origin_ns),
    )


def _decoded(columns: dict[str, Any], signed: set[str]) -> dict[str, Column]:
    """Return columns of one table, all of one length."""
    table = {name: decoded(column, signed=name in signed) for name, column in columns.items()}
    if len({len(column) for column in table.values()}) > 1:
        raise InputError(f"the columns {', '.join(table)} are of different lengths")
    return table


def _gaps(gaps: dict[str, Column], start_ns: Column, end_ns: Column) -> dict[str, Column]:
    before = np.cumsum(gaps["before"])
    after = before + gaps["after"]
    for rows in (before, after):
        if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= len(start_ns)):
            raise InputError("a gap lies beside a row that the timeline does not hold")
    return {
        "device": gaps["device"] - 1,
        "start_ns": end_ns[before],
        "dur_ns": start_ns[after] - end_ns[before],
        "before": before,
        "after": after,
        "cause": gaps["cause"],
    }


def _attention(calls: dict[str, Column], origin_ns: int) -> dict[str, Column]:
    return {
        "start_ns": np.cumsum(calls["start"]) + origin_ns,
        "dur_ns": calls["dur"],
        "time_ns": calls["time"],
        "query_length": calls["query_length"],
        "key_length": calls["key_length"],
        "axis": calls["axis"] - 1,
        "kind": calls["kind"] - 1,
    }


class _BlockFinder(HTMLParser):
    """Collects the text of all elements that are the data block by their `id`."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[str] = []
        self._is_inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script" and ("id", BLOCK_ID) in attrs:
            self.blocks.append("")
            self._is_inside = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._is_inside = False

    def handle_data(self, data: str) -> None:
        if self._is_inside:
            self.blocks[-1] += data
