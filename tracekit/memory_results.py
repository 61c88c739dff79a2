"""What `tracekit study memory` returns: frozen records whose fields are those of its JSON.

Sizes are integer bytes. Scores are the matrix softmax(QKᵀ) before the softmax, one number for each
query and key of each head. A step is what the denoiser does for one sampling step, guidance
included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

MEMORY_SCHEMA: Final = "tracekit.memory/1"
"""Name and version of the JSON that `tracekit study memory --format json` writes."""


@dataclass(frozen=True, slots=True)
class AttentionMemory:
    """Calls of attention in one step that are of the same sizes, and what one of them holds.

    `calls` is their number in a step, `batch` what the operator is given, guidance, frames and
    positions included. `scores_bytes` is one matrix of scores, in the dtype of the model,
    `held_bytes` what written-out attention has of them at once, `log_sum_exp_bytes` what Flash
    Attention has in their place. `output_bytes` is what either returns.
    """

    kind: str
    axis: str
    calls: int
    batch: int
    heads: int
    query_length: int
    key_length: int
    head_size: int
    scores_bytes: int
    held_bytes: int
    log_sum_exp_bytes: int
    output_bytes: int


@dataclass(frozen=True, slots=True)
class AxisMemory:
    """The calls of a step along one axis: the most that one holds, and the sum of all scores."""

    axis: str
    calls: int
    held_bytes: int
    step_bytes: int


@dataclass(frozen=True, slots=True)
class ModelMemory:
    """Attention memory of one model at one size.

    `frames` is null for an image, `tokens` the longest query length. Of written-out attention,
    `held_bytes` is what its largest call holds at once and `step_bytes` the sum of the scores over
    all calls of a step, which the study plots; of Flash Attention, `flash_held_bytes` and
    `flash_step_bytes` are the same of the log-sum-exp. `attention` has the largest call first,
    `by_axis` the largest sum.
    """

    model: str
    preset: str
    architecture: Literal["unet", "transformer"]
    height: int
    width: int
    frames: int | None
    prompt_tokens: int
    tokens: int
    calls: int
    held_bytes: int
    step_bytes: int
    flash_held_bytes: int
    flash_step_bytes: int
    by_axis: tuple[AxisMemory, ...]
    attention: tuple[AttentionMemory, ...]


@dataclass(frozen=True, slots=True)
class Growth:
    """How attention memory grows between two neighbouring sizes, or numbers of frames.

    An exponent is log(bytes ratio) / log(ratio of `stop` to `start`); `start` and `stop` are the
    sides of images of that many pixels, the root of height times width, or numbers of frames.
    `step_exponent_by_axis` tells the calls of a step apart by what they attend along.
    """

    model: str
    preset: str
    along: Literal["side", "frames"]
    start: float
    stop: float
    held_exponent: float
    step_exponent: float
    flash_held_exponent: float
    step_exponent_by_axis: dict[str, float]


@dataclass(frozen=True, slots=True)
class MemoryStudy:
    """Attention memory of models at the sizes asked for.

    `copies` is how many matrices of scores written-out attention holds at once. `heads` is the
    number that was put in place of each model's own, null where none was.
    """

    schema: str
    batch: int
    dtype: str
    heads: int | None
    copies: int
    models: tuple[ModelMemory, ...]
    growth: tuple[Growth, ...]
