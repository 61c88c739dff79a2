"""Second hold-out: models of transformers, chosen after the first hold-out had been measured.

Sources: the configurations of the published checkpoints that each docstring names.
"""

from __future__ import annotations

from typing import Any

from corpus.models.language import decoder, prefill_and_decode
from corpus.spec import AttentionRule, Built, Size, unseen_again


@unseen_again("x-clip", "default written train cudagraph")
def x_clip(size: Size) -> Built:
    """X-CLIP base: frames attend within themselves, and to each other by messages.

    One class of attention in four places. In each layer of the image tower `message_attn` has one
    token of each frame, in `mit` one summary of each frame: both go along time. `self_attn` of the
    tower has a frame's patches, its class token and its message. The text's own is causal, and at
    the end sentences look at patches averaged over the frames.
    """
    from transformers import XCLIPConfig, XCLIPModel

    side, frames, vocabulary = size.pick(224, 32), size.pick(8, 3), size.pick(49408, 100)
    length, width = size.pick(77, 8), size.pick(512, 32)
    net = XCLIPModel._from_config(
        XCLIPConfig(
            text_config={
                "vocab_size": vocabulary,
                "hidden_size": width,
                "intermediate_size": size.pick(2048, 64),
                "num_hidden_layers": 2,
                "num_attention_heads": size.pick(8, 2),
                "max_position_embeddings": length,
                "eos_token_id": 2,
            },
            vision_config={
                "hidden_size": size.pick(768, 32),
                "intermediate_size": size.pick(3072, 64),
                "num_hidden_layers": 3,
                "num_attention_heads": size.pick(12, 2),
                "mit_hidden_size": width,
                "mit_intermediate_size": size.pick(2048, 64),
                "mit_num_hidden_layers": 1,
                "mit_num_attention_heads": size.pick(8, 2),
                "image_size": side,
                "patch_size": 16,
                "num_frames": frames,
            },
            projection_dim=width,
            prompt_num_attention_heads=size.pick(8, 2),
        ),
        attn_implementation=size.implementation,
    )
    net = size.place(net)
    ids = size.tokens(vocabulary, size.pick(16, 2), length)
    video = size.normal(2, frames, 3, side, side)

    def run() -> Any:
        found = net(ids, video)
        return found.logits_per_video, found.video_embeds, found.text_embeds

    name = r"^XCLIPAttention$"
    rules = (
        AttentionRule(name, "temporal", path=r"\.message_attn$|^model\.mit\.", kind="self"),
        AttentionRule(name, "spatial", path=r"^model\.vision_model\.", kind="self"),
        AttentionRule(name, "sequence", path=r"^model\.text_model\.", kind="self"),
        AttentionRule(r"^XCLIPCrossAttention$", "sequence", kind="cross"),
    )
    return Built(run, {"model": net}, rules)


@unseen_again("videoprism", "default train cudagraph compile")
def videoprism(size: Size) -> Built:
    """VideoPrism base, always written out with soft-capped scores: space, time, both, a summary.

    One class of layer in three places: `spatial_layers` have the patches of a frame, in
    `temporal_layers` patches go into the batch and the 8 frames remain, `auxiliary_layers` have all
    patches of all frames. In the head one learned query, no token of the clip, looks at these.
    """
    from transformers import VideoPrismVideoModel, VideoPrismVisionConfig

    side, frames = size.pick(288, 72), size.pick(8, 3)
    net = VideoPrismVideoModel._from_config(
        VideoPrismVisionConfig(
            image_size=side,
            num_frames=frames,
            hidden_size=size.pick(768, 32),
            intermediate_size=size.pick(3072, 64),
            num_attention_heads=size.pick(12, 2),
            num_spatial_layers=3,
            num_temporal_layers=2,
            num_auxiliary_layers=1,
        ),
        attn_implementation="eager",
    )
    net = size.place(net)
    video = size.normal(1, frames, 3, side, side)

    def run() -> Any:
        return net(video).pooler_output

    name = r"^VideoPrismAttention$"
    rules = (
        AttentionRule(name, "temporal", path=r"\.temporal_layers\.", kind="self"),
        AttentionRule(name, "spatial", path=r"\.spatial_layers\.", kind="self"),
        AttentionRule(name, "spatio-temporal", path=r"\.auxiliary_layers\.", kind="self"),
        AttentionRule(r"^VideoPrismMultiheadAttentionPoolingHead$", "sequence", kind="cross"),
    )
    return Built(run, {"model": net}, rules)


