"""What the models after Stable Diffusion share: CLIP's text encoders, the autoencoder of images.

Dimensions are those of the configurations published with the weights:

* `CLIP_L`: openai/clip-vit-large-patch14 (Radford et al., arXiv 2103.00020), 12 layers of width
  768, 12 heads, 77 tokens; 123.06 M parameters.
* `CLIP_BIG_G`: `text_encoder_2/config.json` of stabilityai/stable-diffusion-xl-base-1.0, that of
  OpenCLIP ViT-bigG/14 (Podell et al., arXiv 2307.01952, section 2.1): 32 layers of width 1280,
  20 heads, with the projection 694.66 M.
* `IMAGE_VAE`: channels 128, 256, 512, 512, two layers a block, latents of 1/8 of the side: Rombach
  et al. (arXiv 2112.10752); `vae/config.json` of Stable Diffusion 1.5. 83.65 M parameters.
* `SDXL_VAE`: the same, trained anew for SDXL: `vae/config.json` of its repository.
* `IMAGE_VAE_16`: the same with latents of 16 channels and without the two convolutions around
  them: Esser et al. (arXiv 2403.03206); `vae/config.json` of SD 3 and FLUX.1, which differ in
  `scaling_factor` and `shift_factor`. 83.82 M parameters.
"""

from __future__ import annotations

from typing import Any, Final

CLIP_L: Final[dict[str, Any]] = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "projection_dim": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 1,
}
CLIP_BIG_G: Final = CLIP_L | {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "projection_dim": 1280,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "hidden_act": "gelu",
}
TINY_CLIP: Final[dict[str, Any]] = {
    "vocab_size": 1000,
    "hidden_size": 32,
    "intermediate_size": 64,
    "projection_dim": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
IMAGE_VAE: Final[dict[str, Any]] = {
    "sample_size": 512,
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "act_fn": "silu",
    "scaling_factor": 0.18215,
}
SDXL_VAE: Final = IMAGE_VAE | {"sample_size": 1024, "scaling_factor": 0.13025}
IMAGE_VAE_16: Final = IMAGE_VAE | {
    "sample_size": 1024,
    "latent_channels": 16,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
TINY_IMAGE_VAE: Final[dict[str, Any]] = {
    "sample_size": 64,
    "block_out_channels": (8, 16, 16, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
}

IMAGE_CALL: Final[dict[str, Any]] = {"height": 1024, "width": 1024}
"""What a pipeline is called with for an image of the size that later models were trained on."""
TINY_IMAGE_CALL: Final[dict[str, Any]] = {"height": 64, "width": 64, "num_inference_steps": 3}
