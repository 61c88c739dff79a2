"""`tracekit cache`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from tracekit.caching.cache import CachedTrace

_AGES: Final = ((86400, "d"), (3600, "h"), (60, "min"))


@click.group()
def cache() -> None:
    """Show or clear what is kept of the traces that were loaded.

    A loaded trace is kept in .tracekit-cache inside its run folder; a file outside of run folders
    in your cache folder ($TRACEKIT_CACHE, else $XDG_CACHE_HOME/tracekit, else ~/.cache/tracekit).
    $TRACEKIT_CACHE_SIZE is the most that either may hold (5GB without it); 0 keeps nothing.
    """


@cache.command("ls")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
def list_(paths: tuple[str, ...]) -> None:
    """List what is kept, last used first.

    PATH is a trace, or a folder for everything under it; without one, all of your cache folder.
    """
    from tracekit.caching.cache import list_entries
    from tracekit.units import format_bytes

    found = list_entries(paths)
    if not found:
        click.echo(f"Nothing is cached {_where(paths)}.")
        return
    now_ns = time.time_ns()
    rows = [("Size", "Events", "Made", "Used", "Trace"), *(_row(entry, now_ns) for entry in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]))
    total = format_bytes(sum(entry.size_bytes for entry in found))
    click.echo(f"{_count(len(found))}, {total}")


@cache.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
def clear(paths: tuple[str, ...]) -> None:
    """Remove what is kept; the traces themselves stay.

    PATH is a trace, or a folder for everything under it; without one, all of your cache folder.
    """
    from tracekit.caching.cache import clear as clear_cache
    from tracekit.units import format_bytes

    cleared = clear_cache(paths)
    if cleared.entries:
        freed = format_bytes(cleared.size_bytes)
        click.echo(f"Removed {_count(cleared.entries)}, {freed} freed.")
    else:
        click.echo(f"Nothing is cached {_where(paths)}.")


def _row(entry: CachedTrace, now_ns: int) -> tuple[str, str, str, str, str]:
    from tracekit.units import format_bytes, format_count

    source = "(damaged)" if entry.source is None else click.format_filename(entry.source)
    return (
        format_bytes(entry.size_bytes),
        format_count(entry.events),
        _ago(entry.created_ns, now_ns),
        _ago(entry.used_ns, now_ns),
        # A cache may come with a run folder from anywhere; it must not steer the terminal.
        "".join(letter if letter.isprintable() else "?" for letter in source),
    )


def _ago(time_ns: int | None, now_ns: int) -> str:
    from tracekit.units import MISSING

    if time_ns is None:
        return MISSING
    seconds = (now_ns - time_ns) // 10**9
    for size, name in _AGES:
        if seconds >= size:
            return f"{seconds // size} {name} ago"
    return "now"


def _count(entries: int) -> str:
    return f"{entries:,} {'trace' if entries == 1 else 'traces'}"


def _where(paths: tuple[str, ...]) -> str:
    from tracekit.caching.places import user_cache

    if paths:
        return "of " + ", ".join(map(click.format_filename, paths))
    return f"in {user_cache() or 'your cache folder'}"
