"""A stand-in for the study's production text-to-image model, which is not published.

Golden et al., *Generative AI Beyond LLMs* (arXiv 2312.14385), profile a production text-to-image
model by latent diffusion and give none of its dimensions. This is no reconstruction of it: it is
a latent diffusion model of the size of SDXL base 1.0 at 1024 pixels, and runs what `sdxl` runs
(Podell et al., arXiv 2307.01952). Every dimension of every part, the sampler, the number of steps
and the size of the image are assumed; its counts of parameters are SDXL's, and nobody's of the
model that it stands for. Numbers measured with it are those of the stand-in.
"""

from __future__ import annotations

from typing import Final

from diffusers import StableDiffusionXLPipeline

from tracekit.collectors.models import sdxl
from tracekit.collectors.models._pipeline import PipelineModel, PipelinePreset

NAME: Final = "prod-image"
DESCRIPTION: Final = "Stand-in for an unpublished production model: of SDXL's size"

_SDXL: Final = sdxl.PRESETS["base-1.0"]
PRESETS: Final = {
    "sdxl-size": PipelinePreset(
        about="stand-in for a model that is not published",
        published=_SDXL.published,
        assumed=(*_SDXL.parts, "scheduler", "inputs"),
        parts=_SDXL.parts,
        call=_SDXL.call,
        tiny_call=_SDXL.tiny_call,
    )
}
ATTENTION: Final = sdxl.ATTENTION
"""Kinds and axes of the attention in each part."""
STAGES: Final = sdxl.STAGES

MODEL: Final = PipelineModel(
    name=NAME, pipeline=StableDiffusionXLPipeline, presets=PRESETS, extras=sdxl.extras
)
parts, build = MODEL.parts, MODEL.build
