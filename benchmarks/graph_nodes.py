"""What the driver knows of the nodes of a CUDA graph, asked through its C interface."""

from __future__ import annotations

import ctypes
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_KINDS: Final = ("kernel", "memcpy", "memset", "host", "graph", "empty", "wait", "record")
_KERNEL: Final = 0
_FUNCTION: Final = {
    "shared_static_bytes": 1,
    "local_bytes": 3,
    "registers": 4,
    "dynamic_shared_max_bytes": 8,
    "carveout": 9,
    "cluster_must_be_set": 10,
}
"""Attributes of a function (CUfunction_attribute)."""
_NODE: Final = {"cooperative": 2, "cluster": 4, "programmatic": 6, "priority": 8, "sync_domain": 10}
"""Attributes of a launch (CUlaunchAttributeID)."""


FLAGS: Final = {"none": 0, "free": 1, "priority": 8, "free-priority": 9}
"""Ways of instantiation (CUgraphInstantiate_flags); PyTorch gives the last."""


class _Params(ctypes.Structure):
    _fields_ = (
        ("func", ctypes.c_void_p),
        *((f"{what}{axis}", ctypes.c_uint) for what in ("grid", "block") for axis in "xyz"),
        ("shared_bytes", ctypes.c_uint),
        ("params", ctypes.c_void_p),
        ("extra", ctypes.c_void_p),
        ("kern", ctypes.c_void_p),
        ("context", ctypes.c_void_p),
    )


class _EdgeData(ctypes.Structure):
    _fields_ = (
        ("from_port", ctypes.c_ubyte),
        ("to_port", ctypes.c_ubyte),
        ("type", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte * 5),
    )


def nodes_of(graph: int) -> dict[str, Any]:
    """Return the edges by kind and every kernel node's attributes, of a graph by its address.

    `kernels` counts those that are alike; `edges` counts [type, from port, to port].
    """
    cuda = ctypes.CDLL("libcuda.so.1")
    handle = ctypes.c_void_p(graph)
    nodes = _nodes(cuda, handle)
    kinds: Counter[str] = Counter()
    alike: Counter[tuple[Any, ...]] = Counter()
    for node in nodes:
        kind = ctypes.c_int()
        _check(cuda.cuGraphNodeGetType(ctypes.c_void_p(node), ctypes.byref(kind)))
        kinds[_KINDS[kind.value] if kind.value < len(_KINDS) else str(kind.value)] += 1
        if kind.value == _KERNEL:
            alike[_kernel_or_not(cuda, node)] += 1
    names = ("name", "dynamic_shared_bytes", *_FUNCTION, *_NODE)
    return {
        "nodes": dict(kinds),
        "edges": _edges(cuda, handle),
        "columns": [*names, "count"],
        "kernels": [[*key, count] for key, count in alike.items()],
    }


def launcher(graph: int, flags: int) -> Callable[[], object]:
    """Instantiate a graph by its address and return what launches it in the current stream."""
    import torch

    cuda = ctypes.CDLL("libcuda.so.1")
    made = ctypes.c_void_p()
    begin = ctypes.c_ulonglong(flags)
    _check(cuda.cuGraphInstantiateWithFlags(ctypes.byref(made), ctypes.c_void_p(graph), begin))

    def launch() -> None:
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        _check(cuda.cuGraphLaunch(made, stream))

    return launch


def _nodes(cuda: Any, graph: ctypes.c_void_p) -> list[int]:
    count = ctypes.c_size_t()
    _check(cuda.cuGraphGetNodes(graph, None, ctypes.byref(count)))
    nodes = (ctypes.c_void_p * count.value)()
    _check(cuda.cuGraphGetNodes(graph, nodes, ctypes.byref(count)))
    return [node or 0 for node in nodes]


def _edges(cuda: Any, graph: ctypes.c_void_p) -> list[list[Any]]:
    count = ctypes.c_size_t()
    _check(cuda.cuGraphGetEdges_v2(graph, None, None, None, ctypes.byref(count)))
    if not count.value:
        return []
    begins, ends = ((ctypes.c_void_p * count.value)() for _ in range(2))
    data = (_EdgeData * count.value)()
    _check(cuda.cuGraphGetEdges_v2(graph, begins, ends, data, ctypes.byref(count)))
    found = Counter((one.type, one.from_port, one.to_port) for one in data)
    return [[*key, number] for key, number in found.items()]


def _kernel_or_not(cuda: Any, node: int) -> tuple[Any, ...]:
    """Return a kernel node's attributes; of one that the driver does not tell of, why."""
    try:
        return _kernel(cuda, node)
    except OSError as error:
        return (str(error), *[None] * (1 + len(_FUNCTION) + len(_NODE)))


def _kernel(cuda: Any, node: int) -> tuple[Any, ...]:
    params = _Params()
    _check(cuda.cuGraphKernelNodeGetParams_v2(ctypes.c_void_p(node), ctypes.byref(params)))
    function = ctypes.c_void_p(params.func)
    if not params.func:
        _check(cuda.cuKernelGetFunction(ctypes.byref(function), ctypes.c_void_p(params.kern)))
    name = ctypes.c_char_p()
    _check(cuda.cuFuncGetName(ctypes.byref(name), function))
    values = []
    for attribute in _FUNCTION.values():
        value = ctypes.c_int()
        code = cuda.cuFuncGetAttribute(ctypes.byref(value), attribute, function)
        values.append(None if code else value.value)
    for attribute in _NODE.values():
        # As large as the union of all launch attributes, and zero where the driver writes less.
        space = (ctypes.c_int * 32)()
        code = cuda.cuGraphKernelNodeGetAttribute(ctypes.c_void_p(node), attribute, space)
        values.append(None if code else ".".join(str(value) for value in space[:3]))
    text = (name.value or b"").decode(errors="replace")[:120]
    return (text, params.shared_bytes, *values)


def _check(code: int) -> None:
    if code:
        raise OSError(f"CUDA error {code}")
