from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

import result_builders as build
from tracekit.analysis.causes import CAUSES
from tracekit.categories import CATEGORIES
from tracekit.reports import FORMATS, render, sentences
from tracekit.reports.palette import COLOR_OF, LABEL_OF
from tracekit.results import (
    Advice,
    Analysis,
    AnalysisSet,
    AttentionResult,
    AttentionShare,
    Blame,
    CategoryTime,
    CauseTime,
    Corrected,
    DeviceTime,
    EvidenceTime,
    Gap,
    IdleResult,
    KernelTime,
    LeftOut,
    StageTime,
    StepTime,
    TimeTotals,
)
from tracekit.roofline_results import AboveRoof, DevicePeaks, Roofline, RooflineRow

if TYPE_CHECKING:
    from collections.abc import Callable

WARNING = "3 GPU activities refer to launches that the file does not hold: their stage is unknown."


def troubled() -> Analysis:
    """Truncated, warned of, two devices, and mostly guessed."""
    return build.typical(
        trace=build.trace_info(
            path="runs/" + "very_long_folder_name/" * 8 + "trace.json.gz",
            pass_="rich",
            rank=1,
            world_size=8,
            truncated=True,
            warnings=(WARNING,),
        ),
        evidence=(EvidenceTime("op", 1, 10, 0.1), EvidenceTime("name", 9, 90, 0.9)),
        devices=tuple(
            DeviceTime(n, 60_000_000, 29_250_161, 30_749_839, 29_250_161, n * 1_000)
            for n in range(2)
        ),
        left_out=(),
    )


def cpu_only() -> Analysis:
    return build.analysis(
        {"linear": (12, 4_000_000), "norm": (3, 1_000_000)},
        trace=build.trace_info(basis="cpu", device_name=None, gpu_events=0),
        idle_ns=2_000_000,
        top_kernels=(build.kernel("aten::addmm", "linear", 12, 4_000_000, 5_000_000),),
        evidence=(EvidenceTime("op", 15, 5_000_000, 1.0),),
    )


def several() -> AnalysisSet:
    return build.ranks(
        build.typical(trace=build.trace_info(path="run/rank0/trace.json.gz", rank=0, world_size=3)),
        troubled(),
        unreadable={"run/rank2/trace.json.gz": "is empty: record it again"},
    )


@pytest.mark.parametrize("width", [80, 100])
def test_typical_golden(golden: Callable[[str, str], None], width: int) -> None:
    golden(f"typical_{width}.txt", render(build.typical(), "text", width=width))


def test_measured_golden(golden: Callable[[str, str], None]) -> None:
    golden("measured.txt", render(build.measured(), "text"))


def test_idle_time_without_the_profiler_takes_the_place_of_the_trace_s() -> None:
    assert sentences.idle(build.measured()) == (
        "Without the profiler the GPU is idle 41% of 99.1 ms (measured; the trace itself shows "
        "55%). Its repeats took 97.2 ms to 109 ms. In 75% of the idle time the host is late."
    )
    corrected = build.measured().corrected
    assert corrected is not None
    once = replace(corrected, low_ns=corrected.wall_ns, high_ns=corrected.wall_ns)
    assert "repeats" not in (sentences.idle(build.measured(corrected=once)) or "")
    more = sentences.idle(build.measured(corrected=replace(corrected, idle_share=0.6)))
    assert more is not None
    assert "the trace itself shows 55% from its first kernel to its last" in more
    nothing = replace(corrected, idle_share=None, source="estimated")
    assert "idle about – of 99.1 ms (an estimate: 97.2 ms to 109 ms;" in (
        sentences.idle(build.measured(corrected=nothing)) or ""
    )


def test_troubled_golden(golden: Callable[[str, str], None]) -> None:
    golden("troubled.txt", render(troubled(), "text"))


def test_cpu_only_golden(golden: Callable[[str, str], None]) -> None:
    golden("cpu_only.txt", render(cpu_only(), "text"))


def test_empty_golden(golden: Callable[[str, str], None]) -> None:
    golden("empty.txt", render(build.empty(), "text"))


def test_several_golden(golden: Callable[[str, str], None]) -> None:
    golden("several.txt", render(several(), "text"))


def test_cpu_only_is_said_first_and_idle_is_not_claimed() -> None:
    text = render(cpu_only(), "text")
    assert text.splitlines()[0] == sentences.CPU_ONLY
    assert "idle" not in text


