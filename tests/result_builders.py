"""Small builders for hand-made results, so that a test states only what it is about."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tracekit.attention_results import (
    AttentionCache,
    AttentionCall,
    AttentionInside,
    AxisCache,
    AxisInside,
    AxisRatio,
    LengthLevels,
    LengthProfile,
    LengthRatio,
    PartCache,
    PartTime,
    SequenceLength,
    StageLikeness,
)
from tracekit.categories import CATEGORIES
from tracekit.results import (
    Analysis,
    AnalysisSet,
    AttentionResult,
    AttentionShare,
    Blame,
    CategoryTime,
    CauseTime,
    Corrected,
    CorrectedStage,
    DeviceTime,
    EvidenceTime,
    Gap,
    IdleResult,
    KernelTime,
    LeftOut,
    Overall,
    StageTime,
    StepTime,
    TimeTotals,
    TraceInfo,
    UnreadableInput,
)
from tracekit.roofline_results import AboveRoof, DevicePeaks, Roofline, RooflineRow
from tracekit.units import share_of

if TYPE_CHECKING:
    from collections.abc import Mapping

US = 1_000
MS = 1_000_000

FLASH = (
    "void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128, 128, 4, false, false, "
    "cutlass::bfloat16_t>, false, false, {even}, false>(pytorch_flash::Flash_fwd_params)"
)
MULTIPLY = (
    "void at::native::elementwise_kernel<128, 4, at::native::gpu_kernel_impl_nocast<"
    "at::native::BinaryFunctor<c10::BFloat16, c10::BFloat16, c10::BFloat16, "
    "at::native::binary_internal::MulFunctor<float> > >(at::TensorIteratorBase&)::"
    "{lambda(int)#1}>(int, {lambda(int)#1})"
)
GEMM = "nvjet_sm90_tst_128x160_64x5_2x1_v_bz_coopA_bias_TNT"
CONVOLUTION = (
    "sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x128x64_"
    "warpgroupsize1x1x1_g1_execute_segment_k_off_kernel__5x_cudnn"
)


CAUSES = (
    CauseTime("host_late", 30_000_000, 0.75, 800),
    CauseTime("sync", 1_000_000, 0.025, 3),
    CauseTime("launch_latency", 9_000_000, 0.225, 1_790),
    CauseTime("profiler", 0, 0.0, 0),
    CauseTime("unknown", 0, 0.0, 0),
)


def blame(time_ns: int, cause: str = "host_late", **changes: Any) -> Blame:
    row = Blame(cause, "denoise", None, None, None, None, None, False, time_ns, 10)
    return replace(row, **changes)


BLAME = (
    blame(14_000_000),
    blame(9_000_000, op="aten::addmm", module="unet.down_blocks.*.attn1"),
    blame(9_000_000, "launch_latency", op="aten::addmm"),
    blame(
        7_000_000,
        python="train.py(12): load",
        caller="train.py(12): load",
        is_own=True,
        stage=None,
    ),
    blame(1_000_000, "sync", annotation="read back"),
)


def trace_info(**changes: Any) -> TraceInfo:
    info = TraceInfo(
        path="runs/sdxl/trace.json.gz",
        pass_=None,
        rank=None,
        world_size=None,
        device_name="NVIDIA H100 80GB HBM3",
        torch="2.9.0+cu128",
        basis="gpu",
        events=48_231,
        gpu_events=3_912,
        truncated=False,
    )
    return replace(info, **changes)


def categories(times: Mapping[str, tuple[int, int]]) -> tuple[CategoryTime, ...]:
    """All ten rows from `{slug: (kernels, time_ns)}`."""
    whole = sum(time_ns for _, time_ns in times.values())
    rows = ((slug, *times.get(slug, (0, 0))) for slug in CATEGORIES)
    return tuple(CategoryTime(slug, n, ns, share_of(ns, whole)) for slug, n, ns in rows)


def analysis(
    times: Mapping[str, tuple[int, int]] | None = None, *, idle_ns: int = 0, **changes: Any
) -> Analysis:
    """One analysis of one device that is busy for the sum of `{slug: (kernels, time_ns)}`."""
    rows = categories(times or {})
    kernel_ns = sum(row.time_ns for row in rows)
    total = TimeTotals(kernel_ns + idle_ns, kernel_ns, idle_ns, kernel_ns)
    device = DeviceTime(0, total.span_ns, total.busy_ns, total.idle_ns, kernel_ns, start_ns=0)
    result = Analysis(
        trace=trace_info(),
        time=total,
        devices=(device,) if kernel_ns else (),
        corrected=None,
        categories=rows,
        evidence=(),
        top_kernels=(),
        stages=(),
        attention=AttentionResult(),
        idle=IdleResult((), (), (), 0, 0),
        roofline=None,
    )
    return replace(result, **changes)


def empty() -> Analysis:
    return analysis(
        trace=trace_info(path="empty.json", device_name=None, torch=None, events=0, gpu_events=0)
    )


def kernel(name: str | None, category: str, calls: int, time_ns: int, whole: int) -> KernelTime:
    each = time_ns // calls
    return KernelTime(name, category, calls, time_ns, share_of(time_ns, whole), each, each)


def stage(
    name: str | None, time_ns: int, *, start_ns: int, span_ns: int, **changes: Any
) -> StageTime:
    share = share_of(time_ns, span_ns)
    end_ns = start_ns + span_ns
    step = StepTime(0, 100, start_ns, end_ns, time_ns, time_ns, {"linear": time_ns}, span_ns, share)
    row = StageTime(
        stage=name,
        source="annotation" if name else None,
        steps=1,
        traced_steps=1,
        kernels=100,
        start_ns=start_ns,
        end_ns=end_ns,
        busy_ns=time_ns,
        time_ns=time_ns,
        categories={"linear": time_ns // 2, "conv": time_ns // 4, "norm": time_ns // 8},
        per_step=(step,) if name else (),
        span_ns=span_ns if name else 0,
        busy_share=share if name else None,
    )
    return replace(row, **changes)


def achieved(
    key: str | None, time_ns: int, flops: int | None, bytes_: int, **changes: Any
) -> RooflineRow:
    """A row of a device of 1 PFLOP/s and 3 TB/s, all of whose kernels have known costs."""
    ideal_ns = max((flops or 0) / 1e6, bytes_ / 3e3)
    row = RooflineRow(
        key=key,
        operations=100,
        uncounted=0,
        time_ns=time_ns,
        covered_ns=time_ns,
        flops=flops,
        bytes=bytes_,
        flops_per_s=None if flops is None else flops / time_ns * 1e9,
        bytes_per_s=bytes_ / time_ns * 1e9,
        intensity=None if flops is None else flops / bytes_,
        flops_share=None if flops is None else flops / 1e6 / time_ns,
        roofline_share=ideal_ns / time_ns,
    )
    return replace(row, **changes)


ROOFLINE = Roofline(
    device="NVIDIA H100 80GB HBM3",
    peaks=DevicePeaks({"bfloat16": 1e15}, 3e12, 50e6, "a data sheet"),
    total=achieved(None, 58_500_312, 15_000 * 10**9, 60 * 10**9, covered_ns=57_500_312),
    by_category=(
        achieved("conv", 12_912_345, 5_000 * 10**9, 4 * 10**9),
        achieved("linear", 24_101_020, 9_800 * 10**9, 30 * 10**9),
        achieved("temporal_attention", 4_400_123, 200 * 10**9, 11 * 10**9),
        achieved("norm", 3_120_456, None, 7 * 10**9),
    ),
    by_stage=(
        achieved("denoise", 48_000_000, 14_000 * 10**9, 50 * 10**9),
        achieved(None, 1_200_345, None, 10**9),
    ),
    above_roof=(AboveRoof("fits in the cache", 12, 40_000, 1.4),),
)

U_SHAPE = (*[4_096] * 2, *[1_024] * 2, *[256] * 2, 64, *[256] * 3, *[1_024] * 3, *[4_096] * 3)


INSIDE = AttentionInside(
    by_axis=(
        AxisInside(
            *("spatial", 140, 560, 7_000_000, 50_000, 57_623_894_894),
            (
                PartTime("gemm", 280, 4_000_000, 4 / 7, 28_571),
                PartTime("softmax", 140, 2_000_000, 2 / 7, 14_286),
                PartTime("copy", 140, 1_000_000, 1 / 7, 7_143),
            ),
        ),
        AxisInside(
            *("temporal", 48, 96, 4_400_123, 91_669, 2_329_237_655),
            (
                PartTime("gemm", 48, 1_100_000, 1_100_000 / 4_400_123, 22_917),
                PartTime("copy", 48, 3_300_123, 3_300_123 / 4_400_123, 68_753),
            ),
        ),
        AxisInside(
            *(None, None, 70, 3_530_777, None, None), (PartTime("other", 70, 3_530_777, 1.0, None),)
        ),
    ),
    temporal_to_spatial=(
        AxisRatio(None, 48 / 140, 0.6286, 1.8334, 0.01386, 0.0404, {"gemm": 0.275, "copy": 3.3}),
        AxisRatio("self", 48 / 188, 0.7, 2.7, None, None, {}),
    ),
)


def attention_call(**changes: Any) -> AttentionCall:
    call = AttentionCall(
        start_ns=9_100_000,
        stage="denoise",
        step=0,
        module="unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1",
        kind="self",
        axis="spatial",
        phase="forward",
        causal=False,
        batch=32,
        heads=8,
        key_heads=8,
        sequences=256,
        query_length=4_096,
        key_length=4_096,
        head_size=40,
        value_size=40,
        dtype="bfloat16",
        backend="flash",
        kernels=1,
        time_ns=150_000,
        flops=687_194_767_360,
        flops_causal=687_194_767_360,
        bytes=335_544_320,
    )
    return replace(call, **changes)


TYPICAL_TIMES = {
    "conv": (1_203, 12_912_345),
    "linear": (1_480, 24_101_020),
    "attention": (210, 10_530_777),
    "temporal_attention": (96, 4_400_123),
    "norm": (402, 3_120_456),
    "elementwise": (1_380, 2_900_789),
    "embedding": (4, 12_400),
    "memory": (77, 520_300),
    "other": (3, 2_112),
}


TYPICAL_ATTENTION = AttentionResult(
    by_axis=(
        AttentionShare("spatial", 140, 7_000_000, 7 / 14.93, 140, 8_067_345_285_120),
        AttentionShare("temporal", 96, 4_400_123, 4.4 / 14.93, 48, 111_803_367_424),
        AttentionShare(None, 70, 3_530_777, 3.53 / 14.93),
    ),
    by_kind=(
        AttentionShare("self", 236, 11_400_123, 11.4 / 14.93, 188, 8_179_148_652_544),
        AttentionShare("cross", 70, 3_530_777, 3.53 / 14.93, None, None, 0),
    ),
    calls=(
        attention_call(),
        attention_call(
            axis="temporal", batch=4_096, sequences=32_768, query_length=16, key_length=16
        ),
        AttentionCall(*[9_300_000, *[None] * 5, "forward", *[None] * 11, 2, 50_000, *[None] * 3]),
    ),
    calls_total=306,
    calls_listed=3,
    sequence_lengths=(
        SequenceLength(4_096, 4_096, "self", "spatial", 40, 6_000_000, 0.4),
        SequenceLength(16, 16, "self", "temporal", 48, 4_400_123, 0.3),
        SequenceLength(None, None, None, None, 70, 3_530_777, 0.24),
        SequenceLength(1_024, 1_024, "self", "spatial", 60, 900_000, 0.06),
    ),
    length_ratio=LengthRatio(
        "denoise",
        0,
        "spatial",
        4_096,
        64,
        64.0,
        4.0,
        (LengthLevels("denoise", 0, "spatial", (4_096, 1_024, 256, 64), 64.0, 4.0),),
    ),
    profile=(
        LengthProfile("text_encoder", "sequence", 12, 1, False, "call", (77,) * 12),
        LengthProfile("denoise", "spatial", 64, 4, True, "call", U_SHAPE),
        LengthProfile("denoise", "temporal", 64, 4, True, "call", (16,) * 16),
    ),
    inside=INSIDE,
    likeness=(
        StageLikeness(
            "text_encoder", "prefill", 77, 77, 77.7, None, "77 queries at once on 77 keys"
        ),
        StageLikeness(
            *("denoise", None, 4_096, 4_096, 12.5, 333.0),
            "4,096 queries at once on 4,096 keys; 12.5 FLOPs a byte",
        ),
    ),
)


def typical(**changes: Any) -> Analysis:
    """A text-to-video run with everything that a report can show, at realistic sizes."""
    whole = sum(time_ns for _, time_ns in TYPICAL_TIMES.values())
    gaps = (
        Gap(0, 22_800_000, 9_412_345, "vae_decode", GEMM, CONVOLUTION),
        Gap(0, 4_200_500, 1_204_100, "denoise", FLASH.format(even="true"), MULTIPLY),
        Gap(0, 61_000_200, 402_100, "denoise", "Memcpy HtoD (Pageable -> Device)", GEMM),
        Gap(0, 61_900_200, 88_000, None, None, "核函数_注意力_前向"),
    )
    result = analysis(
        TYPICAL_TIMES,
        idle_ns=70_300_000,
        evidence=(
            EvidenceTime("op", 4_700, whole - whole // 50, 0.98),
            EvidenceTime("name", 155, whole // 50, 0.02),
        ),
        top_kernels=(
            kernel(GEMM, "linear", 372, 14_012_000, whole),
            kernel(CONVOLUTION, "conv", 146, 8_400_000, whole),
            kernel(FLASH.format(even="true"), "attention", 140, 5_800_000, whole),
            kernel(FLASH.format(even="false"), "attention", 70, 4_700_000, whole),
            kernel(MULTIPLY, "elementwise", 566, 1_200_000, whole),
            kernel("核函数_注意力_前向", "temporal_attention", 96, 4_400_123, whole),
            kernel("Memcpy DtoD (Device -> Device)", "memory", 70, 500_000, whole),
        ),
        stages=(
            stage("text_encoder", 1_200_000, start_ns=0, span_ns=9_000_000),
            stage(
                "denoise",
                48_000_000,
                start_ns=9_000_000,
                span_ns=92_000_000,
                steps=50,
                traced_steps=4,
                categories={
                    "temporal_attention": 30_000_000,
                    "conv": 10_000_000,
                    "communication": 8_000_000,
                },
            ),
            stage("vae_decode", 8_100_000, start_ns=101_000_000, span_ns=27_000_000),
            stage(None, 1_200_345, start_ns=0, span_ns=128_000_000, steps=None, traced_steps=None),
        ),
        attention=TYPICAL_ATTENTION,
        idle=IdleResult(CAUSES, BLAME, gaps, 1_804, len(gaps)),
        roofline=ROOFLINE,
        left_out=(
            LeftOut(
                "gpu_user_annotation",
                60,
                None,
                "mirrors of CPU annotations on the GPU's timeline: they are no GPU work",
            ),
            LeftOut("overhead", 12, 4_100_000, "time of the profiler itself"),
        ),
    )
    return replace(result, **changes)


CACHE = AttentionCache(
    by_axis=(
        AxisCache(
            *("spatial", 132, 8, 6_900_000, 0.412, 0.871, 3_210_000_000, 1_120_000_000),
            parts=(
                PartCache("gemm", 64, 4_000_000, 0.52, 0.913, 2_010_000_000, 1_020_000_000),
                PartCache("softmax", 68, 2_900_000, 0.263, 0.813, 1_200_000_000, 100_000_000),
            ),
        ),
        AxisCache(
            *("temporal", 96, 0, 4_400_123, 0.031, 0.604, 820_000_000, None),
            parts=(PartCache("fused", 96, 4_400_123, 0.031, 0.604, 820_000_000, None),),
        ),
        AxisCache(None, 0, 70, 0, None, None, None, None, parts=()),
    ),
    kernels=228,
    kernels_repeated=171,
    kernels_without=78,
    launches=1_204,
    launches_unmatched=3,
)
"""Hit rates as hardware counters tell them, of some kernels."""


def measured(**changes: Any) -> Analysis:
    """The typical run with what a run folder adds: true steps, and times without the profiler."""
    corrected = Corrected(
        source="measured",
        wall_ns=99_100_000,
        low_ns=97_200_000,
        high_ns=108_900_000,
        busy_ns=58_500_312,
        idle_ns=40_599_688,
        idle_share=40_599_688 / 99_100_000,
        dilation=1.62,
        by_cause=None,
        method=(
            "Wall time is the median of 5 unprofiled repeats; busy time is the union of GPU "
            "activity in the light pass; idle time is the difference."
        ),
        stages=(
            CorrectedStage("text_encoder", 6_100_000, 1_200_000, 4_900_000),
            CorrectedStage(
                "denoise",
                73_000_000,
                48_000_000,
                25_000_000,
                dilation=1.6,
                by_cause=(
                    CauseTime("host_late", 20_000_000, 0.8, 140),
                    CauseTime("sync", 0, 0.0, 0),
                    CauseTime("profiler", 0, 0.0, 0),
                    CauseTime("launch_latency", 5_000_000, 0.2, 150),
                    CauseTime("unknown", 0, 0.0, 0),
                ),
            ),
        ),
    )
    result = typical(trace=trace_info(path="runs/video", pass_="rich"), corrected=corrected)
    counted = replace(result.attention, cache=CACHE)
    return replace(result, **{"attention": counted, **changes})


def ranks(*runs: Analysis, unreadable: Mapping[str, str] | None = None) -> AnalysisSet:
    """A set of analyses with their sums."""
    times = {
        slug: (
            sum(run.categories[index].kernels for run in runs),
            sum(run.categories[index].time_ns for run in runs),
        )
        for index, slug in enumerate(CATEGORIES)
    }
    total = TimeTotals(
        *(
            sum(getattr(run.time, name) for run in runs)
            for name in ("span_ns", "busy_ns", "idle_ns", "kernel_ns")
        )
    )
    bad = tuple(UnreadableInput(path, error) for path, error in (unreadable or {}).items())
    return AnalysisSet(runs, Overall(total, categories(times), bad))
