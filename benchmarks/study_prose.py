"""The sentences of ``docs/study.md`` that hold figures of the kept study.

What they say of it was written by hand, once it was measured; every figure in them is read from the
report, so that none is typed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from benchmarks.tools import UnusableError
from tracekit.analysis.device_peaks import peaks_of
from tracekit.study.causes import PAPERS_DEVICE
from tracekit.study.experiments import AS_STUDIED
from tracekit.units import format_bytes, format_ns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracekit.cause_results import GraphedSteps, GraphSpeedup, Projection, StudyVariant
    from tracekit.study_results import (
        Speedup,
        StudyIdle,
        StudyReport,
        StudyRun,
        SweepPoint,
        TemporalAttention,
    )

FLASH: Final = "flash"
Found = TypeVar("Found")


class Facts:
    """Looks up figures of a report, as texts; what is not there is an error."""

    def __init__(self, report: StudyReport) -> None:
        self._report = report

    def run(self, model: str, attention: str = FLASH) -> StudyRun:
        """Return one model with one attention."""
        return self._one(
            (one for one in self._report.runs if (one.model, one.attention) == (model, attention)),
            f"{model} {attention}",
        )

    def share(self, model: str, *categories: str, attention: str = FLASH) -> float:
        """Return the share of categories in a model's kernel time."""
        run = self.run(model, attention)
        return sum(run.categories.get(name, 0) for name in categories) / run.kernel_ns

    def shares(self, models: Iterable[str], *categories: str) -> str:
        """Return the least and the greatest of these shares, as "27% to 40%"."""
        found = sorted(self.share(model, *categories) for model in models)
        low, high = f"{found[0]:.0%}", f"{found[-1]:.0%}"
        return low if low == high else f"{low} to {high}"

    def speedup(self, model: str) -> Speedup:
        """Return what Flash Attention gives over attention written out."""
        found = (one for one in self._report.speedups if (one.model, one.base) == (model, "eager"))
        return self._one(found, f"speedup of {model}")

    def kernels(self, model: str) -> str:
        """Return the speedup of kernel time."""
        return _times(self.speedup(model).kernels)

    def wall(self, model: str) -> str:
        """Return the speedup of wall time."""
        wall = self.speedup(model).wall
        return _times(None if wall is None else wall.value)

    def idle(self, model: str, attention: str = FLASH) -> StudyIdle:
        """Return idle time without the profiler."""
        found = self._report.idle
        return self._one(
            (one for one in found if (one.model, one.attention) == (model, attention)),
            f"idle time of {model}",
        )

    def idle_share(self, model: str) -> str:
        """Return the share of idle time with Flash Attention."""
        return f"{self.idle(model).idle_share or 0:.0%}"

    def point(self, sweep: str, value: int, attention: str = FLASH) -> SweepPoint:
        """Return a point of a sweep."""
        points = (p for one in self._report.sweeps if one.name == sweep for p in one.points)
        return self._one(
            (one for one in points if (one.value, one.attention) == (value, attention)),
            f"{sweep} {value}",
        )

    def part(self, sweep: str, value: int, name: str) -> str:
        """Return the time of a part of a point, with Flash Attention."""
        return format_ns(self.point(sweep, value).times[name])

    def longest(self, model: str) -> str:
        """Return the longest sequence of a model's self-attention."""
        found = [one.longest for one in self._report.lengths if one.model == model]
        return f"{max(found):,}"

    def temporal(self, model: str, stage: str | None = None) -> TemporalAttention:
        """Return temporal attention with Flash Attention."""
        found = self._report.temporal
        key = (model, FLASH, stage)
        return self._one(
            (one for one in found if (one.model, one.attention, one.stage) == key),
            f"temporal attention of {model}",
        )

    def variant(self, model: str, name: str) -> StudyVariant:
        """Return a variant of a model."""
        found = self._report.variants
        return self._one(
            (one for one in found if (one.model, one.variant) == (model, name)),
            f"variant of {model}: {name}",
        )

    def varied(self, model: str, name: str, category: str) -> str:
        """Return the share of a category in a variant."""
        one = self.variant(model, name)
        return f"{one.categories.get(category, 0) / one.kernel_ns:.0%}"

    def grown(self, model: str, name: str, category: str) -> float:
        """Return how many times as long a category takes in a variant as it does as studied."""
        plain = self.variant(model, AS_STUDIED).categories[category]
        return self.variant(model, name).categories[category] / plain

    def projection(self, model: str) -> Projection:
        """Return a model's projection to the paper's device."""
        found = (one for one in self._report.projections if one.model == model)
        return self._one(found, f"projection of {model}")

    def projected(self, model: str, category: str) -> str:
        """Return the share of a category on the paper's device."""
        times = self.projection(model).projected
        return f"{times.get(category, 0) / sum(times.values()):.0%}"

    def layout(self, model: str) -> str:
        """Return the share of changes of layout in a model's kernel time."""
        one = self.projection(model)
        return f"{one.layout_ns / sum(one.categories.values()):.0%}"

    def graphed(self, model: str, attention: str = FLASH) -> GraphedSteps:
        """Return the steps of a model as CUDA graphs."""
        found = self._report.graphed
        return self._one(
            (one for one in found if (one.model, one.attention) == (model, attention)),
            f"graphs of {model}",
        )

    def graphs_give(self, model: str, attention: str = FLASH) -> str:
        """Return how many times as fast steps are as CUDA graphs."""
        one = self.graphed(model, attention)
        if one.launched_ns is None or one.graph_ns is None:
            return _times(None)
        return _times(one.launched_ns.median / one.graph_ns.median)

    def graph_speedup(self, model: str) -> GraphSpeedup:
        """Return what Flash Attention gives with the host and without."""
        found = (one for one in self._report.graph_speedups if one.model == model)
        return self._one(found, f"graphs of {model}")

    def peak(self, sweep: str, value: int, attention: str) -> str:
        """Return the most that a step of a point allocated."""
        return format_bytes(self.point(sweep, value, attention).peak_bytes)

    @staticmethod
    def _one(rows: Iterable[Found], what: str) -> Found:
        for one in rows:
            return one
        raise UnusableError(f"the study has no {what}")


