"""Which attention implementation ran, call by call."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

torch = pytest.importorskip("torch")

import tracekit  # noqa: E402
from collect_helpers import HEADS, MODEL, TEXT, TOKENS, WIDTH, manifest_of, options, toy  # noqa: E402
from tracekit.collectors import trace_handler  # noqa: E402
from tracekit.collectors.attention_calls import attention_calls, backend_of  # noqa: E402
from tracekit.collectors.passes import record_workload  # noqa: E402
from tracekit.collectors.workload import Workload  # noqa: E402
from tracekit.schemas import read_schema  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

RUN = Draft202012Validator(read_schema("run-1"))
HEAD = WIDTH // HEADS


@dataclass
class Event:
    """As torch's own event, as far as it is read."""

    text: str
    start: int
    end: int
    dims: Any = field(default_factory=list)
    thread: int = 1
    device: str = "DeviceType.CPU"

    def name(self) -> str:
        return self.text

    def start_ns(self) -> int:
        return self.start

    def duration_ns(self) -> int:
        return self.end - self.start

    def start_thread_id(self) -> int:
        return self.thread

    def device_type(self) -> str:
        return self.device

    def shapes(self) -> Any:
        return self.dims


def calls_of(*events: Event) -> list[dict[str, Any]] | None:
    results = SimpleNamespace(events=lambda: list(events))
    return attention_calls(SimpleNamespace(profiler=SimpleNamespace(kineto_results=results)))


def label(keys: int = 7, path: str = "a") -> str:
    return f"tk1|attn|{path}|cross|spatial|16|{keys}|4"


def backends(*events: Event) -> list[str | None]:
    return [entry["backend"] for entry in calls_of(*events) or ()]


def test_the_calls_of_a_run(tmp_path: Path) -> None:
    record_workload(toy(), tmp_path, options())
    body = manifest_of(tmp_path)
    RUN.validate(body)
    rich = body["passes"][2]
    assert rich["attention_calls"] == [
        {
            "stage": "denoise", "module": f"net.blocks.{block}.{name}", "backend": "flash",
            "calls": 3, "query_length": TOKENS, "key_length": keys, "head_size": HEAD,
        }
        for block in range(2)
        for name, keys in (("attn1", TOKENS), ("attn2", TEXT))
    ]  # fmt: skip
    assert body["passes"][1]["attention_calls"] == []


@pytest.mark.parametrize(("asked", "ran"), [("math", "math"), ("flash", "flash")])
def test_the_backend_asked_for(tmp_path: Path, asked: Any, ran: str) -> None:
    record_workload(toy(), tmp_path, options(passes=("rich",), attention=asked))
    calls = manifest_of(tmp_path)["passes"][0]["attention_calls"]
    assert {(entry["backend"], entry["head_size"]) for entry in calls} == {(ran, HEAD)}


def test_a_call_that_flash_refuses_is_told_from_those_that_it_takes(tmp_path: Path) -> None:
    """A mask that needs a gradient is refused; math takes the call."""

    class Attention(torch.nn.Module):
        heads = 2

        def forward(self, x: Any, attention_mask: Any = None) -> Any:
            return torch.nn.functional.scaled_dot_product_attention(x, x, x, attention_mask)

    module = Attention()
    x, mask = torch.randn(1, 2, 5, 8), torch.zeros(5, 5, requires_grad=True)

    def run(stage: Any) -> None:
        with stage("encode"):
            module(x)
        with stage("refine"):
            module(x, attention_mask=mask)

    work = Workload("masked", run, {"m": module}, {}, {})
    record_workload(work, tmp_path, options(passes=("rich",), attention="flash"))
    calls = manifest_of(tmp_path)["passes"][0]["attention_calls"]
    assert [(entry["stage"], entry["backend"]) for entry in calls] == [
        ("encode", "flash"), ("refine", "math"),
    ]  # fmt: skip


def test_attention_written_out(tmp_path: Path) -> None:
    class Attention(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            scores = torch.baddbmm(torch.zeros(2, 5, 5), x, x.transpose(1, 2))
            return torch.bmm(scores.softmax(dim=-1), x)

    module = Attention()
    with tracekit.record(tmp_path / "run", modules={"m": module}):
        module(torch.randn(2, 5, 6))
    (call,) = manifest_of(tmp_path / "run")["passes"][0]["attention_calls"]
    assert (call["backend"], call["head_size"], call["stage"]) == ("written_out", 6, None)


def test_a_profiler_of_ones_own(tmp_path: Path) -> None:
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU],
        on_trace_ready=trace_handler(tmp_path / "run"),
    ):
        MODEL(torch.randn(1, TOKENS, WIDTH), torch.randn(1, TEXT, WIDTH))
    body = manifest_of(tmp_path / "run")
    RUN.validate(body)
    assert body["passes"][0]["attention_calls"] == []


