"""What collectors run: one piece of work on a model, told apart into stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import torch

Attention = Literal["eager", "math", "flash", "efficient", "cudnn", "auto"]
Dtype = Literal["bfloat16", "float16", "float32"]
PassName = Literal["timing", "light", "rich", "eager"]


class StageMarker(Protocol):
    """Marks a stage while work runs: `with stage("denoise", step=3): …`."""

    def __call__(self, name: str, step: int | None = None) -> AbstractContextManager[None]:
        """Return a context that lasts as long as the stage, or one step of it."""
        ...


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How a model is built and what it is given; null takes the model's published size.

    `attention` is the implementation asked for, `size` the image side in pixels, `frames` a
    video's length, `steps` the number of sampling steps, `prompt_tokens` and `new_tokens` counts
    of tokens, `weights` a local folder (random weights without it), `preset` the name of one of
    the model's published sizes (its first without it), `tiny` the same architecture at a size for
    tests. `trace_steps` is how many steps of each repeated stage the light and rich
    passes record, null for all.
    """

    attention: Attention = "auto"
    dtype: Dtype = "bfloat16"
    device: str = "cuda"
    batch: int = 1
    size: int | None = None
    frames: int | None = None
    steps: int | None = None
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    weights: str | None = None
    preset: str | None = None
    seed: int = 0
    tiny: bool = False
    trace_steps: int | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """One inference that can be repeated.

    `run` does the work once and marks its stages; `modules` are the roots whose attention modules
    are labelled, by the name that their paths start with; `stages` the true number of steps of
    each stage, in order; `traced_stages` the number that `run_traced` does. `run_traced` does the
    same work with the steps that are to be recorded (decode positions spread over the whole
    length), null where `run` is recorded as it is. `config` is the full configuration as JSON.
    """

    name: str
    run: Callable[[StageMarker], object]
    modules: Mapping[str, torch.nn.Module]
    stages: Mapping[str, int]
    config: Mapping[str, Any]
    run_traced: Callable[[StageMarker], object] | None = None
    traced_stages: Mapping[str, int] = field(default_factory=dict)
    compile_targets: tuple[str, ...] = ()
