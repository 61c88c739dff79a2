from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import result_builders as build
from tracekit.reports import render, sentences
from tracekit.reports.markdown_text import code, escape
from tracekit.reports.names import clean
from tracekit.results import Gap, IdleResult, LeftOut

if TYPE_CHECKING:
    from collections.abc import Callable

PARSER = MarkdownIt().enable(["table", "strikethrough"])
NASTY = "a|b `c` ``d`` *e* <script>f</script> [g](h) @someone #1 \\| $x$ ~~y~~"


def shown(markdown: str) -> list[list[str]]:
    """What a reader sees: the text of each inline block, one list of pieces a block."""
    blocks = []
    for token in PARSER.parse(markdown):
        if token.type == "inline":
            pieces = token.children or []
            kinds = {piece.type for piece in pieces}
            assert kinds <= {"text", "code_inline", "html_inline", "strong_open", "strong_close"}
            assert all(p.content == "<!-- -->" for p in pieces if p.type == "html_inline")
            blocks.append([p.content for p in pieces if p.type in ("text", "code_inline")])
    return blocks


def test_typical_golden(golden: Callable[[str, str], None]) -> None:
    golden("typical.md", render(build.typical(), "markdown"))


def test_measured_golden(golden: Callable[[str, str], None]) -> None:
    golden("measured.md", render(build.measured(), "markdown"))


def test_several_golden(golden: Callable[[str, str], None]) -> None:
    runs = build.ranks(build.typical(), build.empty(), unreadable={"rank2.json": "is empty"})
    golden("several.md", render(runs, "markdown"))


def test_nasty_names_stay_in_their_cells() -> None:
    result = build.typical(
        trace=build.trace_info(path=NASTY, device_name=NASTY, warnings=(NASTY,)),
        stages=(build.stage(NASTY, 1_000, start_ns=0, span_ns=2_000),),
        left_out=(LeftOut(NASTY, 1, None, NASTY),),
    )
    blocks = ["".join(block) for block in shown(render(result, "markdown"))]
    # In a code span a backslash before a pipe is set apart, because it would escape the escape.
    assert sum(block == NASTY.replace("\\|", "\\ |") for block in blocks) == 1
    assert sum(block == NASTY for block in blocks) == 3
    assert blocks[blocks.index("Why") + 1 :] == [NASTY, "1", "–", NASTY]


def test_nobody_is_notified() -> None:
    assert "@someone" not in escape("@someone")
    assert "@someone" not in render(
        build.typical(trace=build.trace_info(warnings=("@someone",))), "markdown"
    )


@pytest.mark.parametrize(
    "text", ["#12", "GH-12", "gh-7", "https://a.b", "www.a.b", ":fire:", "a@b.c", "user/repo#3"]
)
def test_nothing_is_linked_after_markdown(text: str) -> None:
    written = escape(f"see {text} now")
    assert text not in written
    assert ["".join(block) for block in shown(written)] == [f"see {text} now"]


def test_details_are_folded_and_balanced() -> None:
    text = render(build.measured(), "markdown")
    assert text.count("<details>") == text.count("</details>") == text.count("<summary>") >= 5
    before = text[: text.index("<details>")]
    assert before.count("| :---") == 1
    assert "| Convolution |" in before
    assert len(before.splitlines()) < 30


def test_long_names_are_cut_in_every_table() -> None:
    long = "x" * 10_000
    gap = Gap(0, 0, 10, long, long, long)
    result = build.typical(
        trace=build.trace_info(path=long, warnings=(long,)),
        stages=(build.stage(long, 1_000, start_ns=0, span_ns=2_000),),
        top_kernels=(build.kernel(long, "linear", 1, 1_000, 1_000),),
        idle=IdleResult((), (), (gap,), 1, 1),
        left_out=(LeftOut(long, 1, None, long),),
    )
    assert max(map(len, render(result, "markdown").splitlines())) < 1_000
    both = render(build.ranks(result, result, unreadable={long: long}), "markdown")
    assert max(map(len, both.splitlines())) < 1_000


def test_a_pipe_in_a_path_is_shown_as_a_pipe() -> None:
    text = render(build.typical(trace=build.trace_info(path="a|b")), "markdown")
    assert text.startswith("### `a|b`")


def test_inputs_stand_side_by_side() -> None:
    text = render(build.ranks(build.typical(), build.empty()), "markdown")
    row = next(r for r in text.splitlines() if r.startswith("| Convolution | 22.1% |"))
    assert row == "| Convolution | 22.1% | – |"


def test_a_comment_never_becomes_too_long_for_github() -> None:
    long = "x|<y>`" * 2_000
    run = build.typical(
        trace=build.trace_info(path=long, warnings=(long, long)),
        stages=tuple(build.stage(long, 1_000, start_ns=0, span_ns=2_000) for _ in range(90)),
        top_kernels=(build.kernel(long, "linear", 1, 1_000, 1_000),) * 50,
        left_out=(LeftOut(long, 1, None, long),) * 3,
    )
    many = build.ranks(*[run] * 500, unreadable={f"{n}{long}": long for n in range(500)})
    for result in (run, many):
        assert len(render(result, "markdown")) < 65_536
    text = render(many, "markdown")
    assert "… and 450 more inputs" in text
    assert "more notes" in text
    assert "… and 1,470 more rows" in text


def test_line_breaks_do_not_leave_the_cell() -> None:
    assert code("a\nb", in_table=True) == "`a b`"


@pytest.mark.parametrize("text", ["- a", "+ a", "1. a", "2) a", "=", "---", "# a", "> a", "* a"])
def test_nothing_starts_a_block(text: str) -> None:
    assert ["".join(block) for block in shown(escape(text))] == [text]


@given(st.text(alphabet="ab|`*_<>[]()\\~#&$@!-+=.1 ", max_size=24))
def test_escaped_text_is_shown_as_it_is(text: str) -> None:
    line = clean(text)
    cells = f"| x |\n| --- |\n| y {escape(text)} |"
    assert "".join(shown(cells)[1]) == f"y {line}"
    assert "".join(shown(escape(text))[0]) == line


@given(st.text(alphabet="ab|`*_<>\\ ", max_size=24))
def test_code_is_one_span(text: str) -> None:
    line = clean(text)
    assert shown(f"x {code(text)}")[0][-1].strip() == line.strip()
    (block,) = shown(f"| x |\n| --- |\n| {code(text, in_table=True)} |")[1:]
    assert "".join(block).strip().replace("\\ |", "\\|") == line.strip().replace("\\ |", "\\|")


def test_cpu_only_is_said_first() -> None:
    trace = build.trace_info(basis="cpu", device_name=None)
    text = render(build.analysis({"norm": (1, 10)}, trace=trace), "markdown")
    assert text.splitlines()[0] == f"**{sentences.CPU_ONLY}**"


def test_empty_result_has_no_empty_table() -> None:
    text = render(build.empty(), "markdown")
    assert "|" not in text
    assert "There is no GPU activity" in text
