"""The agreement of found stages with labels, on the run folders that the examples hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.stages import GOAL, adjusted_rand_index, agreement, main, traces_of

RUNS = Path(__file__).parent.parent / "examples" / "runs"


def test_adjusted_rand_index() -> None:
    one = np.array([0, 0, 1, 1, 2, 2])
    assert adjusted_rand_index(one, one) == 1
    assert adjusted_rand_index(one, np.array([5, 5, 3, 3, 9, 9])) == 1
    # Hubert and Arabie's formula by hand: 2 pairs in common of 3 and 6; (2 - 1.2) / (4.5 - 1.2).
    other = np.array([0, 0, 1, 0, 1, 1])
    assert adjusted_rand_index(one, other) == pytest.approx((2 - 1.2) / (4.5 - 1.2))
    assert adjusted_rand_index(np.zeros(4), np.zeros(4)) == 1
    assert adjusted_rand_index(np.empty(0), np.empty(0)) == 1


@pytest.mark.parametrize("run", traces_of([RUNS]), ids=lambda path: path.parent.name)
def test_found_stages_agree_with_the_labels(run: Path) -> None:
    found = agreement(run)
    assert found is not None
    values = [value for value in found.index.values() if value is not None]
    assert len(values) == 3
    assert min(values) >= GOAL


def test_the_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(RUNS / "stable-diffusion-h200")]) == 0
    assert "text_encoder (sequence)" in capsys.readouterr().out


def test_nothing_labelled_is_a_failure(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 1
