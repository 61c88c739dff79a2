"""FLOPs of whole models, tiny on the CPU, held against `torch.utils.flop_counter`."""

from __future__ import annotations

import dataclasses
import warnings
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from test_costing_counter import flops_of, table_of

from tracekit.collectors.models import MODELS, load_builder
from tracekit.collectors.workload import ModelOptions

torch: Any = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    for _module in MODELS.values():
        import_module(_module)

pytestmark = pytest.mark.filterwarnings("default")
TINY = ModelOptions(device="cpu", dtype="float32", tiny=True)


def stage(name: str, step: int | None = None) -> Any:
    return nullcontext()


def counted(workload: Any) -> int:
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

    def on_cpu(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    # The counter knows the fused attention of GPUs only.
    mapping = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: on_cpu}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        workload.run(stage)
    return int(counter.get_total_flops())


@pytest.mark.parametrize("attention", ["auto", "eager"])
@pytest.mark.parametrize("model", MODELS)
def test_flops_of_a_model_are_those_of_the_counter(
    model: str, attention: Any, tmp_path: Path
) -> None:
    workload = load_builder(model)(dataclasses.replace(TINY, attention=attention))
    expected = counted(workload)
    table = table_of(lambda: workload.run(stage), tmp_path / "trace.json")
    assert flops_of(table) == expected > 0
