from __future__ import annotations

import pytest

from tracekit.categories import CATEGORIES
from tracekit.labels import (
    AttentionLabel,
    ModuleLabel,
    attention_label,
    category_label,
    module_label,
    parse_attention,
    parse_category,
    parse_module,
    parse_stage,
    stage_label,
)

FULL = AttentionLabel("unet.down|0.attn1", "self", "spatial", 4096, 77, 8)


def test_attention_labels_come_back() -> None:
    text = attention_label(FULL)
    assert text == "tk1|attn|unet.down%7C0.attn1|self|spatial|4096|77|8"
    assert parse_attention(text) == FULL


def test_unknown_parts_are_empty() -> None:
    assert attention_label(AttentionLabel()) == "tk1|attn||||||"
    assert parse_attention("tk1|attn||||||") == AttentionLabel()
    assert parse_attention("tk1|attn|a.b") == AttentionLabel("a.b")
    assert parse_attention("tk1|attn|") == AttentionLabel()


@pytest.mark.parametrize("text", ["tk1|attn", "tk2|attn|a|self", "attn|a", "tk1|mod|a|B", ""])
def test_other_texts_are_no_attention(text: str) -> None:
    assert parse_attention(text) is None


def test_what_nobody_writes_is_null_and_added_parts_are_let_pass() -> None:
    text = "tk1|attn|a|sideways|diagonal|-1|٣|1.5|more|still"
    assert parse_attention(text) == AttentionLabel("a")
    assert parse_attention("tk1|attn|a|joint|spatio-temporal|9|9|2|new") == AttentionLabel(
        "a", "joint", "spatio-temporal", 9, 9, 2
    )


def test_module_labels_come_back() -> None:
    assert module_label("a|b", "Linear") == "tk1|mod|a%7Cb|Linear"
    assert parse_module("tk1|mod|a%7Cb|Linear|new") == ModuleLabel("a|b", "Linear")
    assert parse_module("tk1|mod||") == ModuleLabel(None, None)
    assert parse_module("tk1|attn|a") is None


def test_stage_labels_come_back() -> None:
    assert parse_stage(stage_label("a|b", 3)) == ("a|b", 3)
    assert parse_stage(stage_label("decode")) == ("decode", None)


def test_category_labels_come_back() -> None:
    for slug in CATEGORIES:
        assert parse_category(category_label(slug)) == slug
    for text in ("tk1|cat|", "tk1|cat|convolution", "tk1|mod|conv|Conv2d", "conv", "xtk1|cat|conv"):
        assert parse_category(text) is None
