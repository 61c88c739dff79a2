"""The hold-outs of the corpus: models of their own, recorded only when they are asked for."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from corpus import record
from corpus.recording import MODES, RICH
from corpus.spec import HOLDOUTS, find_model, load_models
from tracekit.labels import parse_attention
from tracekit.validating import validate


def listed(capsys: pytest.CaptureFixture[str], *options: str) -> set[str]:
    assert record.main([*options, "--list"]) == 0
    return {line.partition(":")[0] for line in capsys.readouterr().out.splitlines()}


@pytest.mark.parametrize("number", HOLDOUTS)
def test_a_hold_out_is_apart_and_large_enough(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [load_models(holdout=other) for other in (0, *HOLDOUTS) if other != number]
    unseen = load_models(holdout=number)
    for seen in others:
        assert not seen.keys() & unseen.keys()
        assert not {model.build for model in seen.values()} & {one.build for one in unseen.values()}
    assert 16 <= len(unseen) <= 24
    assert all(set(model.modes) <= set(MODES) for model in unseen.values())
    assert listed(capsys, "--holdout", str(number)) == set(unseen)


def test_the_corpus_is_listed_without_a_hold_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys) == set(load_models())
    assert listed(capsys, "--holdout") == set(load_models(holdout=1))
    names = ("llama", "opt", "x-clip", "sana-video")
    assert [find_model(name).holdout for name in names] == [0, 1, 2, 3]
    with pytest.raises(SystemExit):
        listed(capsys, "--holdout", "4")


def test_two_models_of_the_second_are_recorded_with_their_truth(tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--holdout", "2", "--models", "videoprism,vq-diffusion", "--modes", "default"]
    assert record.main(["-o", str(out), "--tiny", "--device", "cpu", *options]) == 0

    video = labels(out / "videoprism.default")
    calls = [(one.axis, one.kind) for label in video if (one := parse_attention(label))]
    assert sorted(calls) == [
        *[("sequence", "cross")], *[("spatial", "self")] * 3,
        *[("spatio-temporal", "self")], *[("temporal", "self")] * 2,
    ]  # fmt: skip
    # Two layers along time, five places that go elsewhere, all of them written out.
    along, elsewhere = (video[f"tk1|cat|{one}|core"] for one in ("temporal_attention", "attention"))
    assert 0 < 2 * along < elsewhere
    assert video["tk1|cat|conv|module"] == 1

    codes = labels(out / "vq-diffusion.default")
    assert codes["tk1|cat|attention|core:full"] == 6
    assert not any("|conv|" in label or "temporal" in label for label in codes)


def test_models_of_the_third_are_recorded_with_their_truth(tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = "torch-video,vivit-split-heads,sana-video,squeezebert"
    options = ["--holdout", "3", "--models", names, "--modes", "default"]
    assert record.main(["-o", str(out), "--tiny", "--device", "cpu", *options]) == 0

    for name, source in (("torch-video", "core"), ("vivit-split-heads", "core:full")):
        video = labels(out / f"{name}.default")
        axes = {(one.axis, one.kind) for label in video if (one := parse_attention(label))}
        assert axes == {("spatial", "self"), ("temporal", "self")}
        # Two layers of each, one fused call in every one.
        assert video[f"tk1|cat|temporal_attention|{source}"] == 2
        assert video[f"tk1|cat|attention|{source}"] == 2

    clip = labels(out / "sana-video.default")
    axes = {(one.axis, one.kind) for label in clip if (one := parse_attention(label))}
    assert axes == {("spatio-temporal", "self"), ("spatio-temporal", "cross")}
    # In two layers one fused call, and one that is all products and sums.
    assert clip["tk1|cat|attention|core:full"] == 2
    assert clip["tk1|cat|attention|core"] >= 2 * 10

    text = labels(out / "squeezebert.default")
    # All projections are convolutions, but for that of the summary at the end.
    assert text["tk1|cat|conv|module"] == 3 * 6
    assert text["tk1|cat|linear|module"] == 1


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