def _beside_the_papers(report: StudyReport) -> tuple[float, float]:
    """Return arithmetic and bandwidth of the paper's device over those of the study's."""
    here, there = peaks_of(report.device), peaks_of(PAPERS_DEVICE)
    if here is None or there is None or not here.bandwidth or not there.bandwidth:
        raise UnusableError(f"{report.device}: has no peaks that are known")
    dtype = report.dtype
    return there.flops[dtype] / here.flops[dtype], there.bandwidth / here.bandwidth


def _times(value: float | None) -> str:
    if value is None:
        raise UnusableError("the study has no such ratio")
    return f"{value:.2f}x"


DIFFUSION: Final = ("imagen", "stable-diffusion", "prod-image", "make-a-video")
TOKENS: Final = ("muse", "parti", "phenaki")


def in_short(report: StudyReport) -> str:
    """Return what was found, in a list."""
    facts = Facts(report)
    idle = facts.idle
    graphs = idle("stable-diffusion").graph_speedup, idle("llama").graph_speedup
    quiet = facts.variant("stable-diffusion", AS_STUDIED)
    quiet_wall = None if quiet.wall_ns is None else round(quiet.wall_ns.median)
    base = facts.temporal("make-a-video", "denoise")
    attention = facts.point("image-size", 2048)
    return "\n".join(
        (
            "- **Convolution and normalization are what diffusion is made of once attention is "
            f"fused.** Convolution is {facts.share('imagen', 'conv'):.0%} of Imagen, "
            f"{facts.share('stable-diffusion', 'conv'):.0%} of Stable Diffusion, "
            f"{facts.share('make-a-video', 'conv'):.0%} of Make-A-Video and "
            f"{facts.share('prod-image', 'conv'):.0%} of the production model, which has many "
            "transformer blocks. Normalization comes next: "
            f"{facts.shares(DIFFUSION, 'norm')} of the diffusion models.",
            "- **About half of that convolution is no arithmetic.** "
            f"{facts.layout('stable-diffusion')} of Stable Diffusion's kernel time and "
            f"{facts.layout('imagen')} of Imagen's turn images from channels first to channels "
            "last and back, around cuDNN's kernels.",
            f"- **Linear layers carry the transformers**: {facts.shares(TOKENS, 'linear')} of "
            "Muse, Parti and Phenaki.",
            "- **Flash Attention is worth most where sequences are long and written-out scores "
            f"large**: {facts.kernels('prod-image')} of kernel time in the production model, "
            f"{facts.kernels('stable-diffusion')} in Stable Diffusion, {facts.kernels('phenaki')} "
            f"in Phenaki, whose sequences of {facts.longest('phenaki')} tokens are the longest of "
            f"the transformers; {facts.kernels('imagen')} in Imagen, whose denoisers attend to "
            f"{facts.longest('imagen')} tokens of the image at most, and "
            f"{facts.kernels('parti')} in Parti, which decodes token by token.",
            "- **On this host kernels are not the limit.** Without a profiler the GPU is idle for "
            f"{facts.idle_share('stable-diffusion')} of Stable Diffusion's time and "
            f"{facts.idle_share('llama')} of LLaMA's, so faster attention does not shorten most "
            "runs by more than they vary, and one CUDA graph of everything could give up to "
            f"{_times(graphs[0])} and {_times(graphs[1])}. On a quieter host of the same kind "
            f"Stable Diffusion took {format_ns(quiet_wall)}, for {format_ns(quiet.kernel_ns)} of "
            "kernels.",
            "- **Above 1,024 pixels a UNet is an attention model again, fused or not.** At 2,048 "
            f"pixels attention takes {facts.part('image-size', 2048, 'attention')} of "
            f"{format_ns(attention.kernel_ns)}, convolution "
            f"{facts.part('image-size', 2048, 'conv')}; at 512 they take "
            f"{facts.part('image-size', 512, 'attention')} and "
            f"{facts.part('image-size', 512, 'conv')}. The claim that convolution scales worse "
            "does not hold over this range.",
            "- **Temporal attention is slow for a reason that more frames cure.** In the base of "
            f"Make-A-Video it takes {base.time_ratio:.2f} times as long as spatial attention for "
            f"{base.flops_ratio or 0:.1%} of the FLOPs, because a sequence of 16 frames does not "
            "fill the tile of a fused kernel: its time hardly moves from 4 frames "
            f"({facts.part('frames', 4, 'temporal')}) to 128 "
            f"({facts.part('frames', 128, 'temporal')}), while spatial attention's grows in "
            f"proportion ({facts.part('frames', 4, 'spatial')} to "
            f"{facts.part('frames', 128, 'spatial')}).",
        )
    )


