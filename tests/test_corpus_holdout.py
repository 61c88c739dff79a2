"""The hold-out of the corpus: models of its own, recorded only when they are asked for."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from corpus import record
from corpus.recording import MODES, RICH
from corpus.spec import find_model, load_models
from tracekit.labels import parse_attention
from tracekit.validating import validate


def listed(capsys: pytest.CaptureFixture[str], *options: str) -> set[str]:
    assert record.main([*options, "--list"]) == 0
    return {line.partition(":")[0] for line in capsys.readouterr().out.splitlines()}


def test_the_hold_out_is_apart_and_large_enough(capsys: pytest.CaptureFixture[str]) -> None:
    seen, unseen = load_models(), load_models(holdout=True)
    assert not seen.keys() & unseen.keys()
    assert not {model.build for model in seen.values()} & {one.build for one in unseen.values()}
    assert 16 <= len(unseen) <= 24
    assert all(set(model.modes) <= set(MODES) for model in unseen.values())
    assert listed(capsys) == set(seen)
    assert listed(capsys, "--holdout") == set(unseen)
    assert find_model("opt").holdout
    assert not find_model("llama").holdout


def test_two_of_its_models_are_recorded_with_their_truth(tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = "vae-mochi-encoder,longformer"
    options = ["--holdout", "--models", names, "--modes", "default"]
    assert record.main(["-o", str(out), "--tiny", "--device", "cpu", *options]) == 0

    video = labels(out / "vae-mochi-encoder.default")
    # Attention along frames in three blocks of the encoder and the one after them.
    assert video["tk1|cat|temporal_attention|core:causal"] == 4
    assert not any(label.startswith("tk1|cat|attention") for label in video)
    axes = {(one.axis, one.kind) for label in video if (one := parse_attention(label))}
    assert axes == {("temporal", "self")}

    text = labels(out / "longformer.default")
    assert text["tk1|cat|attention|core"] > 3 * 4  # no fused call does what a band needs
    assert not any("temporal" in label for label in text)

    found = validate(str(out))
    assert [run.name for run in found.runs] == ["longformer.default", "vae-mochi-encoder.default"]
    assert all(run.decidable_kernels > 50 for run in found.runs)
    assert found.runs[1].truth["temporal_attention"] > 0


def labels(folder: Path) -> Counter[str]:
    events = json.loads(gzip.decompress((folder / RICH).read_bytes()))["traceEvents"]
    return Counter(event["name"] for event in events if event["name"].startswith("tk1|"))
