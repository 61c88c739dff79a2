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

    `scores_gb` is what the scores of one call of attention take written out, where that is what
    decides whether it fits, and `weights_gb` what the weights take, in 16-bit numbers.
    """

    task: Task
    architecture: Architecture
    scores_gb: int | None = None
    weights_gb: int = 0

    def why_not_eager(self, memory_bytes: int | None) -> str | None:
        """Return why attention cannot be written out in so much memory, null where it may be."""
        if self.scores_gb is None or memory_bytes is None:
            return None
        # Scores are there twice while they are scaled, and while their softmax is taken.
        needed = 2 * self.scores_gb + self.weights_gb
        if needed * 1e9 <= memory_bytes:
            return None
        return (
            f"not tried: written out, the scores of one call of attention take {self.scores_gb} GB "
            f"and are held twice, beside {self.weights_gb} GB of weights; the GPU has "
            f"{memory_bytes / 1e9:.0f} GB"
        )


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
    "stable-video-diffusion": Family("video", "diffusion", 42, 5),
    "animatediff": Family("video", "diffusion"),
    "latte": Family("video", "diffusion"),
    "cogvideox": Family("video", "diffusion", 38, 13),
    "wan": Family("video", "diffusion", 26, 15),
    "hunyuan-video": Family("video", "diffusion", 670, 41),
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