def serving(report: StudyReport) -> str:
    """Return what it means for who serves such a model, in a list."""
    facts = Facts(report)
    memory = facts.peak("image-size", 1024, "eager")
    gain = facts.graph_speedup("stable-diffusion")
    launched, graph = gain.launched, None if gain.graph is None else gain.graph.value
    return "\n".join(
        (
            "1. **Look at idle time first** (`tracekit analyze`, *Idle, without profiler*). A "
            "batch of one at 512 pixels is launched, not computed; a CUDA graph or "
            '`torch.compile(mode="reduce-overhead")` comes before any kernel.',
            "2. **Then at layout and normalization.** In UNets channels-last weights take most of "
            "the transposes around convolutions away; group norms are worth as much as attention.",
            "3. **Fused attention is a must for memory first**: written out, a step of Stable "
            f"Diffusion allocates {memory} at 1,024 pixels and does not fit 80 GB at 1,536, by the "
            "fourth power that the model of [memory.md](memory.md) gives. At 512 pixels its speed "
            "shows once the host is out of the way: "
            f"{_times(launched.value)} as launched, {_times(graph)} as a CUDA graph.",
            "4. **For video, count frames.** Short clips waste fused kernels along time; pack "
            "sequences, or attend along time with a kernel for short sequences.",
            "5. **Denoisers behave like prefill**: they are near the roofline's ridge, and "
            "batching gives throughput only while the GPU is idle. Token decoders behave like an "
            "LLM's, with weights read for each token. Parallel decoders (Muse, Phenaki) are "
            "transformers that behave like prefill.",
        )
    )


