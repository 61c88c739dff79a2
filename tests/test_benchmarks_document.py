"""What is computed and written from measurements: tables, fits, the documentation."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from benchmarks.compare import MB, Case, Measured, Row
from benchmarks.document import main as document_main
from benchmarks.document import replace_between, speed_lines
from benchmarks.fit import fit_power, growth
from benchmarks.limits import Limit, render_limits
from benchmarks.measure import Spread
from benchmarks.table import OURS_HEADINGS, PEER_HEADINGS, render
from benchmarks.tools import UnusableError


def measured(wall_s: float, peak: float) -> Measured:
    printed = {"events": 1234, "busy_us": 1.0}
    stages = dict.fromkeys(("load", "link", "classify", "analyze"), Spread(0.25, 0.25, 0.25))
    return Measured(Spread(wall_s, wall_s, wall_s), Spread(peak, peak, peak), 0, printed, stages)


def tables(text: str) -> list[str]:
    """Split what was rendered into its tables, each with its title."""
    parts = text.rstrip("\n").split("\n\n")
    # A title, its table and the next title are parted by empty lines alone.
    return [f"{title}\n\n{table}" for title, table in zip(parts[::2], parts[1::2], strict=True)]


def test_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("sdxl x4", Path("x"), 71_000_000)
    both = Row(
        case,
        {"stages": measured(9, 9), "tracekit": measured(0.5, 1e8), "tracelens": measured(5, 4e8)},
    )
    alone = dataclasses.replace(both, tools={"tracekit": measured(0.5, 1e8)})
    monkeypatch.setattr("benchmarks.tools.has_hta", lambda: False)
    monkeypatch.setattr("benchmarks.tools.has_tracelens", lambda: True)
    ours, peers = (part.splitlines() for part in tables(render([both, alone], markdown=False)))
    marked = tables(render([both, alone], markdown=True))

    assert len({len(line) for line in ours[2:]}) == 1
    assert ours[4].split()[:8] == ["sdxl", "x4", "71.0", "1,234", *["0.250"] * 4]
    assert ours[4].split()[-4:] == ["142", "100", "-", "-"]
    assert peers[4].split()[-4:] == ["(5.00-5.00)", "400", "10.0x", "4.0x"]
    assert "not installed" in peers[4]
    assert peers[5].split()[-2:] == ["-", "-"]
    for table, headings in zip(marked, (OURS_HEADINGS, PEER_HEADINGS), strict=True):
        bars = {line.count("|") for line in table.splitlines() if line.startswith("|")}
        assert bars == {len(headings) + 1}


def test_fit_finds_the_exponent() -> None:
    sizes = [50.0, 71.0, 200.0, 500.0, 2000.0]
    exact_fit = fit_power(sizes, [0.01 * size**1.25 for size in sizes])
    assert exact_fit is not None
    assert exact_fit.exponent == pytest.approx(1.25)
    assert exact_fit.error == pytest.approx(0, abs=1e-9)
    assert (exact_fit.points, exact_fit.low, exact_fit.high) == (5, 50, 2000)
    # Residuals of logarithms -e, 2e, -e at -1, 0, 1 leave the slope and give sqrt(6/2) e.
    noisy = fit_power([0.1, 1, 10], [0.1 / 1.01, 1.01**2, 10 / 1.01])
    assert noisy is not None
    assert noisy.exponent == pytest.approx(1)
    assert noisy.error == pytest.approx((6 / 2) ** 0.5 * math.log10(1.01))
    two = fit_power([1, 10], [1, 10])
    assert two is not None
    assert (two.error, two.points) == (None, 2)
    assert fit_power([5, 5], [1, 2]) is None
    assert fit_power([], []) is None


def row(target_mb: float | None, wall_s: float, hta_s: float = 0) -> Row:
    tools = {"tracekit": measured(wall_s, 1e8), "hta": measured(hta_s, 4e8)}
    chosen = {tool: each for tool, each in tools.items() if each.wall_s.median}
    case = Case(f"{target_mb}", Path("x"), int((target_mb or 100) * MB), target_mb)
    return Row(case, chosen)  # type: ignore[arg-type]


def test_growth_is_that_of_large_scaled_traces() -> None:
    rows = [row(18, 9), row(None, 9), row(100, 1, hta_s=3), row(400, 4)]
    (fit,) = growth(rows).values()
    assert list(growth(rows)) == ["process"]
    assert fit.exponent == pytest.approx(1)
    assert (fit.low, fit.high) == (100, 400)


def test_markers_are_replaced() -> None:
    text = "a\n<!-- speed:begin -->\nold\n<!-- speed:end -->\nb\n"
    once = replace_between(text, "speed", "new\n")
    assert once == text.replace("old", "new")
    assert replace_between(once, "speed", "new\n") == once
    for broken in ("", text + text, text.replace("begin", "x"), text.replace("end", "x")):
        with pytest.raises(UnusableError, match="speed:begin"):
            replace_between(broken, "speed", "new")


def test_sentence_of_the_readme() -> None:
    first, second = speed_lines([row(71, 0.5, hta_s=5), row(500, 2.5)]).splitlines()
    assert "71 MB" in first
    assert "10.0 times faster" in first
    assert "25% of the memory" in first
    assert "200 MB of JSON a second at 500 MB" in second
    with pytest.raises(UnusableError, match="not measured"):
        speed_lines([row(71, 0.5), row(500, 2.5)])


def test_document_refuses_before_it_measures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    docs, readme = tmp_path / "docs.md", tmp_path / "readme.md"
    files = ["--docs", str(docs), "--readme", str(readme)]
    assert document_main(files) == 3
    docs.write_text("<!-- benchmark:begin --><!-- benchmark:end -->")
    readme.write_text("no markers")
    assert document_main(files) == 3
    readme.write_text("<!-- speed:begin --><!-- speed:end -->")
    assert document_main([*files, "--sizes", "71"]) == 2
    monkeypatch.setattr("benchmarks.tools.has_hta", lambda: False)
    assert document_main(files) == 4
    assert "speed:begin" in capsys.readouterr().err
    assert readme.read_text() == "<!-- speed:begin --><!-- speed:end -->"


def test_table_of_limits() -> None:
    told = [Limit("simdjson", None, "not installed"), Limit("msgspec", Spread(200, 100, 300))]
    lines = render_limits(told, markdown=False).splitlines()
    assert lines[2].endswith("not installed                 -")
    assert lines[3].split()[-3:] == ["200", "(100-300)", "1.00"]
