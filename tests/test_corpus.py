"""The corpus of nasty files: each is read, with what it holds, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.check import SLOW_S, time_limit
from fuzz.corpus_files import files
from invariants import check_all, check_message, check_trace

from tracekit.cli import run
from tracekit.errors import InputError
from tracekit.loading.loader import LoadOptions, load_file
from tracekit.trace import Trace

FOLDER = Path(__file__).parent / "data" / "corpus"
FILES = sorted(FOLDER.iterdir())
WINDOWS = (16, 64, 1000, 1 << 18)

# Faults that are known and wait to be mended; take a name out with its fault.
KNOWN_FAULTS: set[str] = set()

# Which signature is seen depends on the window.
BY_WINDOW = {"like_tensorboard"}


def name_of(path: Path) -> str:
    return path.name.split(".", maxsplit=1)[0]


def test_the_files_are_those_of_the_script() -> None:
    made = files()
    assert {path.name for path in FILES} == set(made)
    assert all(path.read_bytes() == made[path.name] for path in FILES)


def test_the_corpus_stays_small() -> None:
    sizes = [path.stat().st_size for path in FILES]
    assert len(sizes) > 300
    assert max(sizes) < 50_000
    assert sum(sizes) < 1_000_000


@pytest.mark.parametrize(
    "path", [path for path in FILES if name_of(path) not in KNOWN_FAULTS], ids=name_of
)
def test_every_file_is_read_or_refused(path: Path, tmp_path: Path) -> None:
    outcomes = set()
    for window in WINDOWS:
        with time_limit(SLOW_S):
            outcome = load(path, window)
        if isinstance(outcome, str):
            outcomes.add(outcome)
            continue
        check_trace(outcome)
        names = tuple(outcome.text(int(code)) for code in outcome.activities.name)
        outcomes.add(f"{summary(outcome)} {names}")
    assert len(outcomes) == 1 or name_of(path) in BY_WINDOW, outcomes
    outcome = load(path, WINDOWS[-1])
    target = tmp_path / "kernels.csv"
    with time_limit(SLOW_S):
        if isinstance(outcome, Trace):
            check_all(outcome)
            assert run(["kernels", str(path), "-o", str(target)]) == 0
            assert target.stat().st_size > 100
        else:
            assert run(["kernels", str(path), "-o", str(target)]) == 3
            assert not target.exists()


def load(path: Path, window: int) -> Trace | str:
    try:
        return load_file(str(path), LoadOptions(window_bytes=window))
    except InputError as error:
        check_message(str(error), str(path))
        return str(error)


def summary(trace: Trace) -> tuple[object, ...]:
    left_out = {count.what: count.events for count in trace.left_out}
    return trace.events, len(trace.activities), len(trace.ops), left_out, trace.truncated


CUT = {
    "cut_in_name": 3, "cut_after_key": 3, "cut_after_colon": 3, "cut_in_number": 3,
    "cut_after_point": 3, "cut_in_args": 3, "cut_after_args": 3, "cut_after_event": 4,
    "cut_before_comma": 2, "cut_after_comma": 2, "cut_after_bracket": 0, "cut_after_list": 4,
    "cut_in_trailer_key": 4, "cut_in_trailer_text": 4, "cut_before_last_brace": 4,
    "cut_in_escape": 1, "cut_after_backslash": 1, "cut_in_utf8": 1, "gzip_cut_before_crc": 4,
    "gzip_cut_in_crc": 4, "gzip_cut_in_data": 1, "gzip_second_member_cut": 3,
    "gzip_garbage_after": 4, "bare_array_open": 4, "bare_array_open_comma": 4, "bare_open_only": 0,
}  # fmt: skip

# name: events, activities, ops, what is left out
WHOLE: dict[str, tuple[int, int, int, dict[str, int]]] = {
    **dict.fromkeys(
        ("plain", "bom", "crlf", "tabs", "huge_indentation", "spaces_first", "newlines_last",
         "nul_last", "bare_array", "trailing_comma", "two_commas", "missing_comma", "gzip_whole",
         "gzip_members", "gzip_zeros_after", "gzip_empty_member_first"),
        (4, 2, 0, {}),
    ),
    **dict.fromkeys(("empty_list", "empty_list_spaces", "bare_empty"), (0, 0, 0, {})),
    **dict.fromkeys(
        ("ts_minus_0", "ts_1e-7", "ts_1E+2", "ts_negative", "ts_text", "ts_half_ns", "ts_zero",
         "ts_unix", "ts_4_decimals", "ts_146_years", "dur_zero", "dur_text", "dur_104_days",
         "correlation_null", "correlation_list", "correlation_20_digits", "correlation_nan",
         "unread_nan", "unread_infinity", "unread_1e400", "unread_20_digits", "name_emoji",
         "name_cjk", "name_escapes", "name_control", "name_nul", "name_template", "name_long",
         "name_looks_like_end", "name_looks_like_cut", "name_looks_like_list", "name_null",
         "utf8_ff", "utf8_overlong", "utf8_cesu", "args_list", "args_null", "args_number",
         "args_texts", "args_floats", "args_twice", "args_objects", "args_deep_200", "keys_twice"),
        (3, 3, 0, {}),
    ) | {name: (4, 3, 0, {}) for name in ("correlation_null", "correlation_list",
                                          "correlation_20_digits", "correlation_nan")},
    **dict.fromkeys(
        ("ts_1e400", "ts_2_63", "ts_20_digits", "ts_nan", "ts_infinity", "ts_null", "ts_list",
         "ts_text_words", "ts_true", "dur_1e400", "dur_negative", "dur_null", "dur_nan",
         "dur_146_years", "dur_minus_inf", "dur_object"),
        (3, 2, 0, {"'kernel' events": 1}),
    ),
    **dict.fromkeys(
        ("ts_hex", "ts_leading_0", "ts_no_decimals", "ts_no_integer", "ts_plus", "ts_empty",
         "name_bad_escape", "name_short_escape"),
        (3, 2, 0, {"damaged events": 1}),
    ),
    "cat_missing": (3, 2, 0, {"events without a category": 1}),
    "cat_unknown": (3, 2, 0, {"'my_category' events": 1}),
    "ph_missing": (3, 2, 0, {"events without a phase": 1}),
    "ph_unknown": (3, 2, 0, {"events of phase 'Z'": 1}),
    "begin_end": (4, 2, 0, {"begin/end events": 2}),
    "list_of_mixed": (8, 2, 0, {"list elements": 5, "events without a phase": 1}),
    "op_with_stream": (3, 2, 1, {}),
    "ops_crossing": (6, 2, 3, {}),
    "kernels_zero": (20, 20, 0, {}),
    "kernels_equal": (20, 20, 0, {}),
    "graph_launch": (6, 5, 0, {}),
    "launch_after_kernel": (2, 1, 0, {}),
    "correlation_wrapped": (3, 2, 0, {}),
    "threads": (380, 0, 380, {}),
    "events_in_metadata_text": (1, 1, 0, {}),
    "events_in_metadata_object": (1, 1, 0, {}),
    "events_twice": (1, 1, 0, {}),
}  # fmt: skip

REFUSED = {
    "like_jax": "JAX/XLA", "like_xpu": "XPU", "like_sqlite": "SQLite", "like_zip": "zip",
    "like_tensorboard": "TensorBoard", "like_parquet": "Parquet", "like_zstd": "zstd",
    "like_bzip2": "bzip2", "like_xz": "xz", "like_elf": "binary", "like_png": "binary",
    "like_pickle": "binary", "like_html": "not JSON", "utf16": "binary", "zero": "empty",
    "nul_bytes": "binary", "ff_bytes": "", "json_lines": "", "like_chakra": "no trace",
    "list_of_numbers": "does not hold objects", "events_object": "no trace",
    "events_null": "no trace", "events_text": "no trace", "gzip_text_not_json": "not JSON",
    "gzip_cut_in_header": "cut short", "cut_first_byte": "", "cut_in_events_key": "",
    "cut_before_bracket": "", "args_deep_2000": "nested", "brackets": "", "braces": "",
}  # fmt: skip


def path_of(name: str) -> Path:
    (path,) = (path for path in FILES if name_of(path) == name)
    return path


@pytest.mark.parametrize("name", CUT)
def test_what_is_left_of_files_that_end_early(name: str) -> None:
    trace = load_file(str(path_of(name)))
    assert (trace.events, trace.truncated, trace.left_out) == (CUT[name], True, ())


@pytest.mark.parametrize("name", WHOLE)
def test_what_whole_files_hold(name: str) -> None:
    assert summary(load_file(str(path_of(name)))) == (*WHOLE[name], False)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    with pytest.raises(InputError) as caught:
        load_file(str(path_of(name)))
    assert REFUSED[name] in str(caught.value).removeprefix(str(path_of(name)))