IMAGES: Final = ("sd3", "flux", "pixart")
VIDEOS: Final = ("cogvideox", "wan", "hunyuan-video")
_VARIED: Final = ("imagen", "stable-diffusion")


def what_changed(report: StudyReport) -> str:
    """Return what changed since the paper, in a list."""
    facts = Facts(report)
    denoisers = (*IMAGES, "latte", *VIDEOS)
    walls = ", ".join(
        f"{facts.wall(model)} in {name}"
        for model, name in (
            ("sd3", "Stable Diffusion 3"), ("pixart", "PixArt"), ("flux", "FLUX"),
            ("wan", "Wan"), ("latte", "Latte"),
        )
    )  # fmt: skip
    latte, svd = facts.temporal("latte"), facts.temporal("stable-video-diffusion")
    idle = sorted(facts.idle(model).idle_share or 0.0 for model in denoisers)
    return "\n".join(
        (
            "- **Convolution is gone from the denoiser.** In transformers "
            f"{facts.shares(denoisers, 'conv')} of the time is left, in the decoder; in Stable "
            f"Video Diffusion's UNet {facts.share('stable-video-diffusion', 'conv'):.0%}.",
            "- **Images are linear layers, attention and elementwise work**: "
            f"{facts.shares(IMAGES, 'linear')}, {facts.shares(IMAGES, 'attention')} even when "
            f"fused, and {facts.shares(IMAGES, 'elementwise')} in modulation, gates and rotations.",
            "- **Videos are attention.** Over space and time at once it takes "
            f"{facts.shares(VIDEOS, 'attention')} of CogVideoX, Wan and HunyuanVideo, with Flash "
            "Attention or what PyTorch takes in its place where there is a mask. Sequences are "
            f"of {facts.longest('cogvideox')}, {facts.longest('wan')} and (at 33 frames) "
            f"{facts.longest('hunyuan-video')} tokens.",
            f"- **Flash Attention shortens them for real**: {walls}, of wall time, every one a "
            "difference beyond the spread. For CogVideoX, HunyuanVideo and Stable Video Diffusion "
            "it is a condition: written out, scores of one call do not fit. The GPU waits for the "
            f"host in {idle[0]:.0%} to {idle[-1]:.0%} of the time only.",
            "- **Sequence lengths are one flat line** in every layer of a transformer where UNets "
            "go down and up; nothing of claim 5 is left, but in Stable Video Diffusion.",
            f"- **Temporal attention is the same story as in 2022**: {latte.share:.0%} of "
            f"attention time in Latte and {svd.share:.0%} in Stable Video Diffusion, for "
            f"{latte.flops_ratio or 0:.1%} and {svd.flops_ratio or 0:.1%} of spatial attention's "
            "FLOPs. The others have none.",
        )
    )


