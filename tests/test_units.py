"""Numbers as people read them."""

from __future__ import annotations

import pytest

from tracekit.units import format_bytes, format_count, format_ns, format_share, parse_size, share_of


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (None, "–"),
        (0, "0 ns"),
        (999, "999 ns"),
        (1000, "1.00 µs"),
        (9_994, "9.99 µs"),
        (9_996, "10.0 µs"),
        (99_960, "100 µs"),
        (999_400, "999 µs"),
        (999_960, "1.00 ms"),
        (12_345_678, "12.3 ms"),
        (1_500_000_000, "1.50 s"),
        (-2_000, "-2.00 µs"),
    ],
)
def test_times(time_ns: int | None, text: str) -> None:
    assert format_ns(time_ns) == text


def test_sizes_are_powers_of_1000() -> None:
    assert [format_bytes(n) for n in (None, 1, 1000, 1_500_000, 2 * 10**12)] == [
        "–", "1 B", "1.00 kB", "1.50 MB", "2.00 TB"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("5", 5), ("500MB", 500_000_000), (" 2 gb ", 2 * 10**9), ("1.5k", 1500), ("", None),
     ("2GiB", None), ("-1", None), ("9" * 40, None)],
)  # fmt: skip
def test_parsing_sizes(text: str, size_bytes: int | None) -> None:
    assert parse_size(text) == size_bytes


def test_shares_and_counts() -> None:
    assert (format_share(None), format_share(0.1234)) == ("–", "12.3%")
    assert (format_count(None), format_count(1234567)) == ("–", "1,234,567")
    assert (share_of(1, 4), share_of(0, 0)) == (0.25, None)
