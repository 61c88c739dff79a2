"""What may be set differently for a model that is built: layouts, types, how norms are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tracekit.errors import UsageError

if TYPE_CHECKING:
    import torch

    Modules = Mapping[str, torch.nn.Module]
    Forwards = dict[type, Callable[..., Any]]


@contextmanager
def varied(modules: Modules, names: tuple[str, ...]) -> Iterator[None]:
    """Set what these names say, as long as the block lasts; everything is as before after it.

    * `channels-last`: weights of convolutions, and so their results, have channels last in memory;
    * `cudnn-benchmark`: cuDNN tries its algorithms for each shape once, and takes the fastest;
    * `tf32`, `no-tf32`: products of float32 run on tensor cores, rounded to TF32, or do not;
    * `norms-float32`: group and layer norms compute in float32 and cast back;
    * `norms-written-out`: group and layer norms, SiLU and GELU run as elementary operations.

    Raises
    ------
    UsageError
        There is no such name.
    """
    with ExitStack() as stack:
        for name in names:
            if name not in _SETTINGS:
                raise UsageError(f"{name}: no setting is called that: {', '.join(_SETTINGS)}")
            stack.enter_context(_SETTINGS[name](modules))
        yield


@contextmanager
def _channels_last(modules: Modules) -> Iterator[None]:
    import torch

    _lay_out(modules, torch.channels_last)
    try:
        yield
    finally:
        _lay_out(modules, torch.contiguous_format)


def _lay_out(modules: Modules, layout: torch.memory_format) -> None:
    import torch

    weights = [p for module in modules.values() for p in module.parameters()]
    with torch.no_grad():
        for weight in weights:
            # Convolutions over three dimensions have a layout of their own: left as it is.
            if weight.dim() == 4:
                weight.data = weight.data.contiguous(memory_format=layout)


@contextmanager
def _flag(owner: Any, name: str, value: bool) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def _benchmark(_modules: Modules) -> Iterator[None]:
    import torch

    with _flag(torch.backends.cudnn, "benchmark", value=True):
        yield


@contextmanager
def _tf32(value: bool, _modules: Modules) -> Iterator[None]:
    import torch

    backends: Any = torch.backends
    products = _flag(backends.cuda.matmul, "allow_tf32", value=value)
    with products, _flag(backends.cudnn, "allow_tf32", value=value):
        yield


@contextmanager
def _norms(forwards: Callable[[], Forwards], modules: Modules) -> Iterator[None]:
    """Give each norm, of just these classes, another forward."""
    changed: list[Any] = []
    try:
        kinds: dict[Any, Callable[..., Any]] = dict(forwards())
        everything: list[Any] = [one for root in modules.values() for one in root.modules()]
        for module in everything:
            if "forward" in module.__dict__:
                # Somebody has given it another already.
                continue
            for kind, forward in kinds.items():
                if isinstance(module, kind) and type(module).forward is kind.forward:
                    module.forward = partial(forward, module)
                    changed.append(module)
        yield
    finally:
        for module in changed:
            del module.forward


def _float32() -> Forwards:
    import torch
    import torch.nn.functional as functional

    def cast(weight: torch.Tensor | None) -> torch.Tensor | None:
        return None if weight is None else weight.float()

    def group(norm: Any, x: torch.Tensor) -> torch.Tensor:
        weight, bias = cast(norm.weight), cast(norm.bias)
        return functional.group_norm(x.float(), norm.num_groups, weight, bias, norm.eps).to(x.dtype)

    def layer(norm: Any, x: torch.Tensor) -> torch.Tensor:
        weight, bias = cast(norm.weight), cast(norm.bias)
        shape = norm.normalized_shape
        return functional.layer_norm(x.float(), shape, weight, bias, norm.eps).to(x.dtype)

    return {torch.nn.GroupNorm: group, torch.nn.LayerNorm: layer}


def _elementary() -> Forwards:
    import torch

    def scaled(norm: Any, x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        if norm.weight is not None:
            x = x * norm.weight.view(shape)
        return x if norm.bias is None else x + norm.bias.view(shape)

    def group(norm: Any, x: torch.Tensor) -> torch.Tensor:
        groups = x.reshape(x.shape[0], norm.num_groups, -1)
        centred = groups - groups.mean(dim=-1, keepdim=True)
        variance = centred.pow(2).mean(dim=-1, keepdim=True)
        result = (centred * torch.rsqrt(variance + norm.eps)).view(x.shape)
        return scaled(norm, result, (1, -1) + (1,) * (x.dim() - 2))

    def layer(norm: Any, x: torch.Tensor) -> torch.Tensor:
        axes = tuple(range(-len(norm.normalized_shape), 0))
        centred = x - x.mean(dim=axes, keepdim=True)
        variance = centred.pow(2).mean(dim=axes, keepdim=True)
        result = centred * torch.rsqrt(variance + norm.eps)
        return scaled(norm, result, tuple(norm.normalized_shape))

    return {torch.nn.GroupNorm: group, torch.nn.LayerNorm: layer}


@contextmanager
def _written_out(modules: Modules) -> Iterator[None]:
    import torch
    import torch.nn.functional as functional

    def silu(x: torch.Tensor, inplace: bool = False) -> torch.Tensor:  # noqa: ARG001
        return x * torch.sigmoid(x)

    def gelu(x: torch.Tensor, approximate: str = "none") -> torch.Tensor:
        if approximate == "tanh":
            inner = (2 / torch.pi) ** 0.5 * (x + 0.044715 * x.pow(3))
            return 0.5 * x * (1 + torch.tanh(inner))
        return 0.5 * x * (1 + torch.erf(x * 0.5**0.5))

    whole: Any = functional
    before = whole.silu, whole.gelu
    whole.silu, whole.gelu = silu, gelu
    try:
        with _norms(_elementary, modules):
            yield
    finally:
        whole.silu, whole.gelu = before


_SETTINGS: Final[dict[str, Callable[[Modules], Any]]] = {
    "channels-last": _channels_last,
    "cudnn-benchmark": _benchmark,
    "tf32": partial(_tf32, True),
    "no-tf32": partial(_tf32, False),
    "norms-float32": partial(_norms, _float32),
    "norms-written-out": _written_out,
}
SETTINGS: Final = tuple(_SETTINGS)


def repeated_blocks(modules: Modules, targets: tuple[str, ...]) -> tuple[str, ...]:
    """Return the paths of the blocks of one class that these modules repeat, four or more."""
    import torch

    found: list[str] = []
    for target in targets:
        root, _, path = target.partition(".")
        for name, child in modules[root].get_submodule(path).named_modules():
            if not isinstance(child, torch.nn.ModuleList) or len(child) < 4:
                continue
            if len({type(one) for one in child}) == 1 and not _is_inside(target, name, found):
                found += [f"{target}.{name}.{index}" for index in range(len(child))]
    return tuple(found)


def _is_inside(target: str, name: str, found: list[str]) -> bool:
    return any(f"{target}.{name}".startswith(f"{one}.") for one in found)
