"""How every terminal table and paragraph is drawn: with rich, at a fixed width, into a string."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tracekit.reports.names import fit, fit_apart

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NARROWEST: Final = 60
"""Reports are laid out for at least this many columns."""

PROSE: Final = 100
"""Columns of a paragraph at most."""

BOLD: Final = "bold"
DIM: Final = "dim"
NOTE: Final = "yellow"
HEADER: Final = "bold"

_WIDEST_BAR: Final = 32
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


class Fitted:
    """A name that is cut in its middle to the width that a table can spare for it.

    `among` are all names of the column; those that would look the same are cut where they differ.
    """

    def __init__(self, text: str, style: str = "", among: Sequence[str] = ()) -> None:
        self._text = text
        self._style = style
        self._among = among

    def __rich_measure__(self, _console: Console, options: ConsoleOptions) -> Measurement:
        """Ask for the whole name, and be content with a dozen cells."""
        cells = max(1, cell_len(self._text))
        return Measurement(min(cells, 12), cells).clamp(max_width=options.max_width)

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw what fits."""
        width = options.max_width
        names = [*self._among] if self._text in self._among else [self._text]
        shown = fit_apart(names, width)[names.index(self._text)]
        yield Text(fit(shown, width), self._style, no_wrap=True, end="")


class Listed:
    """Items in a row, the last ones left out where a table has no room for them."""

    def __init__(self, text: str) -> None:
        self._items = text.split(", ")

    def __rich_measure__(self, _console: Console, options: ConsoleOptions) -> Measurement:
        """Ask for all of them, and be content with the first."""
        first, whole = cell_len(self._items[0]), cell_len(", ".join(self._items))
        return Measurement(min(first, 16), whole).clamp(max_width=options.max_width)

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw what fits."""
        items = self._items
        while len(items) > 1 and cell_len(", ".join(items)) > options.max_width:
            items = items[:-1]
        yield Text(fit(", ".join(items), options.max_width), no_wrap=True, end="")


def prose(text: str, style: str = "") -> RenderableType:
    """Return a paragraph, which is read easily up to a hundred columns and no wider."""
    return Constrain(Text(text, style), PROSE)


def draw(parts: Iterable[RenderableType | None], width: int, *, color: bool) -> str:
    """Return the parts, one blank line between two, as text of at most `width` cells a line.

    Without `color` there is no escape code in it, whatever the environment says.
    """
    console = Console(
        file=StringIO(),
        width=max(width, NARROWEST),
        height=100,
        color_system="256" if color else None,
        force_terminal=color,
        no_color=not color,
        force_jupyter=False,
        legacy_windows=False,
        markup=False,
        emoji=False,
        highlight=False,
        _environ={},
    )
    with console.capture() as capture:
        for index, part in enumerate(part for part in parts if part is not None):
            if index:
                console.print()
            console.print(Constrain(part, PROSE) if isinstance(part, Text) else part)
    return "\n".join(line.rstrip() for line in capture.get().split("\n"))


def table(*headers: str, wide: Sequence[int] = (0,), left: Sequence[int] = ()) -> Table:
    """Return an empty table: `wide` columns give way when it is narrow, `left` ones align left.

    The other columns hold numbers: they align right and keep their width.
    """
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=HEADER)
    for index, header in enumerate(headers):
        is_left = index in wide or index in left
        drawn.add_column(
            header,
            justify="left" if is_left else "right",
            no_wrap=index not in wide,
            overflow="fold" if index in wide else "ellipsis",
        )
    return drawn


def bar_width(spare: int) -> int:
    """Return how many cells the longest bar may take of those that are to spare."""
    return max(0, min(_WIDEST_BAR, spare))


def bar(share: float | None, largest: float, width: int, style: str) -> Text:
    """Return a bar that is `width` cells long where `share` equals `largest`."""
    eighths = 0 if not share or largest <= 0 else max(1, round(8 * width * share / largest))
    full, rest = divmod(min(eighths, 8 * width), 8)
    return Text("█" * full + (_EIGHTHS[rest] if rest else ""), style, no_wrap=True)
