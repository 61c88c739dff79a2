"""Options on how traces are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracekit.cli import run

EXAMPLE = Path(__file__).parent.parent / "examples" / "traces" / "pixart_compiled.json.gz"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--max-size", "100kB"),
        ("--max-event-size", "200"),
        ("--max-text-size", "50"),
        ("--max-nesting", "2"),
        ("--max-events", "1k"),
        ("--max-memory", "10kB"),
    ],
)
@pytest.mark.parametrize("command", ["analyze", "kernels"])
def test_limits(command: str, option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, str(EXAMPLE), option, value]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert option in err
    assert len(err.splitlines()) == 1


def test_generous_limits_change_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["analyze", str(EXAMPLE), "--format", "csv"]) == 0
    expected = capsys.readouterr().out
    generous = ["--max-size", "1TB", "--max-nesting", "100", "--max-ratio", "1e9", "--workers", "2"]
    assert run(["analyze", str(EXAMPLE), "--format", "csv", "--no-cache", *generous]) == 0
    assert capsys.readouterr().out == expected


def test_what_is_no_size_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["analyze", str(EXAMPLE), "--max-size", "much"]) == 2
    assert "500MB" in capsys.readouterr().err