@unseen_again("v-jepa-2", "default written train")
def v_jepa_2(size: Size) -> Built:
    """V-JEPA 2 large: all tubes of a clip, rotated by frame, row and column; then a predictor.

    Queries are tubes of all frames at once, in the encoder and in the narrow predictor, which sorts
    them. Each module computes the places of its tokens, so only the operator's function counts.
    """
    from transformers import VJEPA2Config, VJEPA2Model

    side, frames = size.pick(256, 32), size.pick(16, 4)
    net = VJEPA2Model._from_config(
        VJEPA2Config(
            crop_size=side,
            frames_per_clip=frames,
            hidden_size=size.pick(1024, 32),
            num_attention_heads=size.pick(16, 2),
            num_hidden_layers=3,
            pred_hidden_size=size.pick(384, 32),
            pred_num_attention_heads=size.pick(12, 2),
            pred_num_hidden_layers=2,
        ),
        attn_implementation=size.implementation,
    )
    net = size.place(net)
    video = size.normal(1, frames, 3, side, side)

    def run() -> Any:
        found = net(video)
        return found.last_hidden_state, found.predictor_output.last_hidden_state

    rule = AttentionRule(r"^VJEPA2RopeAttention$", "spatio-temporal", kind="self", inline=False)
    return Built(run, {"model": net}, (rule,))


@unseen_again("modernbert", "default written train compile")
def modernbert(size: Size) -> Built:
    """ModernBERT large: one projection, rotary embedding, windows in two layers of three."""
    from transformers import ModernBertConfig, ModernBertModel

    vocabulary, length = size.pick(50368, 100), size.pick(1024, 32)
    net = ModernBertModel._from_config(
        ModernBertConfig(
            vocab_size=vocabulary,
            hidden_size=size.pick(1024, 32),
            intermediate_size=size.pick(2624, 64),
            num_hidden_layers=4,
            num_attention_heads=size.pick(16, 2),
            local_attention=size.pick(128, 8),
            pad_token_id=0,
            bos_token_id=0,
            eos_token_id=0,
            cls_token_id=0,
            sep_token_id=0,
        ),
        attn_implementation=size.implementation,
    )
    net = size.place(net)
    ids = size.tokens(vocabulary, 2, length)
    mask = size.tokens(1, 2, length) + 1
    mask[1, length // 2 :] = 0

    def run() -> Any:
        return net(ids, attention_mask=mask).last_hidden_state

    rule = AttentionRule(r"^ModernBertAttention$", "sequence", kind="self")
    return Built(run, {"model": net}, (rule,))


@unseen_again("gpt-oss", "default train")
def gpt_oss(size: Size) -> Built:
    """GPT-OSS 20B, always written out: a learned score that reads nothing, 4 of 8 experts.

    A prompt and two tokens; every other layer sees a window.
    """
    vocabulary = size.pick(32000, 100)
    net = decoder(
        "GptOss",
        size,
        num_hidden_layers=2,
        num_local_experts=size.pick(8, 4),
        num_experts_per_tok=size.pick(4, 2),
        vocab_size=vocabulary,
        hidden_size=size.pick(2880, 32),
        intermediate_size=size.pick(2880, 32),
        head_dim=size.pick(64, 16),
        num_attention_heads=size.pick(64, 4),
        num_key_value_heads=size.pick(8, 2),
        sliding_window=size.pick(128, 4),
    )
    run = prefill_and_decode(net, size, vocabulary, size.pick(512, 8))
    rule = AttentionRule(r"^GptOssAttention$", "sequence", kind="self")
    return Built(run, {"model": net}, (rule,))


@unseen_again("hiera", "default train cudagraph")
def hiera(size: Size) -> Built:
    """Hiera base: products in the open, over the patches of a window, later over the whole image.

    Tokens are sorted so that those of a window stand together; where a stage begins, queries are
    the largest of four neighbours, which is no part of the operator: it begins with the product.
    """
    from transformers import HieraConfig, HieraModel

    side = size.pick(224, 64)
    net = HieraModel(
        HieraConfig(
            embed_dim=size.pick(96, 16),
            image_size=(side, side),
            depths=size.pick((2, 3, 4, 2), (1,) * 4),
        )
    )
    net = size.place(net)
    image = size.normal(size.pick(8, 2), 3, side, side)

    def run() -> Any:
        return net(image).last_hidden_state

    rule = AttentionRule(r"^HieraMaskUnitAttention$", "spatial", kind="self", from_product=True)
    return Built(run, {"model": net}, (rule,))