def test_set_of_cpu_only_traces_says_so_first() -> None:
    text = render(build.ranks(cpu_only(), cpu_only()), "text")
    assert text.startswith(sentences.CPU_ONLY)


def test_mixed_set_names_the_cpu_only_input() -> None:
    text = render(build.ranks(build.typical(), cpu_only()), "text")
    assert not text.startswith(sentences.CPU_ONLY)
    assert "! trace.json.gz: CPU-only trace" in text


def test_troubles_stand_above_the_tables() -> None:
    text = render(troubled(), "text")
    assert text.index("! The file is cut off") < text.index("! 3 GPU activities")
    assert text.index("! 3 GPU activities") < text.index("Category")


@pytest.mark.parametrize(("weak", "warned"), [(0, False), (5, False), (6, True), (100, True)])
def test_guesses_are_called_guesses_above_five_percent(weak: int, warned: bool) -> None:
    rows = (
        EvidenceTime("op", 10, 100 - weak, (100 - weak) / 100),
        EvidenceTime("sequence", 10, weak, weak / 100),
    )
    text = render(build.typical(evidence=rows), "text")
    assert ("guesses" in text) is warned


def test_gap_offset_counts_from_the_start_of_its_device() -> None:
    devices = tuple(DeviceTime(n, 10, 10, 0, 10, start_ns) for n, start_ns in ((0, 0), (1, 5_000)))
    gaps = (Gap(1, 7_000, 50, None, "a", "b"),)
    result = build.typical(devices=devices, idle=IdleResult((), (), gaps, 1, 1))
    assert "at 2.00 µs" in render(result, "text")


def test_gap_without_a_known_start_claims_no_offset() -> None:
    device = DeviceTime(0, 10, 10, 0, 10)
    text = render(build.typical(devices=(device,)), "text")
    assert "Largest gaps" in text
    assert "at " not in text.partition("Largest gaps")[2].partition("\n\n")[0]


def test_attention_of_which_nothing_is_known_gets_no_table() -> None:
    unknown = (AttentionShare(None, 4, 1_000, 1.0),)
    known = (AttentionShare("self", 4, 1_000, 1.0),)
    nothing = AttentionResult(by_axis=unknown, by_kind=unknown)
    assert "by axis" not in render(build.typical(attention=nothing), "text")
    text = render(build.typical(attention=replace(nothing, by_kind=known)), "text")
    assert "by axis" not in text
    assert "by kind    self" in text


def test_every_left_out_row_is_shown() -> None:
    rows = tuple(LeftOut(f"kind_{n}", n, None, f"reason {n}") for n in range(40))
    text = render(build.typical(left_out=rows), "text")
    assert all(f"kind_{n} " in text and f"reason {n}\n" in text for n in range(40))


def test_nothing_left_out_is_said() -> None:
    assert "Nothing was left out" in render(build.typical(left_out=()), "text")


def test_more_stages_than_fit_are_counted() -> None:
    rows = tuple(build.stage(f"s{n}", 1_000, start_ns=0, span_ns=2_000) for n in range(35))
    assert "… and 5 more" in render(build.typical(stages=rows), "text")


