"""Experiments that look for causes: what is varied of one model, and steps without the host.

A *variant* is a model of the study with Flash Attention in which one thing differs from how it is
studied: the layout of its images, the search for the fastest convolution, the type of its numbers,
how its norms are written, the batch, the prompt, the preset. The first variant of a model is
`AS_STUDIED`, recorded in the same sitting as the others. *Graphs* take the time of the calls that a
model's main stages are made of, launched one kernel after the other and as one CUDA graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tracekit.errors import UsageError

if TYPE_CHECKING:
    from tracekit.study.plan import Case, Scale

VARIANTS, GRAPHS = "variants", "graphs"
EXPERIMENTS: Final = (VARIANTS, GRAPHS)
NO_EXPERIMENT: Final = "none"
AS_STUDIED: Final = "as studied"


@dataclass(frozen=True, slots=True)
class Variant:
    """One difference: `options` of the model, `settings` of PyTorch, or the `dtype`.

    `settings` are names that `tracekit.collectors.variants` knows. `compiles` has the model's
    repeated blocks compiled.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    dtype: str | None = None
    compiles: bool = False


_PLAIN: Final = Variant(AS_STUDIED)
_HALF: Final = Variant("float16", dtype="float16")
_TF32: Final = Variant("float32, tensor cores (TF32)", settings=("tf32",), dtype="float32")
_NO_TF32: Final = Variant("float32, no tensor cores", settings=("no-tf32",), dtype="float32")
_CHANNELS_LAST: Final = Variant("channels last", settings=("channels-last",))
_BENCHMARK: Final = Variant("cuDNN benchmark", settings=("cudnn-benchmark",))
_BOTH: Final = Variant(
    "channels last, cuDNN benchmark", settings=("channels-last", "cudnn-benchmark")
)
_NORM_FLOAT32: Final = Variant("norms in float32", settings=("norms-float32",))
_WRITTEN_OUT: Final = Variant("norms and activations written out", settings=("norms-written-out",))


def _batch(count: int) -> Variant:
    return Variant(f"batch {count}", {"batch": count})


def _prompt(count: int) -> Variant:
    return Variant(f"{count} prompt tokens", {"prompt_tokens": count})


def _preset(name: str) -> Variant:
    return Variant(f"preset {name}", {"preset": name})


OF_MODEL: Final[dict[str, tuple[Variant, ...]]] = {
    "stable-diffusion": (
        _PLAIN, _CHANNELS_LAST, _BENCHMARK, _BOTH, _HALF, _TF32, _NORM_FLOAT32, _WRITTEN_OUT,
        _batch(4), _NO_TF32,
    ),
    "parti": (
        _PLAIN, _batch(2), _batch(4), _batch(8), _batch(16), _prompt(16), _WRITTEN_OUT, _HALF,
        _TF32, _preset("750m"), _preset("20b"),
    ),
    "imagen": (
        _PLAIN, _CHANNELS_LAST, _BENCHMARK, _BOTH, _HALF, _TF32, _NORM_FLOAT32, _WRITTEN_OUT,
        _preset("if-m"),
    ),
    "muse": (
        _PLAIN, _batch(2), _batch(4), _batch(8), _prompt(16), _WRITTEN_OUT, _HALF, _TF32,
        Variant("blocks compiled", compiles=True),
    ),
}  # fmt: skip
"""What is varied, of the models whose shares are far from what is claimed."""
GRAPHED: Final = (
    "stable-diffusion", "imagen", "muse", "prod-image", "phenaki", "parti", "llama",
)  # fmt: skip
"""Models whose calls are timed as CUDA graphs: those of the paper that the host holds up."""
_TINY_VARIED: Final = ("stable-diffusion", "parti")
_TINY_VARIANTS: Final = 3
_TINY_GRAPHED: Final = ("stable-diffusion", "parti")
_REPEATS: Final[dict[str, int]] = {"full": 7, "quick": 5, "tiny": 1}
_STEPS: Final = {"parti": 4}
_OTHER_STEPS: Final = 2
_DECODING: Final = ("parti", "llama")
"""Models of which one step, in the middle of the length, is timed as a graph."""


def chosen_experiments(names: Iterable[str], models: Iterable[str]) -> tuple[str, ...]:
    """Return the experiments of these names, each once; none where none is named.

    Raises
    ------
    UsageError
        There is no such experiment, or it looks at none of the models.
    """
    asked, chosen = list(names), set(models)
    for name in asked:
        if name != NO_EXPERIMENT and name not in EXPERIMENTS:
            known = ", ".join((*EXPERIMENTS, NO_EXPERIMENT))
            raise UsageError(f"--experiments {name}: known are {known}")
        looked_at = GRAPHED if name == GRAPHS else tuple(OF_MODEL)
        if name != NO_EXPERIMENT and not chosen & set(looked_at):
            raise UsageError(
                f"--experiments {name}: looks at {', '.join(looked_at)}; add one to --models"
            )
    return tuple(name for name in EXPERIMENTS if name in asked)


def experiment_cases(names: Iterable[str], models: Iterable[str], scale: Scale) -> Iterator[Case]:
    """Yield what is recorded of the models for these experiments, in the order of `OF_MODEL`."""
    asked, chosen = set(names), set(models)
    if VARIANTS in asked:
        for model in OF_MODEL:
            if model in chosen:
                yield from _variants(model, scale)
    if GRAPHS in asked:
        for model in _TINY_GRAPHED if scale == "tiny" else GRAPHED:
            if model in chosen:
                yield from _graphs(model, scale)


def _variants(model: str, scale: Scale) -> Iterator[Case]:
    from tracekit.study.plan import FLASH, Case

    found = OF_MODEL[model]
    if scale == "tiny":
        found = found[:_TINY_VARIANTS] if model in _TINY_VARIED else ()
    for variant in found:
        yield Case(
            name=f"variant.{model}.{_slug(variant.name)}",
            model=model,
            attention=FLASH,
            options={"trace_steps": _steps(model, scale), **variant.options},
            repeats=_REPEATS[scale],
            warm_up=1,
            variant=variant.name,
            settings=variant.settings,
            dtype=variant.dtype,
            compiles=variant.compiles,
        )


def _graphs(model: str, scale: Scale) -> Iterator[Case]:
    from tracekit.study.plan import BASELINE, FLASH, Case

    for attention in (FLASH, BASELINE):
        yield Case(
            name=f"graph.{model}.{attention}",
            model=model,
            attention=attention,
            options={"trace_steps": 1 if model in _DECODING else _steps(model, scale)},
            repeats=_REPEATS[scale],
            is_graphed=True,
        )


def _steps(model: str, scale: Scale) -> int:
    return 1 if scale == "tiny" else _STEPS.get(model, _OTHER_STEPS)


def _slug(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())
