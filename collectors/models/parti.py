"""Parti: text to image at 1024 pixels, token by token, by an encoder and a decoder.

Yu et al., *Scaling Autoregressive Models for Content-Rich Text-to-Image Generation* (arXiv
2206.10789). A text encoder; a decoder that yields the 32 by 32 tokens of an image of 256 pixels one
after the other, with a key/value cache and classifier-free guidance; ViT-VQGAN's decoder, which
makes the image of them; a network that enlarges it. No weights were released.

* Layers, widths and heads: table 1; ReLU: figure 5. 16,000 words, at most 128 tokens of text, 1,024
  image tokens: section 2.2; 8,192 image tokens to choose from: section 2.1 and 2.3. The layers of
  table 1's sizes alone have 352 M, 755 M, 3.02 B and 20.40 B parameters, where the table says
  350 M, 750 M, 3 B and 20 B; the counts of text encoder and decoder here are those of the layers,
  embeddings and output weights. That positions are learned, layers are those of mBART (normalized
  before each part, with biases) and output weights are not tied is *assumed*.
* ViT-VQGAN (Yu et al., arXiv 2110.04627): 32 blocks of width 1280, feed-forward width 5120, 16
  heads, patches of 8 pixels, about 600 M parameters, and no sigmoid at its end: section 2.1 on the
  finetuned decoder. These dimensions come to 630 M, which is what stands in the presets. Codes of
  32 dimensions are ViT-VQGAN's factorized codes; learned positions and one linear layer to pixels
  are *assumed*.
* Super-resolution: convolutions after WDSR (arXiv 1808.08718), 12 residual blocks of 128
  channels, about 15 M parameters to 512 pixels and 30 M to 1024: section 2.1. Here that is such a
  network twice, each WDSR-A with an expansion of 4 and a sub-pixel convolution: 29.5 M. How the
  parts are arranged is *assumed*.
* A guidance scale of 3 and sampling at temperature 1 are *assumed*. Reranking is left out.

All models use convolution-shaped sparse masks (section 2.2) whose extent the paper does not give;
here a token attends to all before it, as a cache without such masks does. The text encoder sees
both prompts, the empty one first; the decoder's first step computes the keys and values of the
text, all later ones reuse them. Decoding step i attends to i + 1 image tokens; how a part of the
steps is recorded says `_decoding`.

`size` is the side of the enlarged image; its 32nd part is the side of the grid of tokens, and there
are positions for as many as it has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from transformers import DynamicCache, EncoderDecoderCache, MBartConfig
from transformers.models.mbart.modeling_mbart import MBartEncoder

from tracekit.collectors.models._common import (
    check,
    check_size,
    describe,
    make_diffusers,
    make_transformers,
    making,
    spread,
)
from tracekit.collectors.models._decoding import FilledCaches
from tracekit.collectors.models._parti import ImageDecoder, SuperResolution
from tracekit.collectors.models._presets import Preset, choose
from tracekit.collectors.models._token_decoders import ViTDecoder
from tracekit.collectors.models._tokens import Draws, guided
from tracekit.collectors.workload import ModelOptions, StageMarker, Workload
from tracekit.errors import UsageError

NAME: Final = "parti"
DESCRIPTION: Final = "Parti: text to image at 1024 px, autoregressive (3B or 20B parameters)"
SIZE, TINY_SIZE, PIXELS_OF_TOKEN = 1024, 128, 32
GUIDANCE: Final = 3.0

WORDS, TEXT_TOKENS, IMAGE_WORDS, SIDE = 16000, 128, 8192, 32
VAE: Final[dict[str, Any]] = {
    "layers": 32,
    "width": 1280,
    "heads": 16,
    "feed_forward": 5120,
    "codes": IMAGE_WORDS,
    "code_width": 32,
    "patch": 8,
}
SUPER_RESOLUTION: Final[dict[str, Any]] = {"width": 128, "blocks": 12, "expansion": 4, "stages": 2}
TINY_IMAGE_WORDS: Final = 64
TINY_VAE: Final = VAE | {
    "layers": 2,
    "width": 32,
    "heads": 4,
    "feed_forward": 64,
    "codes": TINY_IMAGE_WORDS,
    "code_width": 8,
}
TINY_SUPER_RESOLUTION: Final = SUPER_RESOLUTION | {"width": 8, "blocks": 2}
ASSUMED: Final = (
    "text_encoder.max_position_embeddings",
    "decoder.max_position_embeddings",
    "decoder.tie_word_embeddings",
    "vae.code_width",
    "super_resolution.expansion",
    "super_resolution.stages",
    "inputs.guidance_scale",
    "inputs.temperature",
)
ATTENTION: Final = {
    "text_encoder": {("self", "sequence")},
    "decoder": {("self", "spatial"), ("cross", "spatial")},
    "vae": {("self", "spatial")},
}
"""Kinds and axes of the attention in each part."""
STAGES: Final = ("text_encoder", "decode", "vae_decode", "super_resolution")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartiPreset(Preset):
    """One row of table 1."""

    encoder_layers: int
    decoder_layers: int
    width: int
    feed_forward: int
    heads: int


def _preset(about: str, encoder: int, decoder: int, width: int, heads: int) -> PartiPreset:
    attention, feed_forward = 4 * width**2, 8 * width**2
    text = encoder * (attention + feed_forward) + (WORDS + TEXT_TOKENS) * width
    image = decoder * (2 * attention + feed_forward) + (2 * IMAGE_WORDS + SIDE**2) * width
    return PartiPreset(
        about=about,
        published={
            "text_encoder": text,
            "decoder": image,
            "vae": 630e6,
            "super_resolution": 30e6,
        },
        assumed=ASSUMED,
        encoder_layers=encoder,
        decoder_layers=decoder,
        width=width,
        feed_forward=4 * width,
        heads=heads,
    )


PRESETS: Final = {
    "3b": _preset("Parti-3B", 12, 36, 2048, 32),
    "20b": _preset("Parti, its largest", 16, 64, 4096, 64),
    "750m": _preset("Parti-750M", 12, 36, 1024, 16),
    "350m": _preset("Parti-350M", 12, 12, 1024, 16),
}
TINY: Final = PartiPreset(
    about="for tests",
    published={},
    encoder_layers=2,
    decoder_layers=3,
    width=32,
    feed_forward=64,
    heads=4,
)


@dataclass(slots=True, kw_only=True)
class Generation:
    """One image from its text, the tokens drawn one by one; all parts, and the prompts.

    `prompts` is int64 (2·batch, text tokens), the unconditional half first; `side` the number of
    rows and columns of tokens.
    """

    parts: Mapping[str, Any]
    prompts: torch.Tensor
    side: int
    guidance: float
    options: ModelOptions
    _caches: tuple[FilledCaches, FilledCaches] = field(init=False)

    def __post_init__(self) -> None:
        config = self.parts["decoder"].config
        heads = config.decoder_attention_heads
        lengths = (self.side**2, self.prompts.shape[1])
        own, text = (
            FilledCaches(
                layers=config.decoder_layers,
                batch=self.prompts.shape[0],
                heads=heads,
                width=config.d_model // heads,
                longest=longest,
                options=self.options,
            )
            for longest in lengths
        )
        self._caches = own, text

    def run(self, stage: StageMarker) -> torch.Tensor:
        """Draw every token, and return the image, values from 0 to 1."""
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        return self._image(stage, range(self.side**2), (cache for _ in range(self.side**2)))

    def run_traced(self, stage: StageMarker) -> torch.Tensor:
        """Draw only the tokens whose steps are recorded, each at its own length."""
        steps = spread(self.side**2, self.options.trace_steps)
        return self._image(stage, steps, deque(self._filled(step) for step in steps))

    def _image(
        self, stage: StageMarker, steps: Iterable[int], caches: Iterable[EncoderDecoderCache]
    ) -> torch.Tensor:
        """Return the image; where not every token is drawn, the rest are the first of all."""
        batch = self.prompts.shape[0] // 2
        draws = Draws(self.options)
        start = self.parts["decoder"].config.vocab_size - 1
        token = torch.full((batch, 1), start, device=self.prompts.device)
        tokens = torch.zeros(batch, self.side**2, dtype=torch.int64, device=self.prompts.device)
        with torch.no_grad():
            with stage("text_encoder"):
                text = self.parts["text_encoder"](self.prompts)[0]
            for step, cache in zip(steps, caches, strict=True):
                with stage("decode", step=step):
                    logits = self.parts["decoder"](torch.cat([token, token]), text, cache)
                    token = draws.tokens(guided(logits, self.guidance)).unsqueeze(1)
                    tokens[:, step : step + 1] = token
            with stage("vae_decode"):
                image = self.parts["vae"](tokens)
            with stage("super_resolution"):
                enlarged: torch.Tensor = self.parts["super_resolution"](image).clamp(0, 1)
        return enlarged

    def _filled(self, step: int) -> EncoderDecoderCache:
        """Return the cache that a step finds: of all tokens before it, and of the text."""
        own, text = self._caches
        length = self.prompts.shape[1] if step else 0
        return EncoderDecoderCache(own.of(step), text.of(length))


def parts(options: ModelOptions) -> dict[str, Any]:
    """Return text encoder, decoder, ViT-VQGAN's decoder and super-resolution, on the device."""
    _, preset = choose(PRESETS, options, NAME)
    words, image_words = WORDS, IMAGE_WORDS
    vae, super_resolution = VAE, SUPER_RESOLUTION
    if options.tiny:
        preset, words, image_words = TINY, 1000, TINY_IMAGE_WORDS
        vae, super_resolution = TINY_VAE, TINY_SUPER_RESOLUTION
    side = _size(options) // PIXELS_OF_TOKEN
    text = _config(preset, words, TEXT_TOKENS)
    image = _config(preset, image_words + 1, side**2)
    return {
        "text_encoder": make_transformers(MBartEncoder, text, options, "text_encoder"),
        "decoder": make_transformers(ImageDecoder, image, options, "decoder"),
        "vae": make_diffusers(ViTDecoder, vae | {"side": side}, options, "vae"),
        "super_resolution": make_diffusers(
            SuperResolution, super_resolution, options, "super_resolution"
        ),
    }


