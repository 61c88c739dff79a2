"""The table of temporal beside spatial attention."""

from __future__ import annotations

from pathlib import Path

from programs import Program

from benchmarks import temporal_attention


def test_the_table_of_a_video_and_of_an_image(tmp_path: Path) -> None:
    video, image = Program(), Program()
    for _ in range(2):
        video.sdpa([16, 8, 256, 40], [16, 8, 256, 40])
        video.linear()
        video.sdpa([256, 8, 16, 40], [256, 8, 16, 40])
        video.linear()
    image.sdpa([2, 8, 256, 40], [2, 8, 256, 40])
    runs = [one.b.write(tmp_path / f"{name}.json") for one, name in ((video, "v"), (image, "i"))]
    docs = tmp_path / "a.md"
    docs.write_text("<!-- temporal:begin -->\n<!-- temporal:end -->\n")
    assert temporal_attention.main([*map(str, runs), "--docs", str(docs)]) == 0
    assert "| v.json | 50.0% | 1x | 0.062x | 1x | 0.062x | – | – |" in docs.read_text()
    assert "i.json" not in docs.read_text()


def test_a_file_that_is_missing_is_said(tmp_path: Path) -> None:
    assert temporal_attention.main([str(tmp_path / "none.json"), "--docs", "x"]) == 1
