"""A wrapped forward: labels while a profiler runs, and otherwise as if nobody had been there."""

from __future__ import annotations

import copy
import functools
import inspect
import io
from contextlib import ExitStack
from threading import Thread
from types import MethodType
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")

from collect_helpers import HEADS, MODEL, TEXT, TOKENS, WIDTH, ToyAttention, ToyModel  # noqa: E402
from tracekit.collectors.annotating import annotated  # noqa: E402
from tracekit.collectors.labelling import labelled  # noqa: E402
from tracekit.collectors.markers import LabelMarker  # noqa: E402
from tracekit.collectors.patching import Patches  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

CPU = [torch.profiler.ProfilerActivity.CPU]


class Doubling(torch.nn.Module):
    """Calls itself on half of its input, down to one row."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((1,), 2.0))

    def forward(self, x: Any, *, scale: float = 1.0) -> Any:
        """Double."""
        if len(x) > 1:
            half = len(x) // 2
            return torch.cat([self(x[:half], scale=scale), self(x[half:], scale=scale)])
        return x * self.weight * scale


def names_of(run: Callable[[], object]) -> list[str]:
    """The annotations of a run, outer ones first."""
    with torch.profiler.profile(activities=CPU) as profiler:
        run()
    found = [event for event in profiler.events() if event.name.startswith("mark")]
    return [
        event.name for event in sorted(found, key=lambda e: (e.time_range.start, -e.time_range.end))
    ]


def mark(_args: Any, _kwargs: Any) -> str:
    return "mark"


def test_results_arguments_and_signature_are_as_before() -> None:
    module = Doubling()
    x = torch.arange(4.0)
    expected, signature = module(x, scale=3.0), inspect.signature(module.forward)
    given: list[Any] = []

    def naming(args: Any, kwargs: Any) -> str:
        given.append((len(args[0]), kwargs))
        return f"mark {len(args[0])}"

    with annotated(module, naming):
        assert torch.equal(module(x, scale=3.0), expected)
        assert not given
        assert inspect.signature(module.forward) == signature
        assert module.forward.__doc__ == "Double."
        names = names_of(lambda: module(x, scale=3.0))
    assert names == ["mark 4", "mark 2", "mark 1", "mark 1", "mark 2", "mark 1", "mark 1"]
    assert given[0] == (4, {"scale": 3.0})
    assert names_of(lambda: module(x)) == []


def test_nothing_is_left_behind() -> None:
    before = [dict(module.__dict__) for module in MODEL.modules()]
    x, wrong = torch.randn(1, TOKENS, WIDTH), torch.randn(1, TEXT, WIDTH + 1)
    with pytest.raises(RuntimeError), labelled({"net": MODEL}, every_leaf=True):
        MODEL(x, wrong)
    assert [dict(module.__dict__) for module in MODEL.modules()] == before
    attention = MODEL.blocks[0].attn1
    assert attention.forward == MethodType(ToyAttention.forward, attention)


def test_no_call_takes_the_path_of_hooks() -> None:
    with labelled({"net": MODEL}, every_leaf=True):
        for module in MODEL.modules():
            assert not module._forward_hooks
            assert not module._forward_pre_hooks


def test_what_raises_ends_the_annotation() -> None:
    module = Doubling()
    with annotated(module, mark):
        with torch.profiler.profile(activities=CPU), pytest.raises(TypeError):
            module(None)
        assert names_of(lambda: (module(torch.ones(1)), module(torch.ones(1)))) == ["mark"] * 2


def wrap_as_accelerate_does(module: Any) -> None:
    old = module._old_forward = module.forward

    def new_forward(module: Any, *args: Any, **kwargs: Any) -> Any:
        return module._old_forward(*args, **kwargs) + 1

    module.forward = functools.update_wrapper(functools.partial(new_forward, module), old)


def test_a_forward_of_the_instance_is_kept() -> None:
    module = Doubling()
    wrap_as_accelerate_does(module)
    before = dict(module.__dict__)
    x = torch.ones(1)
    with annotated(module, mark):
        assert module(x).item() == 3
        assert list(inspect.signature(module.forward).parameters) == ["x", "scale"]
        assert names_of(lambda: module(x)) == ["mark"]
    assert dict(module.__dict__) == before
    assert module(x).item() == 3


def test_who_wraps_it_meanwhile_keeps_a_wrapper_that_does_nothing() -> None:
    module = Doubling()
    with annotated(module, mark):
        wrap_as_accelerate_does(module)
        theirs = module.forward
        assert names_of(lambda: module(torch.ones(1))) == ["mark"]
    assert module.forward is theirs
    assert names_of(lambda: module(torch.ones(1))) == []
    assert module(torch.ones(1)).item() == 3


def test_two_labels_nest_and_are_undone_together() -> None:
    module = Doubling()
    x = torch.ones(1)
    with ExitStack() as stack:
        stack.enter_context(annotated(module, lambda *_: "mark inner"))
        stack.enter_context(annotated(module, lambda *_: "mark outer"))
        stack.enter_context(annotated(module, lambda *_: "mark outermost"))
        assert names_of(lambda: module(x)) == ["mark outermost", "mark outer", "mark inner"]
        assert names_of(lambda: copy.deepcopy(module)(x)) == [
            "mark outermost", "mark outer", "mark inner",
        ]  # fmt: skip
    assert "forward" not in module.__dict__
    assert not [name for name in module.__dict__ if "tracekit" in name]


@pytest.mark.parametrize("wrapped", [False, True])
def test_copies_use_their_own_weights(wrapped: bool) -> None:
    module = Doubling()
    if wrapped:
        wrap_as_accelerate_does(module)
    with annotated(module, mark):
        twin = copy.deepcopy(module)
        with torch.no_grad():
            twin.weight.fill_(5.0)
        assert (twin(torch.ones(1)) - module(torch.ones(1))).item() == 3
        assert names_of(lambda: twin(torch.ones(1))) == ["mark"]
    assert names_of(lambda: twin(torch.ones(1))) == []
    assert (twin(torch.ones(1)) - module(torch.ones(1))).item() == 3


def test_replicas_of_data_parallel_use_their_own_weights() -> None:
    module = Doubling()
    with annotated(module, mark):
        replica = module._replicate_for_data_parallel()
        replica.weight = torch.full((1,), 7.0)
        assert replica(torch.ones(1)).item() == 7
        assert module(torch.ones(1)).item() == 2
        assert names_of(lambda: replica(torch.ones(1))) == ["mark"]


def test_a_labelled_module_can_be_saved_and_loaded() -> None:
    file = io.BytesIO()
    with labelled({"net": MODEL}):
        torch.save(MODEL, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    x, text = torch.randn(1, TOKENS, WIDTH), torch.randn(1, TEXT, WIDTH)
    assert torch.equal(loaded(x, text), MODEL(x, text))


def test_threads_do_not_disturb_each_other() -> None:
    module = Doubling()
    results: list[float] = []
    with annotated(module, mark):
        threads = [
            Thread(target=lambda: results.append(module(torch.ones(8)).sum().item()))
            for _ in range(4)
        ]

        def run() -> None:
            for thread in threads:
                thread.start()
            module(torch.ones(1))
            for thread in threads:
                thread.join()

        assert names_of(run).count("mark") >= 1
    assert results == [16.0] * 4


@pytest.mark.filterwarnings("default")
def test_compiled_code_is_left_alone() -> None:
    graphs: list[Any] = []

    def backend(graph: Any, _inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    model = ToyModel().eval()
    x, text = torch.randn(1, TOKENS, WIDTH), torch.randn(1, TEXT, WIDTH)
    torch._dynamo.reset()
    try:
        with torch.no_grad():
            model.blocks[0].compile(backend=backend, fullgraph=True)
            model(x, text)
            with labelled({"net": model}) as found:
                assert [entry.path for entry in found] == [
                    "net.blocks.1.attn1",
                    "net.blocks.1.attn2",
                ]
                model(x, text)
            assert len(graphs) == 1
            with labelled({"net": torch.compile(model, backend=backend)}) as found:
                assert found == ()
            with labelled({"net": MODEL}):
                whole = torch.compile(
                    lambda x, text: MODEL(x, text), backend=backend, fullgraph=True
                )
                assert torch.allclose(whole(x, text), MODEL(x, text), atol=1e-5)
    finally:
        torch._dynamo.reset()


def test_a_call_that_is_wrapped_is_not_taken_for_compiled() -> None:
    model = ToyModel()
    before = model._call_impl
    patches = Patches()

    def make(call: Any) -> Any:
        return functools.wraps(call)(lambda *args, **kwargs: call(*args, **kwargs))

    with patches.calls_replaced(model, make):
        assert model._compiled_call_impl is not None
        with labelled({"net": model}) as found:
            assert len(found) == 4
        model._compiled_call_impl = None
        model.compile(backend="eager")
    with patches.calls_replaced(model, make), labelled({"net": model}) as found:
        assert found == ()
    assert before == model._call_impl


def test_scripted_modules_are_left_alone() -> None:
    traced = torch.jit.ScriptModule()
    with labelled({"net": traced}, every_leaf=True) as found:
        assert found == ()


def test_the_fast_path_of_multihead_attention_stays() -> None:
    layer = torch.nn.TransformerEncoderLayer(WIDTH, HEADS, batch_first=True).eval()
    x = torch.randn(2, TOKENS, WIDTH)

    def ops() -> set[str]:
        with (
            torch.no_grad(),
            torch.profiler.profile(activities=CPU) as profiler,
        ):
            layer(x)
        return {event.name for event in profiler.events() if event.name.startswith("aten::")}

    before = ops()
    with labelled({"layer": layer}):
        assert ops() == before
    assert "aten::_transformer_encoder_layer_fwd" in before


def test_stages_are_annotated_only_while_something_profiles() -> None:
    marker = LabelMarker()
    entered: list[str] = []

    def stage() -> None:
        with marker("denoise", step=len(entered)):
            entered.append("x")

    stage()
    with torch.profiler.profile(activities=CPU) as profiler:
        stage()
    found = [event.name for event in profiler.events() if event.name.startswith("tk1|")]
    assert found == ["tk1|stage|denoise|1"]
    assert marker.counts == {"denoise": 2}