def _size(options: ModelOptions) -> int:
    return options.size or (TINY_SIZE if options.tiny else SIZE)


def _config(preset: PartiPreset, words: int, positions: int) -> MBartConfig:
    return MBartConfig(
        vocab_size=words,
        max_position_embeddings=positions,
        d_model=preset.width,
        encoder_layers=preset.encoder_layers,
        decoder_layers=preset.decoder_layers,
        encoder_attention_heads=preset.heads,
        decoder_attention_heads=preset.heads,
        encoder_ffn_dim=preset.feed_forward,
        decoder_ffn_dim=preset.feed_forward,
        activation_function="relu",
        tie_word_embeddings=False,
        pad_token_id=None,
    )


def build(options: ModelOptions) -> Workload:
    """Return one text-to-image inference; its result is (batch, 3, size, size), from 0 to 1."""
    check(options, NAME, ignores=("frames", "steps", "new_tokens"))
    name, preset = choose(PRESETS, options, NAME)
    size = _size(options)
    length = options.prompt_tokens or TEXT_TOKENS
    check_size(size, PIXELS_OF_TOKEN)
    if length > TEXT_TOKENS:
        raise UsageError(f"--prompt-tokens {length}: the text encoder takes at most {TEXT_TOKENS}")
    models = parts(options)
    most = models["vae"].config.side * PIXELS_OF_TOKEN
    if size > most:
        raise UsageError(f"--size {size}: the weights know images of at most {most}")
    with making(options):
        words = models["text_encoder"].config.vocab_size
        prompts = torch.randint(words, (2 * options.batch, length))
    side = size // PIXELS_OF_TOKEN
    generation = Generation(
        parts=models, prompts=prompts, side=side, guidance=GUIDANCE, options=options
    )
    inputs = {
        "preset": name,
        "batch": options.batch,
        "size": size,
        "image_tokens": side**2,
        "prompt_tokens": length,
        "guidance_scale": GUIDANCE,
        "temperature": 1.0,
    }
    return _workload(generation, describe(models, inputs, options, assumed=preset.assumed))


def _workload(generation: Generation, config: Mapping[str, Any]) -> Workload:
    total = generation.side**2
    stages = {"text_encoder": 1, "decode": total, "vae_decode": 1, "super_resolution": 1}
    traced = len(spread(total, generation.options.trace_steps))
    partly = traced < total
    return Workload(
        name=NAME,
        run=generation.run,
        modules=dict(generation.parts),
        stages=stages,
        config=config,
        run_traced=generation.run_traced if partly else None,
        traced_stages={**stages, "decode": traced} if partly else {},
        compile_targets=("decoder",),
    )