def test_only_ten_kernels_and_five_gaps() -> None:
    kernels = tuple(build.kernel(f"k{n}_", "linear", 1, 1_000, 10_000) for n in range(12))
    gaps = tuple(Gap(0, 0, 1_000, None, f"g{n}_", None) for n in range(12))
    result = build.typical(top_kernels=kernels, idle=IdleResult((), (), gaps, 12, 12))
    text = render(result, "text")
    assert "k9_" in text
    assert "k10_" not in text
    assert "g4_" in text
    assert "g5_" not in text


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE"])
def test_without_color_there_is_no_escape_code(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    hostile = build.typical(
        trace=build.trace_info(path="a\x1b[31m.json", warnings=("b\x1b]0;title\x07",)),
        top_kernels=(build.kernel("\x1b[2Jk", "linear", 1, 1, 1),),
    )
    for result in (hostile, build.ranks(hostile)):
        assert "\x1b" not in render(result, "text", color=False)
        assert "\x1b" not in render(result, "markdown")


def test_with_color_the_text_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.text import Text

    monkeypatch.setenv("NO_COLOR", "1")
    colored = render(troubled(), "text", color=True)
    assert "\x1b[" in colored
    plain = "\n".join(line.rstrip() for line in Text.from_ansi(colored).plain.split("\n"))
    assert plain.rstrip("\n") == render(troubled(), "text", color=False).rstrip("\n")


def test_columns_of_the_environment_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("TERM", "dumb")
    assert max(map(cell_len, render(build.typical(), "text").splitlines())) > 90


ADVICE = Advice("Run denoise from a CUDA graph: 99.1 ms become at least 60.0 ms.", 1.65, {})


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_first_screen_holds_the_answer(width: int) -> None:
    result = build.measured(advice=(ADVICE,))
    first = "\n".join(render(result, "text", width=width).splitlines()[:40])
    for part in ("Of 58.5 ms of GPU time", "What to do", "Convolution", "denoise", "Host late"):
        assert part in first
    assert first.index("What to do") < first.index("Category")


def test_paragraphs_stay_readable_on_wide_terminals() -> None:
    text = render(
        build.typical(trace=build.trace_info(warnings=("word " * 100,))), "text", width=200
    )
    lines = text.splitlines()
    assert max(cell_len(line) for line in lines if line.startswith(("Of ", "! ", "  word"))) <= 100


def test_a_wide_terminal_shows_names_in_full() -> None:
    name = "sm90_" + "x" * 90
    result = build.typical(top_kernels=(build.kernel(name, "conv", 1, 1_000, 1_000),))
    assert name not in render(result, "text", width=100)
    assert name in render(result, "text", width=200)


def test_culprits_that_say_nothing_new_are_left_out() -> None:
    plain = Blame("host_late", "denoise", *[None] * 5, False, 10, 1)
    idle = replace(build.typical().idle, blame=(plain, replace(plain, cause="sync")))
    assert "Idle during" not in render(build.typical(idle=idle), "text")
    two = replace(idle, blame=(plain, replace(plain, stage="vae")))
    assert "the host" in render(build.typical(idle=two), "text")


def test_a_single_stage_gets_no_column() -> None:
    blame = tuple(replace(row, stage="denoise") for row in build.BLAME)
    idle = replace(build.typical().idle, blame=blame)
    text = render(build.typical(idle=idle), "text")
    assert "Stage" not in text[text.index("Idle during") :].split("\n")[0]


def test_what_does_not_fit_of_a_list_is_left_out_whole() -> None:
    shares = {"temporal_attention": 600, "conv": 300, "communication": 100}
    stage = replace(build.stage("s", 1_000, start_ns=0, span_ns=2_000), categories=shares)
    narrow, wide = (render(build.typical(stages=(stage,)), "text", width=w) for w in (80, 120))
    assert "Temporal attention 60%\n" in narrow
    assert "Temporal attention 60%, Convolution 30%, Communication 10%\n" in wide


def test_steps_that_differ_are_drawn_where_there_is_room() -> None:
    def stage(*times: int) -> StageTime:
        steps = tuple(StepTime(n, 1, 0, 1, 1, t, {}) for n, t in enumerate(times))
        return replace(build.stage("s", 1_000, start_ns=0, span_ns=2_000), per_step=steps)

    differing, level = stage(100, 100, 800, 100), stage(100, 101, 102, 100)
    text = render(build.typical(stages=(differing, level)), "text", width=100)
    assert "Each step" in text
    assert "▁▁█▁" in text
    assert "Each step" not in render(build.typical(stages=(differing,)), "text", width=80)
    assert "Each step" not in render(build.typical(stages=(level,)), "text", width=100)
    assert "Each step" not in render(build.typical(stages=(stage(1, 9),)), "text", width=100)


def test_inputs_of_one_folder_are_named_below_it() -> None:
    runs = [build.typical(trace=build.trace_info(path=f"a/b/{n}/t.json")) for n in (1, 2)]
    lines = render(build.ranks(*runs), "text").splitlines()
    assert lines[0] == "2 inputs in a/b"
    assert any(line.startswith("1/t.json ") for line in lines)


def test_palette_has_one_color_and_label_a_category() -> None:
    assert tuple(COLOR_OF) == tuple(LABEL_OF) == CATEGORIES
    assert len(set(COLOR_OF.values())) == len(set(LABEL_OF.values())) == len(CATEGORIES)


def test_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="choose from text, json, csv, markdown"):
        render(build.empty(), "xml")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_ends_in_one_newline(name: str) -> None:
    for result in (build.typical(), build.empty(), several(), build.ranks()):
        text = render(result, name)  # type: ignore[arg-type]
        assert text.endswith("\n")
        assert not text.endswith("\n\n")


names = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="abc:<>(), 核é\u0301👩\u200d🚀\x1b\n", max_size=300),
    st.just("void f<" + "std::tuple<int, " * 125 + ">(int)"),
)
maybe_name = st.none() | names
whole = st.integers(0, 2**63 - 1)
maybe_share = st.none() | st.floats(0, 1)
shares_of_time = st.dictionaries(st.sampled_from(CATEGORIES), whole)
device_numbers = st.none() | st.integers(0, 2**31)


def some(strategy: st.SearchStrategy[object], size: int = 3) -> st.SearchStrategy[tuple[object]]:
    return st.lists(strategy, max_size=size).map(tuple)  # type: ignore[arg-type]


attention_rows = some(st.builds(AttentionShare, maybe_name, whole, whole, maybe_share))
stage_rows = some(
    st.builds(
        StageTime,
        stage=maybe_name,
        source=st.none(),
        steps=st.none() | whole,
        traced_steps=st.none() | whole,
        kernels=whole,
        start_ns=whole,
        end_ns=whole,
        busy_ns=whole,
        time_ns=whole,
        categories=shares_of_time,
    )
)
causes = st.sampled_from(CAUSES)
cause_rows = some(st.builds(CauseTime, causes, whole, maybe_share, whole))
blame_rows = some(
    st.builds(Blame, causes, *[maybe_name] * 6, st.booleans(), time_ns=whole, gaps=whole)
)
rates = st.floats(0, 1e30)


def achieved(key: st.SearchStrategy[str] | st.SearchStrategy[str | None]) -> Any:
    maybe_rate = st.none() | rates
    return st.builds(RooflineRow, key, *[whole] * 4, *[st.none() | whole] * 2, *[maybe_rate] * 5)


analyses = st.builds(
    Analysis,
    trace=st.builds(
        build.trace_info,
        path=names,
        pass_=maybe_name,
        rank=st.none() | whole,
        world_size=st.none() | whole,
        device_name=maybe_name,
        torch=maybe_name,
        basis=st.sampled_from(["gpu", "cpu"]),
        events=whole,
        gpu_events=whole,
        truncated=st.booleans(),
        warnings=some(names),
    ),
    time=st.builds(TimeTotals, whole, whole, whole, whole),
    devices=some(st.builds(DeviceTime, device_numbers, whole, whole, whole, whole, whole)),
    corrected=st.none()
    | st.builds(
        Corrected,
        st.sampled_from(["measured", "estimated"]),
        *[whole] * 5,
        maybe_share,
        maybe_share,
        st.none() | cause_rows,
        names,
        blame=blame_rows,
    ),
    categories=st.tuples(
        *(st.builds(CategoryTime, st.just(slug), whole, whole, maybe_share) for slug in CATEGORIES)
    ),
    evidence=some(
        st.builds(EvidenceTime, st.sampled_from(["op", "name"]), whole, whole, maybe_share)
    ),
    top_kernels=some(
        st.builds(
            KernelTime,
            maybe_name,
            st.sampled_from(CATEGORIES),
            whole,
            whole,
            maybe_share,
            whole,
            whole,
        )
    ),
    stages=stage_rows,
    attention=st.builds(AttentionResult, by_axis=attention_rows, by_kind=attention_rows),
    idle=st.builds(
        IdleResult,
        cause_rows,
        blame_rows,
        some(st.builds(Gap, device_numbers, whole, whole, maybe_name, maybe_name, maybe_name)),
        whole,
        whole,
    ),
    roofline=st.none()
    | st.builds(
        Roofline,
        maybe_name,
        st.builds(DevicePeaks, st.just({}), maybe_share, maybe_share, maybe_name),
        achieved(maybe_name),
        some(achieved(st.sampled_from(CATEGORIES))),
        some(achieved(maybe_name)),
        some(st.builds(AboveRoof, names, whole, whole, rates)),
    ),
    left_out=some(st.builds(LeftOut, names, whole, st.none() | whole, names)),
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(analyses, st.sampled_from([60, 80, 100, 133, 200]))
def test_no_line_is_wider_than_asked_for(result: Analysis, width: int) -> None:
    for shown in (result, build.ranks(result, replace(result), unreadable={"x" * 200: "y" * 200})):
        text = render(shown, "text", width=width)
        assert max(map(cell_len, text.split("\n"))) <= width
        assert "\x1b" not in text
        assert render(shown, "markdown")
