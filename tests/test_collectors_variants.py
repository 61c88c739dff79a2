"""What is set differently for a variant does what it says, and is as before after it."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    from model_helpers import build
    from tracekit.collectors import step_graphs
    from tracekit.collectors.step_graphs import time_calls
    from tracekit.collectors.variants import SETTINGS, repeated_blocks, varied
from tracekit.errors import HostError, UsageError  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")


class Net(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(4, 8, 3, padding=1)
        self.group = torch.nn.GroupNorm(2, 8)
        self.layer = torch.nn.LayerNorm((5, 5), elementwise_affine=False)
        self.act = torch.nn.SiLU()
        self.gelu = torch.nn.GELU()
        self.tanh = torch.nn.GELU(approximate="tanh")

    def forward(self, x: Any) -> Any:
        x = self.layer(self.act(self.group(self.conv(x))))
        return self.gelu(x) + self.tanh(x)


def state(net: Net) -> tuple[Any, ...]:
    functional = torch.nn.functional
    flags = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    layout = net.conv.weight.is_contiguous(memory_format=torch.channels_last)
    forwards = "forward" in net.group.__dict__, "forward" in net.layer.__dict__
    matmul = torch.backends.cuda.matmul.allow_tf32
    return flags, matmul, layout, forwards, functional.silu, functional.gelu


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_changes_how_but_not_what_and_is_taken_back(name: str) -> None:
    torch.manual_seed(0)
    net = Net().eval()
    with torch.no_grad():
        net.group.weight.normal_()
        net.group.bias.normal_()
    x = torch.randn(2, 4, 5, 5)
    before = state(net)
    expected = net(x)
    with varied({"net": net}, (name,)):
        inside = state(net)
        found = net(x)
    assert state(net) == before
    # What is set already on a CPU without TF32 changes nothing.
    assert inside != before or name == "no-tf32"
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net(x), expected)


def test_norms_in_float32_keep_the_type_of_what_they_are_given() -> None:
    net = Net().eval().to(torch.bfloat16)
    with varied({"net": net}, ("norms-float32",)):
        seen = []
        net.group.register_forward_hook(lambda *a: seen.append((a[1][0].dtype, a[2].dtype)))
        net(torch.randn(1, 4, 5, 5, dtype=torch.bfloat16))
    assert seen == [(torch.bfloat16, torch.bfloat16)]


def test_a_setting_is_taken_back_after_an_error_and_unknown_ones_are_told() -> None:
    net = Net()
    before = state(net)
    with pytest.raises(ValueError, match="inside"), varied({"net": net}, SETTINGS):
        raise ValueError("inside")
    assert state(net) == before
    with pytest.raises(UsageError, match="no setting is called that"), varied({}, ("fast",)):
        pass


def test_blocks_that_repeat_are_found_once() -> None:
    block = torch.nn.Sequential(torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(4)))
    root = torch.nn.Module()
    root.few = torch.nn.ModuleList([torch.nn.Linear(1, 1)])
    root.blocks = torch.nn.ModuleList([block, *(torch.nn.Sequential() for _ in range(3))])
    names = tuple(f"net.blocks.{at}" for at in range(4))
    assert repeated_blocks({"net": root}, ("net",)) == names


def test_calls_are_timed_by_stage_and_caches_stay_as_they_are() -> None:
    workload = build("llama", trace_steps=2)
    found = time_calls(workload, "flash", "cpu", 2)
    assert found["steps"] == {"prefill": 1, "decode": 2}
    rows = [(one["stage"], one["target"], one["count"]) for one in found["calls"]]
    # Steps of decoding differ in the length of what they attend to.
    assert rows == [("prefill", "model", 1), ("decode", "model", 1), ("decode", "model", 1)]
    for one in found["calls"]:
        assert len(one["launched_ms"]) == 2
        assert min(one["launched_ms"]) > 0
        assert (one["graph_ms"], one["refused"]) == (None, "needs a GPU")
    assert "forward" not in workload.modules["model"].__dict__


def test_a_call_is_given_a_cache_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    workload = build("parti", trace_steps=1)
    lengths = []
    decoder = workload.modules["decoder"]
    forward = type(decoder).forward

    def noting(self: Any, tokens: Any, text: Any, cache: Any) -> Any:
        lengths.append(cache.get_seq_length())
        return forward(self, tokens, text, cache)

    monkeypatch.setattr(type(decoder), "forward", noting)
    found = time_calls(workload, "eager", "cpu", 3)
    assert len(lengths) > 4
    assert len(set(lengths)) == 1
    assert found["calls"][0]["count"] == 1


def test_outputs_of_models_are_given_on_as_they_are() -> None:
    from transformers.modeling_outputs import BaseModelOutput

    given = BaseModelOutput(last_hidden_state=torch.ones(1))
    args, kwargs = step_graphs._own(((given,), {"encoder_outputs": given}))
    assert args[0] is kwargs["encoder_outputs"] is given


def test_calls_that_are_alike_are_counted_and_errors_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workload = build("stable-diffusion")
    found = time_calls(workload, "flash", "cpu", 1)
    assert [(one["stage"], one["count"]) for one in found["calls"]] == [("denoise", 3)]

    def failing(*_: Any, **__: Any) -> Any:
        raise ValueError("no\nluck")

    monkeypatch.setattr(step_graphs, "_timed", failing)
    with pytest.raises(HostError, match="stable-diffusion: raised ValueError: no luck"):
        time_calls(workload, "flash", "cpu", 1)


def test_a_graph_that_cannot_be_captured_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way through a GPU, on a CUDA that only pretends."""

    class Stream:
        def wait_stream(self, _other: Any) -> None: ...
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    class Graph:
        replays = 0

        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...
        def replay(self) -> None:
            Graph.replays += 1

    fakes = {
        "CUDAGraph": Graph,
        "Stream": Stream,
        "current_stream": Stream,
        "stream": lambda stream: stream,
        "graph": lambda graph: graph,
        "synchronize": lambda: None,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    replay, refused = step_graphs._replayed(lambda: 7)
    assert refused is None
    assert replay is not None
    replay()
    assert Graph.replays == 1

    def sync() -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    assert step_graphs._replayed(sync) == (None, "operation not permitted when stream is capturing")