def why(report: StudyReport) -> str:
    """Return what experiments say of why figures deviate, in a list."""
    facts = Facts(report)
    last = "channels last"
    shares = {
        name: " and ".join(facts.varied(model, name, "conv") for model in _VARIED)
        for name in ("as studied", last, "norms in float32")
    }
    kernels = [facts.variant(model, last).ratio for model in _VARIED]
    norms = [facts.grown(model, last, "norm") for model in _VARIED]
    arithmetic, bandwidth = _beside_the_papers(report)
    unfused = "norms and activations written out"
    gains = facts.graph_speedup
    graphs = ", ".join(
        f"{_times(one.graph.value)} beside {_times(one.kernels)} in {name}"
        for model, name in (
            ("stable-diffusion", "Stable Diffusion"), ("imagen", "Imagen"),
            ("prod-image", "the production model"), ("muse", "Muse"), ("parti", "Parti"),
        )
        if (one := gains(model)).graph is not None
    )  # fmt: skip
    compiled = facts.varied("muse", "blocks compiled", "linear")
    return "\n".join(
        (
            "- **Claim 1, convolution: memory layout decides.** Of Imagen and Stable Diffusion "
            f"convolution is {shares['as studied']} as studied, and {shares[last]} with "
            "channels-last weights, for then cuDNN has nothing to turn around; the largest is "
            "then within a tenth of the claimed 44%. Which layout the paper's models had is not "
            "known. Kernels as a whole take "
            f"{_times(kernels[0])} and {_times(kernels[1])} of the time, for norms take "
            f"{norms[0]:.1f} and {norms[1]:.1f} times as long in that layout. Norms computed in "
            f"float32 dilute it as well ({shares['norms in float32']}); float16 for bfloat16 and "
            "cuDNN's search for the fastest algorithm change nothing. A smaller Imagen (`if-m`) "
            f"has {facts.varied('imagen', 'preset if-m', 'conv')}.",
            "- **Claim 2, linear layers: batch, size and fusion decide.** Parti's share falls from "
            f"{facts.varied('parti', 'as studied', 'linear')} to "
            f"{facts.varied('parti', 'batch 4', 'linear')} at a batch of 4 and "
            f"{facts.varied('parti', 'batch 16', 'linear')} at 16, for weights are read once for "
            "all while keys and values are read for each; it is "
            f"{facts.varied('parti', 'preset 750m', 'linear')} in the model of 750 M parameters "
            f"and {facts.varied('parti', 'preset 20b', 'linear')} in that of 20 B. With norms and "
            f"activations written out it is {facts.varied('parti', unfused, 'linear')}, and "
            f"Muse's {facts.varied('muse', unfused, 'linear')} where it is "
            f"{facts.varied('muse', 'as studied', 'linear')} as studied and {compiled} with its "
            "blocks compiled: the less is fused around them, the smaller linear layers look.",
            "- **Claim 3, wall time: the host.** The same calls as CUDA graphs, without the host, "
            "are faster with Flash Attention by what their kernels are: "
            f"{graphs}. Launched one kernel after the other on a quiet host, Stable Diffusion gets "
            f"{_times(gains('stable-diffusion').launched.value)}, and Parti "
            f"{_times(gains('parti').launched.value)}, not for its kernels but because there are "
            "fewer to launch. Graphs alone give Parti "
            f"{facts.graphs_give('parti')}, LLaMA {facts.graphs_give('llama')}, Muse "
            f"{facts.graphs_give('muse')} and Stable Diffusion "
            f"{facts.graphs_give('stable-diffusion')}. So the verdict of claim 3 is that of the "
            "kernels: diffusion gains more than transformers where it attends to thousands of "
            "tokens, and Imagen does not.",
            "- **Another generation of GPU does not explain it, by its roofline.** If each kernel "
            f"stayed as far from its roof on an A100, which has {arithmetic:.2f} of the arithmetic "
            f"and {bandwidth:.2f} of the bandwidth, convolution would be "
            f"{facts.projected('imagen', 'conv')} of Imagen and linear layers "
            f"{facts.projected('muse', 'linear')} of Muse: further from what is claimed, "
            "not nearer. That is a projection; no A100 was measured.",
        )
    )
