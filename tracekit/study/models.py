"""The denoisers of published models: their attention layers as numbers, without their weights.

Numbers of layers, heads, channels and patches are those of the configurations published with the
weights; where each is published, and the paper that describes it, stands in the module of the same
name in `tracekit.collectors.models`. How many layers work at each level follows from them: a UNet
of two layers a block has two blocks of attention a level on its way down and three on its way up,
and one in the middle. A test holds each of them against the calls that the model itself makes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

from tracekit.errors import UsageError
from tracekit.study.geometry import TEXT_ALONE, Denoiser, Layers, unet_levels

_SD_PIXELS: Final = (8, 16, 32, 64)
_SD_BLOCKS: Final = (5, 5, 5, 1)
_HEADS_OF_64: Final = (5, 10, 20, 20)
_SIZE_64: Final = (64, 64, 64, 64)
_SD_SIZES: Final = (40, 80, 160, 160)

STABLE_DIFFUSION: Final = Denoiser(
    architecture="unet",
    layers=unet_levels(_SD_PIXELS, _SD_BLOCKS, (8,) * 4, _SD_SIZES),
    height=512,
    width=512,
    prompt_tokens=77,
)
SDXL: Final = Denoiser(
    architecture="unet",
    # Two and ten transformer blocks in each block of attention, ten in the middle.
    layers=unet_levels((16, 32), (10, 60), (10, 20), (64, 64)),
    height=1024,
    width=1024,
    prompt_tokens=77,
)
ANIMATEDIFF: Final = Denoiser(
    architecture="unet",
    # A motion module, of two layers, after every residual block but the first of the middle.
    layers=unet_levels(_SD_PIXELS, _SD_BLOCKS, (8,) * 4, _SD_SIZES, temporal=(10, 10, 10, 12)),
    height=512,
    width=512,
    prompt_tokens=77,
    frames=16,
)
MAKE_A_VIDEO: Final = Denoiser(
    architecture="unet",
    layers=(
        # Before the first level, of eight heads.
        Layers(2, 8, 64, 1, "self", "temporal"),
        *unet_levels((1, 2, 4, 8), _SD_BLOCKS, _HEADS_OF_64, _SIZE_64, temporal=(10, 10, 10, 2)),
    ),
    height=64,
    width=64,
    prompt_tokens=77,
    frames=16,
)


def _stable_video_diffusion(frames: int) -> Denoiser:
    return Denoiser(
        architecture="unet",
        layers=unet_levels(
            _SD_PIXELS,
            _SD_BLOCKS,
            _HEADS_OF_64,
            _SIZE_64,
            temporal=(10, 10, 10, 2),
            temporal_cross=True,
        ),
        height=576,
        width=1024,
        prompt_tokens=1,
        frames=frames,
        multiple=64,
    )


def _sd3(depth: int, alone: int = 0) -> Denoiser:
    """Return an MMDiT: a head of 64 a layer; `alone` layers attend over the image as well."""
    also = (Layers(alone, depth, 64, 16),) if alone else ()
    return Denoiser(
        architecture="transformer",
        layers=(Layers(depth, depth, 64, 16, "joint"), *also),
        height=1024,
        width=1024,
        # Of T5; the 77 of the two CLIP encoders stand in one place.
        prompt_tokens=256,
        more_text=77,
        multiple=16,
    )


def _flux(prompt_tokens: int) -> Denoiser:
    return Denoiser(
        architecture="transformer",
        layers=(Layers(19 + 38, 24, 128, 16, "joint"),),
        height=1024,
        width=1024,
        prompt_tokens=prompt_tokens,
        guided=1,
        multiple=16,
    )


def _pixart(prompt_tokens: int) -> Denoiser:
    return Denoiser(
        architecture="transformer",
        layers=(Layers(28, 16, 72, 16), Layers(28, 16, 72, 16, "cross")),
        height=1024,
        width=1024,
        prompt_tokens=prompt_tokens,
        multiple=16,
    )


LATTE: Final = Denoiser(
    architecture="transformer",
    layers=(
        Layers(28, 16, 72, 16),
        Layers(28, 16, 72, 16, "cross"),
        Layers(28, 16, 72, 16, "self", "temporal"),
    ),
    height=512,
    width=512,
    prompt_tokens=120,
    frames=16,
    multiple=16,
)


def _cogvideox(layers: int, heads: int) -> Denoiser:
    return Denoiser(
        architecture="transformer",
        layers=(Layers(layers, heads, 64, 16, "joint", "spatio-temporal"),),
        height=480,
        width=720,
        prompt_tokens=226,
        frames=49,
        multiple=16,
        frame_multiple=8,
        compression=4,
    )


def _wan(layers: int, heads: int, height: int, width: int) -> Denoiser:
    return Denoiser(
        architecture="transformer",
        layers=(
            Layers(layers, heads, 128, 16, "self", "spatio-temporal"),
            Layers(layers, heads, 128, 16, "cross", "spatio-temporal"),
        ),
        height=height,
        width=width,
        prompt_tokens=512,
        frames=81,
        guided=1,
        calls_a_step=2,
        multiple=16,
        frame_multiple=4,
        compression=4,
    )


def _hunyuan_video(height: int, width: int) -> Denoiser:
    return Denoiser(
        architecture="transformer",
        layers=(
            Layers(20 + 40, 24, 128, 16, "joint", "spatio-temporal"),
            # What the language model says of the text is refined first.
            Layers(2, 24, 128, TEXT_ALONE, "self", "sequence"),
        ),
        height=height,
        width=width,
        prompt_tokens=256,
        frames=129,
        guided=1,
        multiple=16,
        frame_multiple=4,
        compression=4,
    )


MODELS: Final[dict[str, dict[str, Denoiser]]] = {
    "stable-diffusion": {"1.5": STABLE_DIFFUSION},
    "sdxl": {"base-1.0": SDXL},
    "sd3": {"3-medium": _sd3(24), "3.5-medium": _sd3(24, alone=13), "3.5-large": _sd3(38)},
    "flux": {"dev": _flux(512), "schnell": _flux(256)},
    "pixart": {"alpha-1024": _pixart(120), "sigma-1024": _pixart(300)},
    "make-a-video": {"base": MAKE_A_VIDEO},
    "stable-video-diffusion": {
        "xt": _stable_video_diffusion(25),
        "base": _stable_video_diffusion(14),
    },
    "animatediff": {"v1-5-2": ANIMATEDIFF},
    "latte": {"1": LATTE},
    "cogvideox": {"2b": _cogvideox(30, 30), "5b": _cogvideox(42, 48)},
    "wan": {
        "1.3b": _wan(30, 12, 480, 832),
        "14b": _wan(40, 40, 480, 832),
        "14b-720p": _wan(40, 40, 720, 1280),
    },
    "hunyuan-video": {"540p": _hunyuan_video(544, 960), "720p": _hunyuan_video(720, 1280)},
}
"""Denoisers by model and preset, as `tracekit collect` names them; the first is the default."""


def find_model(name: str) -> tuple[str, str, Denoiser]:
    """Return model, preset and denoiser of a name such as `sd3` or `sd3:3.5-large`.

    Raises
    ------
    UsageError
        There is none of this name; the text has the nearest.
    """
    model, _, preset = name.partition(":")
    presets = MODELS.get(model)
    if presets is None:
        raise UsageError(f"no model is called {model}: {_nearest(model, MODELS)}")
    if not preset:
        preset = next(iter(presets))
    if preset not in presets:
        raise UsageError(f"{model} has no preset {preset}: {_nearest(preset, presets)}")
    return model, preset, presets[preset]


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
