"""FLOPs from profiled shapes, held against `torch.utils.flop_counter` on the same work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import tracekit
from tracekit.costing.op_call import InputTexts
from tracekit.costing.op_costs import op_cost
from tracekit.trace import NULL

if TYPE_CHECKING:
    from collections.abc import Callable

torch: Any = pytest.importorskip("torch")
functional: Any = torch.nn.functional


def table_of(work: Callable[[], object], path: Path) -> tracekit.KernelTable:
    """Profile some work on the CPU, with shapes, and return its table."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True
    ) as profiler:
        work()
    profiler.export_chrome_trace(str(path))
    return tracekit.kernels(str(path), cache=False)


def flops_of(table: tracekit.KernelTable) -> int:
    flops = table.operations.flops
    return int(flops[flops != NULL].sum())


def counted(work: Callable[[], object]) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def r(*shape: int, **options: Any) -> Any:
    return torch.randn(*shape, **options)


def conv(kind: int, channels: tuple[int, int], **options: Any) -> Callable[[], object]:
    layer = getattr(torch.nn, f"Conv{kind}d")(*channels, **options)
    image = r(2, channels[0], *(9, 8, 7)[:kind])
    return lambda: layer(image)


def turned(kind: int, channels: tuple[int, int], **options: Any) -> Callable[[], object]:
    layer = getattr(torch.nn, f"ConvTranspose{kind}d")(*channels, **options)
    image = r(2, channels[0], *(5, 4, 3)[:kind])
    return lambda: layer(image)


def last(layer: Any, image: Any) -> Callable[[], object]:
    return lambda: layer.to(memory_format=torch.channels_last)(
        image.to(memory_format=torch.channels_last)
    )


def trained(layer: Any, image: Any) -> Callable[[], object]:
    image.requires_grad_(True)
    return lambda: layer(image).square().sum().backward()


def cast(work: Callable[[], object]) -> Callable[[], object]:
    def run() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            work()

    return run


