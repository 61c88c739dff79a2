from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tracekit.reports.names import UNNAMED, clean, fit, fit_apart, readable_name, readable_names

FLASH = "void pytorch_flash::flash_fwd_kernel<Traits<64, 128>, {}, false>(pytorch_flash::Params)"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, UNNAMED),
        ("", UNNAMED),
        ("nvjet_sm90_tst_64x32_64x16_4x2_h_bz_TNT", "nvjet_sm90_tst_64x32_64x16_4x2_h_bz_TNT"),
        ("aten::addmm", "aten::addmm"),
        ("Memcpy HtoD (Pageable -> Device)", "Memcpy HtoD (Pageable -> Device)"),
        ("Memset (Device)", "Memset (Device)"),
        (FLASH.format("true"), "flash_fwd_kernel"),
        (
            "void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<c10::BFloat16, "
            "float, false>(int, float, c10::BFloat16 const*)",
            "vectorized_layer_norm_kernel",
        ),
        (
            "void at::native::elementwise_kernel<128, 4, at::native::gpu_kernel_impl_nocast<"
            "at::native::BinaryFunctor<c10::BFloat16, c10::BFloat16, c10::BFloat16, "
            "at::native::binary_internal::MulFunctor<float> > >(at::TensorIteratorBase&)::"
            "{lambda(int)#1}>(int, {lambda(int)#1})",
            "elementwise_kernel<MulFunctor>",
        ),
        (
            "void at::native::unrolled_elementwise_kernel<at::native::direct_copy_kernel_cuda("
            "at::TensorIteratorBase&)::{lambda()#3}::operator()() const::{lambda(float)#1}>(int)",
            "unrolled_elementwise_kernel<direct_copy_kernel_cuda>",
        ),
        (
            "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, "
            "at::native::MeanOps<float, float> > >(at::native::ReduceOp<float>)",
            "reduce_kernel<MeanOps>",
        ),
        (
            "void cutlass::Kernel2<cutlass_80_simt_sgemm_256x128_8x4_nn_align1>(Params)",
            "Kernel2<cutlass_80_simt_sgemm_256x128_8x4_nn_align1>",
        ),
        (
            "void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<x>>>",
            "device_kernel<FlashAttnFwdSm90>",
        ),
        (
            "std::enable_if<!(false), void>::type internal::gemvx::kernel<int, float>(Params)",
            "gemvx::kernel",
        ),
        ("<<<>>>", "<<<>>>"),
        ("broken<template", "broken"),
    ],
)
def test_readable_name(name: str | None, expected: str) -> None:
    assert readable_name(name) == expected


def test_long_template_shrinks_to_its_function() -> None:
    assert readable_name("void deep::run_it<" + "std::pair<int, " * 150 + "0>(int)") == "run_it"


def test_equal_short_names_show_what_differs() -> None:
    names = [FLASH.format("true"), "gemm", FLASH.format("false")]
    expected = ["flash_fwd_kernel …true…", "gemm", "flash_fwd_kernel …false…"]
    assert readable_names(names) == expected


def test_equal_full_names_stay_alike() -> None:
    assert readable_names(["gemm", "gemm", None]) == ["gemm", "gemm", UNNAMED]


def test_clean_drops_what_steers_a_terminal() -> None:
    assert clean("a\x1b[31mb\r\n\tc\u202ed\ud800\0") == r"a\x1b[31mb c\u202ed\ud800\x00"


def test_fit_keeps_both_ends() -> None:
    assert fit("abcdefghij", 5) == "ab…ij"
    assert fit("abcdefghij", 10) == "abcdefghij"
    assert fit("abc", 1) == "…"
    assert fit("abc", 0) == ""


def test_fit_counts_cells_not_characters() -> None:
    assert fit("核函数注意力", 7) == "核…意力"


@given(st.text(max_size=60), st.integers(0, 40))
def test_fit_is_never_wider(text: str, width: int) -> None:
    assert cell_len(fit(clean(text), width)) <= width


@given(st.text(alphabet="ab:<>(), -&*", max_size=60))
def test_readable_name_takes_any_brackets(name: str) -> None:
    assert readable_name(name)


def test_marks_that_turn_text_are_shown_and_joiners_vanish() -> None:
    assert clean("a\u202eb\u2066c\u200fd") == r"a\u202eb\u2066c\u200fd"
    assert clean("a\u200db\u00adc") == "abc"


def test_names_that_would_look_the_same_are_cut_where_they_differ() -> None:
    names = [f"sm90_fprop_implicit_gemm_tilesize{n}x64_kernel__5x_cudnn_and_more" for n in (8, 256)]
    assert fit(names[0], 30)[-8:] == fit(names[1], 30)[-8:]
    first, second = fit_apart(names, 30)
    assert first != second
    assert "8x64" in first
    assert "256x64" in second
    assert max(map(cell_len, (first, second))) <= 30


def test_names_that_look_different_are_cut_as_ever() -> None:
    names = [
        "abcdefghijklmnopqrstuvwxyz",
        "zyxwvutsrqponmlkjihgfedcba",
        "abcdefghijklmnopqrstuvwxyz",
    ]
    assert fit_apart(names, 20) == [fit(name, 20) for name in names]


@given(st.lists(st.text(alphabet="ab核é\u0301_", max_size=60), max_size=5), st.integers(0, 40))
def test_names_apart_are_never_wider(names: list[str], width: int) -> None:
    shown = fit_apart(names, width)
    assert len(shown) == len(names)
    assert all(cell_len(text) <= width for text in shown)
