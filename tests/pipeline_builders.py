"""Tiny pipelines with random weights, built without a network; needs diffusers.

Each takes milliseconds a step on a CPU. What they are given and where they are wide follows
diffusers' own tests of these classes.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import diffusers
    import transformers
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WORDS = ("<pad>", "<s>", "</s>", "<unk>", "a", "cat", "photograph", "of", "the", "moon")
TEXT = 8
"""Tokens of a prompt, padded."""


def tokenizer() -> Any:
    """Words apart at spaces."""
    plain = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    plain.pre_tokenizer = Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=TEXT,
    )


def clip_text(*, projected: bool = False) -> Any:
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    config = transformers.CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TEXT,
        projection_dim=32,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return kind(config).eval()


def t5_config(kind: Any) -> Any:
    return kind(
        vocab_size=len(WORDS),
        d_model=32,
        d_kv=8,
        d_ff=37,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=2,
    )


def t5_text() -> Any:
    return transformers.T5EncoderModel(t5_config(transformers.T5Config)).eval()


def image_vae(latent_channels: int = 4) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latent_channels,
        sample_size=16,
    )


def image_unet() -> Any:
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=2,
        norm_num_groups=4,
    )


def stable_diffusion(kind: str = "StableDiffusionPipeline") -> Any:
    """CLIP, a UNet, a VAE: images of 16 pixels."""
    return getattr(diffusers, kind)(
        vae=image_vae(),
        text_encoder=clip_text(),
        tokenizer=tokenizer(),
        unet=image_unet(),
        scheduler=diffusers.DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def animatediff() -> Any:
    """A UNet with motion modules: temporal attention; guidance in one call."""
    adapter = diffusers.MotionAdapter(
        block_out_channels=(8, 16),
        motion_layers_per_block=1,
        motion_norm_num_groups=2,
        motion_num_attention_heads=2,
    )
    return diffusers.AnimateDiffPipeline(
        vae=image_vae(),
        text_encoder=clip_text(),
        tokenizer=tokenizer(),
        unet=image_unet(),
        motion_adapter=adapter,
        scheduler=diffusers.DDIMScheduler(),
    )


def flux() -> Any:
    """Two text encoders, a transformer with joint attention, no guidance."""
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=[4, 4, 8],
    )
    vae = diffusers.AutoencoderKL(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        block_out_channels=(4,),
        layers_per_block=1,
        latent_channels=1,
        norm_num_groups=1,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.0609,
        scaling_factor=1.5035,
    )
    return diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=vae,
        text_encoder=clip_text(),
        tokenizer=tokenizer(),
        text_encoder_2=t5_text(),
        tokenizer_2=tokenizer(),
        transformer=transformer,
    )


def wan() -> Any:
    """A video transformer with full attention, called twice a step for guidance."""
    return diffusers.WanPipeline(
        tokenizer=tokenizer(),
        text_encoder=transformers.UMT5EncoderModel(t5_config(transformers.UMT5Config)).eval(),
        transformer=diffusers.WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=16,
            out_channels=16,
            text_dim=32,
            freq_dim=256,
            ffn_dim=32,
            num_layers=2,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
            rope_max_seq_len=32,
        ),
        vae=diffusers.AutoencoderKLWan(
            base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
    )


def unconditional() -> Any:
    """A UNet without text and without a decoder."""
    unet = diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    return diffusers.DDPMPipeline(unet=unet, scheduler=diffusers.DDPMScheduler())


class SmallUnet(torch.nn.Module):
    """What the unconditional pipeline needs of a UNet, quick to compile."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(sample_size=8, in_channels=3)
        self.dtype, self.device = torch.float32, torch.device("cpu")
        self.attention = SmallAttention()

    def forward(self, sample: torch.Tensor, _time: Any) -> Any:
        return SimpleNamespace(sample=self.attention(sample))


class SmallAttention(torch.nn.Module):
    """An attention module by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.to_out = torch.nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.to_out(torch.nn.functional.scaled_dot_product_attention(x, x, x))


def stable_cascade() -> Any:
    """Two pipelines inside a third one, each with a sampling loop of its own."""

    home = sys.modules[diffusers.StableCascadeCombinedPipeline.__module__]

    def unet(**more: Any) -> Any:
        return diffusers.models.StableCascadeUNet(
            conditioning_dim=16,
            block_out_channels=(16, 32),
            num_attention_heads=(2, 4),
            down_num_layers_per_block=(1, 1),
            up_num_layers_per_block=(1, 1),
            clip_text_pooled_in_channels=32,
            switch_level=(False,),
            patch_size=1,
            **more,
        )

    prior = unet(
        in_channels=4,
        out_channels=4,
        down_blocks_repeat_mappers=(1, 1),
        up_blocks_repeat_mappers=(1, 1),
        block_types_per_layer=(
            ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"),
        )
        * 2,
        clip_text_in_channels=32,
        clip_image_in_channels=32,
        dropout=(0.1, 0.1),
    )
    decoder = unet(
        in_channels=4,
        out_channels=4,
        down_blocks_repeat_mappers=(1, 1),
        up_blocks_repeat_mappers=(1, 1),
        block_types_per_layer=(
            ("SDCascadeResBlock", "SDCascadeTimestepBlock"),
            ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"),
        ),
        effnet_in_channels=4,
        dropout=(0.1, 0.1),
    )
    text = clip_text(projected=True)
    return diffusers.StableCascadeCombinedPipeline(
        text_encoder=text,
        tokenizer=tokenizer(),
        decoder=decoder,
        scheduler=diffusers.DDPMWuerstchenScheduler(),
        vqgan=home.PaellaVQModel(bottleneck_blocks=1, num_vq_embeddings=2),
        prior_text_encoder=text,
        prior_tokenizer=tokenizer(),
        prior_prior=prior,
        prior_scheduler=diffusers.DDPMWuerstchenScheduler(),
        prior_feature_extractor=None,
        prior_image_encoder=None,
    )


BUILDERS: dict[str, Callable[[], Any]] = {
    "sd": stable_diffusion,
    "img2img": lambda: stable_diffusion("StableDiffusionImg2ImgPipeline"),
    "animatediff": animatediff,
    "flux": flux,
    "wan": wan,
    "ddpm": unconditional,
    "cascade": stable_cascade,
}


def saved(name: str, folder: Path) -> Path:
    """Build a pipeline, save it as its users do, and return its folder."""
    target = folder / name
    if not target.exists():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            built(name).save_pretrained(target)
    return target


def built(name: str) -> Any:
    """Build a pipeline that shows no progress."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        pipeline = BUILDERS[name]()
    pipeline.set_progress_bar_config(disable=True)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    return pipeline


def llama() -> Any:
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=32,
            intermediate_size=37,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            bos_token_id=1,
            eos_token_id=None,
            pad_token_id=0,
        )
    ).eval()


def t5() -> Any:
    return transformers.T5ForConditionalGeneration(t5_config(transformers.T5Config)).eval()


class Marks:
    """A stage marker that writes down its stages, and checks that they neither nest nor stay open.

    `calls` are stage and step in the order of entry.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, int | None]] = []
        self.open: str | None = None

    @contextmanager
    def __call__(self, name: str, step: int | None = None) -> Iterator[None]:
        assert self.open is None, f"{name} begins within {self.open}"
        self.open = name
        self.calls.append((name, step))
        try:
            yield
        finally:
            self.open = None

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def steps(self, stage: str) -> list[int | None]:
        return [step for name, step in self.calls if name == stage]
