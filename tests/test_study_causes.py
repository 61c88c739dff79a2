"""Why figures deviate: variants, projections by hand, steps as graphs, counters, sentences."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tracekit.cause_results import GraphSpeedup, Projection, StudyCache, StudyVariant
from tracekit.errors import TraceFormatError
from tracekit.spread_results import Ratio, Spread
from tracekit.study import causes, claims, counted, measures
from tracekit.study.explaining import cache_rates, graph_causes, layout_causes, share_causes
from tracekit.study.folder import StudyFolder
from tracekit.study.kept import KEPT_COLUMNS, KERNELS, KeptRun
from tracekit.study.reading import MeasuredCase

H100, BF16 = "NVIDIA H100 80GB HBM3", "bfloat16"
COMPUTE, MEMORY = 989.4 / 312, 3350 / 2039
"""How many times an A100 takes: by peaks and by bandwidths of the data sheets."""


def row(category: str, dur_ns: int, **changes: Any) -> dict[str, Any]:
    made = dict.fromkeys(KEPT_COLUMNS)
    made |= {"category": category, "dur_ns": dur_ns, "name": "k", "stage": "denoise"}
    return made | changes


def case(folder: Path, rows: list[dict[str, Any]], **entry: Any) -> MeasuredCase:
    columns = {name: [one[name] for one in rows] for name in KEPT_COLUMNS}
    types = {"dur_ns": pa.int64(), "flops": pa.int64(), "bytes": pa.int64()}
    arrays = {
        name: pa.array(values, types.get(name, pa.string())) for name, values in columns.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays), folder / KERNELS)
    sampled = {"denoise": {"timed": 2, "recorded": 2, "whole": 10}}
    whole = {"name": folder.name, "model": "imagen", "attention": "flash", "sampled": sampled}
    analysis: Any = None
    return MeasuredCase(whole | entry, {}, KeptRun(folder, analysis))


def test_variants_are_set_over_the_model_as_it_is_studied(tmp_path: Path) -> None:
    plain = [
        row("conv", 60, name="fprop"),
        row("conv", 30, name="void cudnn::nchwToNhwcKernel<bf16>()"),
        row("norm", 10),
        row("memory", 7, name="void nhwcToNchwKernel()", stage=None),
    ]
    found = list(
        causes.variants(
            [
                case(tmp_path / "a", plain, variant="as studied"),
                case(tmp_path / "b", [row("conv", 60), row("norm", 20)], variant="channels last"),
                case(tmp_path / "c", plain),
                case(tmp_path / "d", plain, variant="channels last", model="muse"),
            ]
        )
    )
    assert [one.variant for one in found] == ["as studied", "channels last", "channels last"]
    # Five times: two of ten steps were recorded; what is in no stage was recorded once.
    assert found[0].categories == {"conv": 450, "norm": 50, "memory": 7}
    assert found[0].layout_ns == 150
    assert found[1].ratio == pytest.approx(400 / 507)
    assert found[1].layout_ns == 0
    assert found[2].ratio is None


def test_a_projection_goes_by_the_roof_of_each_kernel(tmp_path: Path) -> None:
    rows = [
        # 1e12 FLOPs are 1.01 ms at the peak of an H100: it computes.
        row("conv", 2_000_000, flops=10**12, bytes=10**6),
        row("norm", 1_000_000, bytes=10**9),
        row("memory", 500_000),
        # On an H100 bytes bound it (299 µs over 253), on an A100 FLOPs (801 µs over 490).
        row("linear", 600_000, flops=250 * 10**9, bytes=10**9),
    ]
    found = next(iter(causes.projections([case(tmp_path / "a", rows)], H100, BF16)))
    assert found.device == "A100 80GB SXM"
    assert found.projected["conv"] == pytest.approx(10_000_000 * COMPUTE, rel=1e-3)
    assert found.projected["norm"] == pytest.approx(5_000_000 * MEMORY, rel=1e-3)
    assert found.projected["memory"] == pytest.approx(2_500_000 * MEMORY, rel=1e-3)
    bound = (250e9 / 312e12) / (1e9 / 3350e9)
    assert found.projected["linear"] == pytest.approx(3_000_000 * bound, rel=1e-3)
    assert found.categories["conv"] == 10_000_000
    assert found.bounded_share == pytest.approx(3.6 / 4.1)


def test_a_device_onto_itself_is_as_it_is_and_an_unknown_one_is_nothing(tmp_path: Path) -> None:
    rows = [row("conv", 200, flops=10**9, bytes=10**3), row("norm", 100)]
    same = next(iter(causes.projections([case(tmp_path / "a", rows)], causes.PAPERS_DEVICE, BF16)))
    assert same.projected == same.categories
    assert not list(causes.projections([case(tmp_path / "b", rows)], None, BF16))
    # It has no peak for this type.
    v100 = "Tesla V100-SXM2-32GB"
    assert not list(causes.projections([case(tmp_path / "d", rows)], v100, BF16))
    assert list(causes.projections([case(tmp_path / "e", rows)], v100, "float16"))
    eager = case(tmp_path / "c", rows, attention="eager")
    assert not list(causes.projections([eager], H100, BF16))


def test_a_stage_is_what_it_is_in_the_whole_work(tmp_path: Path) -> None:
    rows = [row("conv", 60), row("norm", 20), row("norm", 100, stage="vae_decode"), row("conv", 4)]
    rows.append(row("linear", 5, stage="text_encoder"))
    eager = case(tmp_path / "b", rows, attention="eager")
    found = list(causes.stages([case(tmp_path / "a", rows), eager]))
    # Five times 84 ns, once 100, and less than a hundredth that is left out.
    assert [(one.stage, round(one.time_share, 3)) for one in found] == [
        ("denoise", 0.8),
        ("vae_decode", 0.19),
    ]
    assert found[0].categories == {"conv": 320, "norm": 100}


@pytest.mark.parametrize(
    ("entry", "apart"),
    [
        ({"kernel_ns": {"rich": 110, "light": 100}}, 0.1),
        ({"kernel_ns": {"rich": 110, "light": None}, "timed_again": {"light_ns": 100}}, 0.1),
        ({"kernel_ns": {"rich": 110, "light": None}, "timed_again": {"error": "busy"}}, None),
        ({}, None),
    ],
)
def test_a_light_pass_of_either_sitting_stands_beside_the_kernels(
    tmp_path: Path, entry: dict[str, Any], apart: float | None
) -> None:
    found = measures.run_of(case(tmp_path / "a", [row("conv", 1)], options={}, **entry))
    assert found.kernel_spread == (None if apart is None else pytest.approx(apart))


def test_a_preset_says_what_was_taken_smaller(tmp_path: Path) -> None:
    smaller = {"preset": "540p", "options": {"trace_steps": 1, "frames": 33}}
    found = measures.run_of(case(tmp_path / "a", [row("conv", 1)], **smaller))
    assert found.preset == "540p, frames 33"


def test_cases_that_were_timed_again_are_told_by_their_hour() -> None:
    def entry(name: str, again: dict[str, Any] | None) -> dict[str, Any]:
        return {"name": name, "repeats": 5, "timed_again": again}

    done = {"error": None, "created": "2026-11-25T23:10:59+00:00"}
    rows = [entry("a.1", done), entry("b", None), entry("c", {"error": "busy"})]
    found = measures.timed_again([*rows, entry("a.2", done | {"created": "2026-11-25T23:59"})])
    assert [(one.cases, one.repeats, one.when) for one in found] == [
        (("a.1", "a.2"), 5, "2026-11-25T23")
    ]


def call(stage: str, count: int, launched: list[float], graph: list[float] | None) -> Any:
    return {
        "stage": stage,
        "target": "unet",
        "count": count,
        "launched_ms": launched,
        "graph_ms": graph,
        "refused": None if graph else "not now",
    }


def graphs(folder: Path, name: str, calls: list[Any], attention: str) -> dict[str, Any]:
    where = folder / "runs" / name
    where.mkdir(parents=True)
    (where / "graphs.json").write_text(json.dumps({"calls": calls}))
    return {
        "name": name,
        "status": "done",
        "model": "imagen",
        "attention": attention,
        "is_graphed": True,
        "folder": f"runs/{name}",
        "sampled": {"denoise": {"timed": 2, "whole": 10}, "sr": {"timed": 1, "whole": 4}},
    }


def test_steps_as_graphs_are_scaled_call_by_call(tmp_path: Path) -> None:
    calls = [call("denoise", 2, [5.0, 6.0], [2.0, 2.0]), call("sr", 1, [3.0, 3.0], [1.0, 1.5])]
    refused = [*calls[:1], call("sr", 1, [3.0, 3.0], None)]
    entries = {
        "a": graphs(tmp_path, "a", calls, "flash"),
        "b": graphs(tmp_path, "b", refused, "eager"),
    }
    flash, eager = causes.graphed(StudyFolder(tmp_path, {}, None, entries))
    # Ten calls of the one and four of the other in the whole work.
    assert flash.launched_ns == Spread(67e6, 62e6, 72e6, 2)
    assert flash.graph_ns == Spread(25e6, 24e6, 26e6, 2)
    assert (flash.stages, flash.refused) == (("denoise", "sr"), None)
    # What was not captured does not stand beside what was.
    assert (eager.stages, eager.refused) == (("denoise",), "sr: not now")
    assert causes._refusals([call("a", 1, [], None), call("b", 1, [], None)]) == "a, b: not now"
    assert eager.launched_ns is not None
    assert eager.launched_ns.median == 55e6
    gain = next(iter(causes.graph_speedups([flash, eager], [])))
    assert gain.graph is None
    both = replace(eager, stages=flash.stages, graph_ns=Spread(50e6, 48e6, 52e6, 2))
    gain = next(iter(causes.graph_speedups([flash, both], [])))
    assert gain.graph is not None
    assert (gain.graph.value, gain.graph.is_difference) == (2.0, True)
    assert gain.kernels is None
    nothing = {"c": graphs(tmp_path, "c", [], "eager")}
    [silent] = causes.graphed(StudyFolder(tmp_path, {}, None, nothing))
    assert (silent.stages, silent.launched_ns, silent.graph_ns) == ((), None, None)
    assert not list(causes.graph_speedups([flash, silent], []))
    (tmp_path / "runs" / "a" / "graphs.json").write_text("{")
    with pytest.raises(TraceFormatError, match="record the case again"):
        list(causes.graphed(StudyFolder(tmp_path, {}, None, entries)))


def test_kernels_of_the_same_stages_stand_beside_graphs(tmp_path: Path) -> None:
    rows = [row("attention", 80), row("conv", 500, stage="vae_decode")]
    cases = [
        case(tmp_path / "a", rows),
        case(tmp_path / "b", [row("attention", 240)], attention="eager"),
    ]
    calls = [call("denoise", 2, [5.0], [2.0])]
    entries = {
        "x": graphs(tmp_path, "x", calls, "flash"),
        "y": graphs(tmp_path, "y", calls, "eager"),
    }
    found = tuple(causes.graphed(StudyFolder(tmp_path, {}, None, entries)))
    gain = next(iter(causes.graph_speedups(found, cases)))
    assert gain.kernels == 3.0


def test_counters_are_taken_where_names_and_order_are_the_same(tmp_path: Path) -> None:
    temporal = {"attention_axis": "temporal", "module": "temp.attn"}
    spatial = {"attention_axis": "spatial", "module": "attn"}
    rows = [
        row("conv", 9, name="void fprop<1>(Params)"),
        row("temporal_attention", 30, name="void flash_fwd<64>(Params)", **temporal),
        row("linear", 5, name="gemm", **temporal),
        row("temporal_attention", 10, name="void flash_fwd<64>(Params)", **temporal),
        row("attention", 20, name="void flash_fwd<64>(Params)", **spatial),
    ]
    header = (
        '"ID","Kernel Name","Block Size","Grid Size","Metric Name","Metric Unit","Metric Value"'
    )

    def write(names: list[str], rates: list[float]) -> StudyCache:
        found = case(tmp_path / "a", rows)
        lines = [
            f'"{at}","{name}","(1,1,1)","(1,1,1)","l1tex__t_sector_hit_rate.pct","%","{rate}"'
            for at, (name, rate) in enumerate(zip(names, rates, strict=True))
        ]
        (tmp_path / "a" / "ncu.csv").write_text("\n".join([header, *lines]) + "\n")
        return next(iter(counted.caches([found])))

    alone = write(["flash_fwd(P)"] * 3, [60, 20, 10])
    assert alone.temporal_l1 == pytest.approx(0.5)
    assert (alone.spatial_l1, alone.temporal_l2, alone.launches) == (pytest.approx(0.1), None, 3)
    inside = write(["flash_fwd(P)", "gemm", "flash_fwd(P)", "flash_fwd(P)"], [60, 99, 20, 10])
    assert inside.temporal_l1 == pytest.approx(0.5)
    other = write(["flash_fwd(P)"] * 2, [60, 20])
    assert (other.temporal_l1, other.spatial_l1, other.launches) == (None, None, 2)
    assert "flash: L1 50% beside 10%" in cache_rates([alone, other])[0]
    verdict = claims.temporal_attention([], None, [alone])
    assert "L1 50% beside 10%" in verdict.measured


def varied(variant: str, conv: int) -> StudyVariant:
    return StudyVariant("imagen", variant, None, 100, {"conv": conv, "norm": 100 - conv}, 0, 1.0)


def projected(**changes: Any) -> Projection:
    made = Projection(
        "imagen", "image", "diffusion", "A100", {"conv": 50, "norm": 50}, {"conv": 60, "norm": 40},
        25, 1.0,
    )  # fmt: skip
    return replace(made, **changes)


def test_sentences_say_what_moves_a_share_and_how_far() -> None:
    rows = [varied("as studied", 52), varied("channels last", 30), varied("batch 4", 58)]
    rows.append(varied("float16", 53))
    imagen = {"imagen": 0.52}
    found = share_causes("conv", imagen, 0.44, rows, [projected()])
    assert "imagen, 52% as studied in the same sitting: 30% channels last; 58% batch 4; " in found
    assert "within three points of that: float16." in found
    assert "Projected to an A100 by its roofline: imagen 60%" in found
    assert "within a tenth" not in found
    assert share_causes("conv", {"muse": 0.5}, 0.44, rows, [projected()]) == ""
    assert share_causes("conv", imagen, 0.44, rows[1:], []) == ""
    assert "imagen 25% of kernel time" in layout_causes([projected()])
    assert layout_causes([projected(layout_ns=0)]) == ""


def test_a_variant_meets_a_claim_if_the_largest_share_of_all_models_does() -> None:
    rows = [varied("as studied", 52), varied("channels last", 41), varied("float16", 53)]
    other = [varied("as studied", 46), varied("channels last", 31), varied("batch 4", 44)]
    rows += [replace(one, model="sd") for one in other]
    found = share_causes("conv", {"imagen": 0.52, "sd": 0.46}, 0.44, rows, [])
    assert found.endswith("the largest is within a tenth of 44%: 41% channels last.")


def gained(model: str, architecture: str, graph: float | None) -> GraphSpeedup:
    ratio = None if graph is None else Ratio(graph, graph * 0.99, graph * 1.01, graph != 1)
    return GraphSpeedup(model, "image", architecture, Ratio(1.0, 0.5, 2.0, False), ratio, 1.5)


def test_without_the_host_gains_are_judged_as_with_it() -> None:
    rows = [gained("stable-diffusion", "diffusion", 1.5), gained("muse", "transformer", 1.2)]
    found = graph_causes(rows)
    assert "stable-diffusion 1.50 (kernels 1.50), muse 1.20" in found
    assert "diffusion over transformer 1.25–1.25: it holds." in found
    assert graph_causes([gained("muse", "transformer", None)]) == ""
    why = claims.diffusion_gain([], rows).why
    assert "steps as CUDA graphs" in why
    assert "faster kernels do not shorten the run" in claims.diffusion_gain([]).why