def test_decoding_is_one_entry_a_module() -> None:
    events = []
    for step in range(50):
        start = 100 * step
        events += [
            Event(f"tk1|stage|decode|{step}", start, start + 90),
            Event(label(step + 3), start + 10, start + 80),
            Event("aten::_scaled_dot_product_efficient_attention", start + 20, start + 30),
        ]
    assert calls_of(*events) == [
        {
            "stage": "decode", "module": "a", "backend": "efficient", "calls": 50,
            "query_length": 16, "key_length": None, "head_size": None, "key_lengths": [3, 52],
        }
    ]  # fmt: skip


def test_what_encloses_an_op_is_on_its_thread() -> None:
    flash = "aten::_scaled_dot_product_flash_attention"
    assert backends(Event(label(), 0, 100), Event(flash, 10, 20, thread=2)) == [None]
    assert backends(Event(label(), 0, 100), Event(flash, 100, 120)) == [None]
    assert backends(Event(label(), 0, 100, device="DeviceType.CUDA"), Event(flash, 1, 2)) == []
    both = [Event(label(path=path), 0, 100, thread=n) for n, path in ((1, "a"), (2, "b"))]
    assert backends(*both, Event(flash, 10, 20, thread=2)) == [None, "flash"]
    assert backends() == []


def test_the_outermost_op_decides() -> None:
    call = Event(label(), 0, 100)
    inside = Event("aten::_flash_attention_forward", 20, 30)
    assert backends(call, Event("xformers_flash::flash_fwd", 10, 40), inside) == ["xformers"]
    assert backends(call, inside) == ["flash"]
    second = Event("aten::_scaled_dot_product_cudnn_attention", 50, 60)
    assert backends(call, inside, second) == ["flash+cudnn"]
    assert backends(call, inside, Event("aten::_flash_attention_forward", 40, 45)) == ["flash"]


def test_a_softmax_alone_is_no_attention() -> None:
    call = Event(label(), 0, 100)
    product = [Event("aten::bmm", at, at + 5, [[8, 16, 64], [8, 64, 7]]) for at in (10, 40)]
    softmax = Event("aten::_softmax", 20, 30)
    assert backends(call, *product) == [None]
    assert backends(call, product[0], softmax) == [None]
    assert backends(call, softmax, product[1]) == [None]
    (entry,) = calls_of(call, *product, softmax) or [{}]
    assert (entry["backend"], entry["head_size"]) == ("written_out", 64)


@pytest.mark.parametrize(
    ("op", "backend"),
    [
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "flash"),
        ("aten::_scaled_dot_product_attention_math", "math"),
        ("aten::_scaled_dot_product_fused_attention_overrideable", "fused"),
        ("aten::_efficient_attention_forward", "efficient"),
        ("xformers::efficient_attention_forward_cutlass", "xformers"),
        ("flash_attn::_flash_attn_forward", "flash_attn"),
        ("flash_attn_3::fwd", "flash_attn"),
        ("flex_attention", "flex"),
        ("aten::scaled_dot_product_attention", None),
        ("aten::bmm", None),
    ],
)
def test_the_implementation_of_an_op(op: str, backend: str | None) -> None:
    assert backend_of(op) == backend


def test_another_profiler_is_unknown_not_empty() -> None:
    assert attention_calls(SimpleNamespace(profiler=None)) is None
    assert calls_of(SimpleNamespace(name=lambda: label())) is None  # type: ignore[arg-type]


def test_the_manifest_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tracekit.collectors import manifest

    monkeypatch.setattr(manifest, "_MAX_CALLS", 3)
    record_workload(toy(), tmp_path, options(passes=("rich",)))
    entry = manifest_of(tmp_path)["passes"][0]
    assert len(entry["attention_calls"]) == 3
    assert entry["notes"] == ["attention_calls leaves out 3 calls"]
    RUN.validate(json.loads((tmp_path / "run.json").read_text()))
