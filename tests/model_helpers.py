"""What the tests of models by name share: tiny options, a stage marker, what attention is given."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tracekit.collectors.attention_inputs import AttentionReader
from tracekit.collectors.labelling import attention_modules
from tracekit.collectors.models import load_builder
from tracekit.collectors.workload import ModelOptions, Workload

if TYPE_CHECKING:
    from tracekit.labels import AttentionLabel

TINY = ModelOptions(device="cpu", dtype="float32", tiny=True)
META = ModelOptions(device="meta")


class Marks:
    """A stage marker that writes down what it was called with, and that stages do not nest."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int | None]] = []
        self.open = 0

    @contextmanager
    def __call__(self, name: str, step: int | None = None) -> Iterator[None]:
        assert not self.open
        self.open += 1
        self.calls.append((name, step))
        yield
        self.open -= 1

    @property
    def now(self) -> tuple[str, int | None]:
        """Stage and step of the last call."""
        return self.calls[-1] if self.calls else ("", None)

    def counts(self) -> dict[str, int]:
        return dict(Counter(name for name, _ in self.calls))

    def repeated(self) -> list[str]:
        return list(dict.fromkeys(name for name, step in self.calls if step is not None))

    def steps(self, stage: str) -> list[int | None]:
        return [step for name, step in self.calls if name == stage]


def build(model: str, options: ModelOptions = TINY, **changes: Any) -> Workload:
    return load_builder(model)(dataclasses.replace(options, **changes))


def read_attention(
    modules: Mapping[str, Any], work: Callable[[], object], see: Callable[[AttentionLabel], None]
) -> None:
    """Let `see` have the label of each call of an attention module while work is done."""

    def reading(reader: AttentionReader) -> Any:
        def read(_module: Any, args: Any, kwargs: Any) -> None:
            see(reader.read(args, kwargs))

        return read

    hooks = []
    for entry in attention_modules(modules):
        reader = AttentionReader(entry.module, entry.path, entry.axis)
        hooks.append(entry.module.register_forward_pre_hook(reading(reader), with_kwargs=True))
    work()
    for each in hooks:
        each.remove()
