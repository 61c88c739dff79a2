"""Which models the study looks at, and of which kind each is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from tracekit.errors import UsageError

Task = Literal["text", "image", "video"]
Architecture = Literal["transformer", "diffusion"]


@dataclass(frozen=True, slots=True)
class Family:
    """What a model makes, and whether it predicts tokens (`transformer`) or takes noise away.

    `why_not_eager` says why its attention is not measured written out, null where it is.
    """

    task: Task
    architecture: Architecture
    why_not_eager: str | None = None


_SCORES: Final = "the scores of one call of attention would take {} GB"
PAPER: Final[dict[str, Family]] = {
    "llama": Family("text", "transformer"),
    "imagen": Family("image", "diffusion"),
    "stable-diffusion": Family("image", "diffusion"),
    "muse": Family("image", "transformer"),
    "parti": Family("image", "transformer"),
    "prod-image": Family("image", "diffusion"),
    "make-a-video": Family("video", "diffusion"),
    "phenaki": Family("video", "transformer"),
}
"""The eight models of Golden et al. (arXiv 2312.14385)."""
TODAY: Final[dict[str, Family]] = {
    "sdxl": Family("image", "diffusion"),
    "sd3": Family("image", "diffusion"),
    "flux": Family("image", "diffusion"),
    "pixart": Family("image", "diffusion"),
    "stable-video-diffusion": Family("video", "diffusion", _SCORES.format(42)),
    "animatediff": Family("video", "diffusion"),
    "latte": Family("video", "diffusion"),
    "cogvideox": Family("video", "diffusion", _SCORES.format(38)),
    "wan": Family("video", "diffusion", _SCORES.format(26)),
    "hunyuan-video": Family("video", "diffusion", _SCORES.format(670)),
}
"""What people run since; sizes of scores are those of the published sizes."""
FAMILIES: Final = {**PAPER, **TODAY}
GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "paper": tuple(PAPER),
    "today": tuple(TODAY),
    "all": tuple(FAMILIES),
}


def chosen_models(names: Iterable[str]) -> tuple[str, ...]:
    """Return the models that names and groups stand for, each once, in the order of the study.

    Raises
    ------
    UsageError
        There is no such model or group.
    """
    chosen: set[str] = set()
    for name in names:
        if name not in GROUPS and name not in FAMILIES:
            near = difflib.get_close_matches(name, [*FAMILIES, *GROUPS], n=1, cutoff=0.4)
            known = ", ".join([*GROUPS, *FAMILIES])
            hint = f"did you mean {near[0]}?" if near else f"known are {known}"
            raise UsageError(f"--models {name}: no model is called that: {hint}")
        chosen |= set(GROUPS.get(name, (name,)))
    return tuple(name for name in FAMILIES if name in chosen)