class Net(torch.nn.Module):
    """Convolutions, norms, written attention, a transformer layer and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.norm = torch.nn.GroupNorm(4, 16)
        self.layer = torch.nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.up = torch.nn.ConvTranspose2d(16, 3, 4, stride=2, padding=1)

    def forward(self, image: Any) -> Any:
        x = functional.silu(self.norm(self.stem(image)))
        tokens = x.flatten(2).transpose(1, 2)
        scores = torch.softmax(torch.bmm(tokens, tokens.transpose(1, 2)) / 4, -1)
        tokens = self.layer(torch.matmul(scores, tokens))
        return self.up(tokens.transpose(1, 2).reshape(x.shape))


def unbatched() -> Callable[[], object]:
    layer, image = torch.nn.Conv2d(4, 6, 3), r(4, 9, 9)
    return lambda: layer(image)


WORK: dict[str, Callable[[], Callable[[], object]]] = {
    "mm": lambda: lambda: r(3, 5) @ r(5, 7),
    "addmm": lambda: lambda: torch.addmm(r(7), r(3, 5), r(5, 7)),
    "bmm": lambda: lambda: torch.bmm(r(4, 3, 5), r(4, 5, 7)),
    "baddbmm": lambda: lambda: torch.baddbmm(r(4, 3, 7), r(4, 3, 5), r(4, 5, 7), beta=0),
    "matmul": lambda: lambda: r(2, 4, 3, 5) @ r(5, 7),
    "broadcast": lambda: lambda: r(2, 1, 3, 5) @ r(4, 5, 7),
    "linear": lambda: lambda: functional.linear(r(2, 6, 5), r(7, 5), r(7)),
    "no_bias": lambda: lambda: functional.linear(r(2, 6, 5), r(7, 5)),
    "einsum": lambda: lambda: torch.einsum("bhid,bhjd->bhij", r(2, 3, 5, 4), r(2, 3, 6, 4)),
    "conv1d": lambda: conv(1, (4, 6), kernel_size=3, padding=1),
    "conv2d": lambda: conv(2, (4, 6), kernel_size=3, stride=2, padding=1),
    "conv3d": lambda: conv(3, (4, 6), kernel_size=(3, 1, 1), padding=(1, 0, 0)),
    "dilated": lambda: conv(2, (4, 6), kernel_size=3, dilation=2, bias=False),
    "grouped": lambda: conv(2, (4, 6), kernel_size=3, groups=2),
    "depthwise": lambda: conv(2, (6, 6), kernel_size=3, groups=6, padding="same"),
    "pointwise": lambda: conv(2, (4, 6), kernel_size=1),
    "unbatched": unbatched,
    "channels_last": lambda: last(torch.nn.Conv2d(4, 6, 3), r(2, 4, 9, 9)),
    "turned1d": lambda: turned(1, (4, 6), kernel_size=4, stride=2, padding=1),
    "turned2d": lambda: turned(2, (4, 6), kernel_size=3, stride=2, output_padding=1),
    "turned3d": lambda: turned(3, (4, 6), kernel_size=2, stride=2, groups=2),
    "train1d": lambda: trained(torch.nn.Conv1d(4, 6, 3), r(2, 4, 9)),
    "train2d": lambda: trained(torch.nn.Conv2d(4, 6, 3, stride=2), r(2, 4, 9, 9)),
    "train3d": lambda: trained(torch.nn.Conv3d(4, 6, 2), r(2, 4, 5, 5, 5)),
    "train_turned": lambda: trained(torch.nn.ConvTranspose2d(4, 6, 3, stride=2), r(2, 4, 5, 5)),
    "train_linear": lambda: trained(torch.nn.Linear(5, 7), r(3, 4, 5)),
    "autocast": lambda: cast(conv(2, (4, 6), kernel_size=3)),
    "autocast_linear": lambda: cast(lambda: functional.linear(r(2, 6, 5), r(7, 5), r(7))),
    "net": lambda: lambda: Net().train()(r(2, 3, 16, 16)),
    "train_net": lambda: lambda: Net().train()(r(2, 3, 16, 16)).sum().backward(),
}


@pytest.mark.parametrize("name", WORK)
def test_flops_are_those_of_the_counter(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        work = WORK[name]()
        expected = counted(work)
        found = flops_of(table_of(work, tmp_path / "trace.json"))
    assert expected > 0
    assert found == expected


@pytest.mark.parametrize(("groups", "transposed"), [(2, False), (4, False), (2, True)])
def test_grouped_gradients_are_counted_once_a_group(
    groups: int, transposed: bool, tmp_path: Path
) -> None:
    """The counter takes the gradient of the weight times the groups; it costs what forward does."""
    kind = torch.nn.ConvTranspose2d if transposed else torch.nn.Conv2d
    layer, image = kind(4, 8, 3, groups=groups), r(2, 4, 9, 9)
    forward = flops_of(table_of(lambda: layer(image), tmp_path / "a.json"))
    whole = flops_of(table_of(trained(layer, image), tmp_path / "b.json"))
    assert whole == 3 * forward


def test_autocast_counts_at_the_type_of_the_arithmetic(tmp_path: Path) -> None:
    from tracekit.costing.operations import DTYPES

    work = cast(lambda: functional.linear(r(2, 6, 5), r(7, 5), r(7)))
    found = table_of(work, tmp_path / "trace.json").operations
    assert {DTYPES[code] for code in found.dtype[found.flops != NULL].tolist()} == {"bfloat16"}


def test_every_operation_counts_on_one_row(tmp_path: Path) -> None:
    table = table_of(WORK["train_net"](), tmp_path / "trace.json")
    found = table.operations
    rows = found.flops != NULL
    assert len(set(found.op[rows].tolist())) == int(rows.sum())


QKV = ((2, 8, 10, 16), (2, 4, 12, 16), (2, 4, 12, 24))


@pytest.mark.parametrize("heads_first", [True, False])
@pytest.mark.parametrize("backward", [True, False])
def test_fused_attention_is_that_of_the_counter(heads_first: bool, backward: bool) -> None:
    from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count

    name = "_scaled_dot_product_flash_attention" if heads_first else "_flash_attention_forward"
    if backward:
        name = name.removesuffix("_forward") + "_backward"
    query, key, value = QKV if not backward else [(2, 8, *s[2:]) for s in QKV]
    gradient = (*query[:3], value[3])
    count = sdpa_backward_flop_count(gradient, query, key, value) if backward else (
        sdpa_flop_count(query, key, value)
    )  # fmt: skip
    shapes = [list(shape) for shape in ((gradient,) if backward else ()) + (query, key, value)]
    if not heads_first:
        shapes = [[s[0], s[2], s[1], s[3]] for s in shapes]
    types = '["c10::BFloat16"' + ', "c10::BFloat16"' * (len(shapes) - 1) + "]"
    cost = op_cost(name, InputTexts(str(shapes), types, None))
    assert cost is not None
    assert cost.flops == count
    assert cost.dtype == "bfloat16"
