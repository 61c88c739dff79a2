"""Text encoders that many models share, and tokenizers without files.

What a text becomes does not change what a model costs.

`T5_XXL` is `text_encoder/config.json` of the models that use it, that of google/t5-v1_1-xxl
(Raffel et al., arXiv 1910.10683; Shazeer, arXiv 2002.05202): the encoder has 24 layers of width
4096, 64 heads of 64, feed-forward width 10240, gated; 4.762 B parameters.

`UMT5_XXL` is that of google/umt5-xxl (Chung et al., *UniMax*, arXiv 2304.09151): the same sizes,
with 256,384 words and positions of its own in each layer; 5.681 B parameters.
"""

from __future__ import annotations

from typing import Any, Final

T5_XXL: Final[dict[str, Any]] = {
    "vocab_size": 32128,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
    "is_encoder_decoder": False,
    "use_cache": False,
}
T5_XXL_PARAMETERS: Final = 4.762e9
UMT5_XXL: Final = T5_XXL | {"vocab_size": 256384}
UMT5_XXL_PARAMETERS: Final = 5.681e9
TINY_T5: Final[dict[str, Any]] = {
    "vocab_size": 1000,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
}

_WORDS: Final = ("<pad>", "<s>", "</s>", "<unk>", "a", "photograph", "of")


def words_tokenizer(length: int, *, side: str = "right") -> Any:
    """Return a tokenizer that knows a few words, with a context of `length` tokens.

    Its numbers are below those of any vocabulary; the padding is on this side. Each text ends with
    a token of its own, as with T5 and CLIP: what is empty is not wholly padding.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(WordLevel({word: i for i, word in enumerate(_WORDS)}, unk_token="<unk>"))
    plain.pre_tokenizer = Whitespace()
    end = ("</s>", _WORDS.index("</s>"))
    plain.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[end])
    return PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=length,
        padding_side=side,
    )
