"""Tokenizers without files: what a text becomes does not change what a model costs."""

from __future__ import annotations

from typing import Any, Final

_WORDS: Final = ("<pad>", "<s>", "</s>", "<unk>", "a", "photograph", "of")


def words_tokenizer(length: int, *, side: str = "right") -> Any:
    """Return a tokenizer that knows a few words, with a context of `length` tokens.

    Its numbers are below those of any vocabulary; the padding is on this side.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(WordLevel({word: i for i, word in enumerate(_WORDS)}, unk_token="<unk>"))
    plain.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=length,
        padding_side=side,
    )
