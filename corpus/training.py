"""One training step of any model: forward, loss, backward, AdamW."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from corpus.spec import Built
from tracekit.labels import stage_label

if TYPE_CHECKING:
    import torch

    from corpus.truth import Truth

Marker = Callable[[str], AbstractContextManager[Any]]


class Step:
    """A training step under bf16 autocast with weights in float32.

    The loss is the mean square of all outputs. With `recomputed` the truth of recomputed work is
    labelled in the thread that does it.
    """

    def __init__(self, built: Built, device: str, recomputed: Truth | None = None) -> None:
        import torch

        self._built = built
        self._device = device
        parameters: list[torch.nn.Parameter] = []
        for module in built.modules.values():
            module.train()
            for inner in module.modules():
                if isinstance(inner, torch.nn.Dropout):
                    inner.p = 0.0
            parameters += [one for one in module.parameters() if one.requires_grad]
        self._optimizer: Any = torch.optim.AdamW(parameters, lr=1e-4)
        self._recomputed = recomputed
        if recomputed is not None:
            for module in built.modules.values():
                checkpoint(module, recomputed)

    def __call__(self, mark: Marker) -> None:
        """Do one step; `mark` opens an annotation with the text that it is given."""
        import torch

        with mark(stage_label("forward")):
            with torch.autocast(self._device, torch.bfloat16):
                outputs = self._built.run()
            with mark("tk1|cat|elementwise|loss"):
                loss = sum(one.float().square().mean() for one in floats(outputs))
        with mark(stage_label("backward")):
            loss.backward()
        with mark(stage_label("optimizer")), mark("tk1|cat|elementwise|optimizer"):
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)


def floats(outputs: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in outputs that have a gradient."""
    if hasattr(outputs, "requires_grad"):
        if outputs.requires_grad:
            yield outputs
    elif isinstance(outputs, dict):
        for value in outputs.values():
            yield from floats(value)
    elif isinstance(outputs, list | tuple):
        for value in outputs:
            yield from floats(value)


def checkpoint(module: Any, truth: Truth) -> None:
    """Let a model of diffusers or transformers recompute its blocks in the backward pass."""
    from torch.utils.checkpoint import checkpoint as recompute

    @contextmanager
    def nothing() -> Iterator[None]:
        yield

    def run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return recompute(
            function,
            *args,
            use_reentrant=False,
            context_fn=lambda: (nothing(), truth.functions()),
            **kwargs,
        )

    for inner in module.modules():
        if hasattr(inner, "gradient_checkpointing"):
            inner.gradient_checkpointing = True
            inner._gradient_checkpointing_func = run
