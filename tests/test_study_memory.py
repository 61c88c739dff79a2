"""`tracekit study memory`: the arithmetic, the report in every format, and refusals."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tracekit.cli import run
from tracekit.errors import UsageError
from tracekit.memory_results import MEMORY_SCHEMA, ModelMemory
from tracekit.reports.memory import render_memory
from tracekit.schemas import read_schema
from tracekit.study.memory import MemoryOptions, study_memory
from tracekit.study.models import MODELS, find_model


def one(name: str, **options: Any) -> ModelMemory:
    (row,) = study_memory([name], MemoryOptions(**options)).models
    return row


def test_stable_diffusion_by_hand() -> None:
    row = one("stable-diffusion", dtype="float16")
    # 512 px are 64 x 64 latents; guidance makes two images; 8 heads.
    scores = 2 * 8 * 4096 * 4096 * 2
    assert (row.tokens, row.held_bytes) == (4096, 2 * scores)
    assert row.flash_held_bytes == 2 * 8 * 4096 * 4
    levels = {4096: 5, 1024: 5, 256: 5, 64: 1}
    assert row.calls == 2 * sum(levels.values())
    assert row.step_bytes == sum(
        count * 2 * 8 * length * (length + 77) * 2 for length, count in levels.items()
    )
    assert row.flash_step_bytes == sum(
        2 * count * 2 * 8 * length * 4 for length, count in levels.items()
    )


def test_time_and_space_of_a_video_by_hand() -> None:
    row = one("make-a-video", frames=(8,), batch=3, dtype="float32")
    spatial = max(part.scores_bytes for part in row.attention if part.axis == "spatial")
    assert spatial == (2 * 3 * 8) * 5 * 4096 * 4096 * 4
    temporal = {part.heads: part for part in row.attention if part.axis == "temporal"}
    assert temporal[5].scores_bytes == (2 * 3 * 4096) * 5 * 8 * 8 * 4
    assert temporal[5].query_length == temporal[5].key_length == 8
    assert sum(part.step_bytes for part in row.by_axis) == row.step_bytes
    assert [part.axis for part in row.by_axis] == ["spatial", "temporal"]


def test_text_joins_the_sequence_or_is_other_keys() -> None:
    joint = one("sd3", prompt_tokens=100).attention[0]
    # The 77 tokens of two other encoders stand before those of T5.
    assert joint.query_length == joint.key_length == 4096 + 77 + 100
    cross = next(part for part in one("pixart", prompt_tokens=7).attention if part.kind == "cross")
    assert (cross.query_length, cross.key_length) == (4096, 7)


def test_frames_are_compressed_after_the_first() -> None:
    assert one("wan", frames=(81,)).tokens == 21 * 30 * 52
    assert one("wan", frames=(1,)).tokens == 30 * 52
    assert one("cogvideox").attention[0].query_length == 13 * 30 * 45 + 226


def test_a_side_that_a_level_does_not_divide_is_rounded_up() -> None:
    lengths = {part.query_length for part in one("stable-diffusion", sizes=((520, 264),)).attention}
    assert lengths == {65 * 33, 33 * 17, 17 * 9, 9 * 5}


def test_batch_heads_and_dtype_multiply() -> None:
    plain = one("sdxl", dtype="float16")
    assert one("sdxl", dtype="bfloat16").step_bytes == plain.step_bytes
    assert one("sdxl", dtype="float32").step_bytes == 2 * plain.step_bytes
    assert one("sdxl", dtype="float32").flash_step_bytes == plain.flash_step_bytes
    assert one("sdxl", dtype="float16", batch=3).held_bytes == 3 * plain.held_bytes
    # Ten heads at the largest level become one.
    assert one("sdxl", dtype="float16", heads=1).held_bytes * 10 == plain.held_bytes


def test_scores_grow_with_the_fourth_power_of_the_side() -> None:
    found = study_memory(
        ["stable-diffusion", "pixart"], MemoryOptions(sizes=((512, 512), (1024, 1024)))
    )
    assert [(row.model, row.along, row.start, row.stop) for row in found.growth] == [
        ("stable-diffusion", "side", 512, 1024),
        ("pixart", "side", 512, 1024),
    ]
    for row in found.growth:
        assert row.held_exponent == pytest.approx(4)
        assert 3.5 < row.step_exponent < 4
        assert row.flash_held_exponent == pytest.approx(2)


def test_temporal_scores_grow_with_the_square_of_the_frames() -> None:
    found = study_memory(["make-a-video"], MemoryOptions(frames=(32, 16), sizes=((64, 64),)))
    (row,) = found.growth
    assert (row.along, row.start, row.stop) == ("frames", 16, 32)
    assert row.step_exponent_by_axis == pytest.approx({"spatial": 1, "temporal": 2})
    assert row.held_exponent == pytest.approx(1)


def test_sizes_of_another_shape_are_not_compared() -> None:
    sizes = ((512, 512), (480, 832), (960, 1664))
    (row,) = study_memory(["sdxl"], MemoryOptions(sizes=sizes)).growth
    assert row.stop / row.start == pytest.approx(2)


def test_without_names_it_is_every_model() -> None:
    assert [row.model for row in study_memory([], MemoryOptions()).models] == list(MODELS)
    videos = study_memory([], MemoryOptions(frames=(17,))).models
    assert {row.model for row in videos} == {
        name for name in MODELS if find_model(name)[2].frames is not None
    }


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("sd4", {}, "no model is called sd4: did you mean sd3"),
        ("zzz", {}, "known are stable-diffusion, sdxl"),
        ("sd3:medium", {}, "sd3 has no preset medium: did you mean 3-medium"),
        ("sd3", {"sizes": ((520, 512),)}, "--size 520: sd3 3-medium takes multiples of 16 pixels"),
        ("sd3", {"sizes": ((0, 512),)}, "--size 0: it must be at least 1"),
        ("flux", {"frames": (2,)}, "--frames 2: flux dev makes images"),
        ("wan", {"frames": (16,)}, "--frames 16: wan 1.3b takes one more than a multiple of 4"),
        ("wan", {"frames": (0,)}, "--frames 0"),
        ("wan", {"batch": 0}, "--batch 0"),
        ("wan", {"heads": -1}, "--heads -1"),
        ("wan", {"dtype": "int8"}, "--dtype int8: it must be one of bfloat16"),
    ],
)
def test_what_a_model_cannot_take_is_refused(name: str, options: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        study_memory([name], MemoryOptions(**options))


def test_json_keeps_to_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["make-a-video", "sdxl", "--size", "64,512x128", "--size", "256", "--format", "json"]
    assert run(["study", "memory", *args]) == 0
    written = json.loads(capsys.readouterr().out)
    schema = read_schema("memory-1")
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(written)
    assert next(iter(written)) == "schema"
    assert written["schema"] == MEMORY_SCHEMA == schema["properties"]["schema"]["const"]
    assert [(row["model"], row["height"], row["width"]) for row in written["models"]] == [
        (model, *size)
        for model in ("make-a-video", "sdxl")
        for size in ((64, 64), (512, 128), (256, 256))
    ]
    assert written["models"][-1]["frames"] is None
    del written["models"][0]["held_bytes"]
    assert not Draft202012Validator(schema).is_valid(written)


def test_the_help_names_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "memory", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"all without it: {', '.join(MODELS)}." in told.replace("- ", "-")


def test_text_says_what_is_held_and_how_it_grows(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["stable-diffusion", "--size", "512,1024", "--dtype", "float16"]
    assert run(["study", "memory", *args]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Scores of attention in one step of the denoiser: batch 1, float16"
    small = next(line for line in lines if " 512 " in line)
    assert small.split()[:6] == ["stable-diffusion", "1.5", "512", "–", "16", "4,096"]
    assert "1.07 GB" in small
    grown = next(line for line in lines if line.startswith("side, stable-diffusion 1.5"))
    assert grown.split()[3:] == ["512", "1,024", "4.00", "3.98", "2.00", "spatial", "3.98"]
    assert max(map(len, lines)) <= 100


def test_csv_and_markdown_have_a_row_a_model_and_size() -> None:
    found = study_memory(["latte", "flux"], MemoryOptions())
    rows = list(csv.DictReader(io.StringIO(render_memory(found, "csv"))))
    assert [(row["model"], row["frames"], row["dtype"]) for row in rows] == [
        ("latte", "16", "bfloat16"),
        ("flux", "", "bfloat16"),
    ]
    assert int(rows[0]["held_bytes"]) == found.models[0].held_bytes
    markdown = render_memory(found, "markdown").splitlines()
    assert markdown[0].startswith("**Scores of attention")
    table = [line for line in markdown if line.startswith("| latte 1 |")]
    # One row of the whole, and one of each axis.
    assert len(table) == 3
    with pytest.raises(ValueError, match="unknown format"):
        render_memory(found, "html")  # type: ignore[arg-type]


def test_output_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "memory.csv"
    args = ["study", "memory", "flux", "--format", "csv", "-o", str(target)]
    assert run(args) == 0
    assert target.read_bytes().startswith(b"model,preset,")
    assert run(args) == 2
    assert "--force" in capsys.readouterr().err
    assert run([*args, "--force"]) == 0


@pytest.mark.parametrize("option", [["--size", "big"], ["--frames", "1,x"], ["--batch", "0"]])
def test_wrong_options(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "memory", "flux", *option]) == 2
    assert option[0] in capsys.readouterr().err
