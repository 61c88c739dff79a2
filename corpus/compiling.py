"""Labels the kernels of compiled models, from what the compiler knows of the code it came from.

Inductor keeps for every operation of its graph the modules around it, the function that was called
and the Python lines. While it writes the code that calls the kernels, each call is put under a
label with the category of the most expensive operation that the kernel contains. SOURCE says all
of them: `fused:conv*+elementwise`, `template:linear+elementwise`, `extern:linear` for calls of
libraries. A star marks a product, a convolution or a fused attention of which only the edge is in
the kernel (its bias, the layout of its input), while the operation itself is elsewhere; such an
edge yields to a normalization, and that of attention, which has no bias, to anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from corpus import roles
from corpus.patches import patched
from corpus.roles import Role, category_of, roles_of
from corpus.spec import Built
from corpus.truth import ROTARY, category_label

PRIORITY: Final = (
    "temporal_attention", "attention", "conv", "linear", "norm", "embedding", "other",
    "elementwise", "memory",
)  # fmt: skip
"""Most expensive first."""
_ATTENTION: Final = frozenset(("temporal_attention", "attention"))
_LIGHT: Final = ("elementwise", "memory", "embedding")
_VIEWS: Final = re.compile(
    r"^(?:view|_unsafe_view|reshape|permute|transpose|t|slice|select|expand|unsqueeze|squeeze"
    r"|split|split_with_sizes|unbind|alias|as_strided|getitem|detach|_to_copy|clone|full"
    r"|scalar_tensor|arange|iota|empty|zeros|ones|unfold|contiguous|lift_fresh_copy)$"
)
"""Operations that are nothing by themselves: views, casts, constants."""
_CORE: Final = re.compile(r"in (?:eager_attention_forward|sdpa_attention_forward)\b")
_CORE_FUNCTIONS: Final = roles.PRODUCTS | {
    "softmax", "_softmax", "_safe_softmax", "masked_fill", roles.FUSED_ATTENTION,
}  # fmt: skip
_FUSED_ATTENTION: Final = re.compile(r"scaled_dot_product_\w*attention")
"""What the fused call is, by any of its backends."""
_HEAVY: Final = re.compile(
    r"convolution|conv\d|mm$|mm_|bmm|matmul|linear|einsum|scaled_dot_product"
)
_UNDECIDED: Final = "?"


class Origins:
    """Tells what the operations are that a kernel was made from."""

    def __init__(self, built: Built) -> None:
        found = list(roles_of(built))
        self._by_id = {str(id(module)): role for module, role in found}
        self._by_path = {role.path: role for _, role in found}
        self._roots = tuple(built.modules)
        self._built = built
        self._cores = tuple(name.rpartition(":")[2].rpartition(".")[2] for name in built.cores)

    def label(self, nodes: Iterable[Any], kind: str) -> str | None:
        """Return the label of a kernel that was made from nodes of a graph, null if undecided."""
        heavy: set[str] = set()
        light: set[str] = set()
        for node in nodes:
            slug = self._slug(node)
            if slug is not None:
                (heavy if kind == "fused" and _is_edge(node, slug) else light).add(slug)
        decided = [slug for slug in PRIORITY if slug in heavy | light]
        if light >= _ATTENTION or heavy - light >= _ATTENTION:
            return None  # one kernel for both axes
        if not decided or (_UNDECIDED in light and decided[0] in _LIGHT):
            return None
        edges = heavy - light
        first = decided[0]
        if first in edges and ("norm" in light or "attention" in first):
            first = next((slug for slug in decided if slug in light), first)
        parts = [f"{slug}*" if slug in edges else slug for slug in decided]
        return category_label(first, f"{kind}:{'+'.join(parts)}")

    def _slug(self, node: Any) -> str | None:
        """Return the category of one operation, null if it is none by itself."""
        if node.op != "call_function":
            return None
        name = _name_of(node)
        chain = list(self._chain(node))
        innermost = chain[-1] if chain else None
        attention = next((role for role in reversed(chain) if role.attention is not None), None)
        around = next((role for role in chain if role.slug is not None), None)
        is_soft = around is not None and around.is_soft and attention is not None
        if around is not None and around.slug != "attention" and not is_soft:
            return None if _VIEWS.match(name) else around.slug
        if around is not None or (attention is not None and self._is_core(node, name)):
            axis = attention.attention.axis if attention and attention.attention else None
            return "temporal_attention" if axis == "temporal" else "attention"
        if _VIEWS.match(name):
            return None
        if ROTARY.search(_lines_of(node)):
            return "elementwise"
        return self._of_function(node, name, innermost, attention)

    def _of_function(
        self, node: Any, name: str, innermost: Role | None, attention: Role | None
    ) -> str:
        for source in (*_sources_of(node), name):
            for names, slug in roles.SIMPLE_RULES:
                if source in names and not (attention is not None and slug == "elementwise"):
                    return slug
        hides = innermost is not None and (innermost.is_silent or innermost.is_mixed)
        if attention is not None or hides:
            return _UNDECIDED
        if name in roles.MEMORY:
            return "memory"
        return "elementwise" if name in roles.ARITHMETIC else _UNDECIDED

    def _is_core(self, node: Any, name: str) -> bool:
        lines = _lines_of(node)
        if _CORE.search(lines) or any(f"in {core}\n" in lines for core in self._cores):
            return True
        names = (*_sources_of(node), name)
        return any(one in _CORE_FUNCTIONS or _FUSED_ATTENTION.search(one) for one in names)

    def _chain(self, node: Any) -> Iterator[Role]:
        """Yield the roles of the modules around an operation, outermost first."""
        stack = node.meta.get("nn_module_stack") or node.meta.get("fwd_nn_module_stack") or {}
        for key, (path, kind) in stack.items():
            role = self._by_id.get(str(key)) or self._role_of_path(path)
            if role is None and isinstance(kind, type):
                role = Role(path, kind.__name__, _category_of_class(kind, self._built))
            if role is not None:
                yield role

    def _role_of_path(self, path: str) -> Role | None:
        inner = re.sub(r"\['?(\w+)'?\]", r".\1", re.sub(r"^L\['\w+'\](?:\[0\])?\.?", "", path))
        for root in self._roots:
            role = self._by_path.get(".".join(filter(None, (root, inner))))
            if role is not None:
                return role
        return None


@contextmanager
def compiled_truth(built: Built) -> Iterator[None]:
    """Let Inductor label its kernels as long as the block lasts, and keep nothing between runs."""
    import torch._functorch.config as functorch
    import torch._inductor.config as inductor
    from torch._inductor.codegen import cpp, triton, wrapper

    origins = Origins(built)
    last: list[str | None] = [None]
    with ExitStack() as undo:
        undo.enter_context(inductor.patch(fx_graph_cache=False))
        undo.enter_context(functorch.patch(enable_autograd_cache=False))
        for owner in (cpp.CppScheduling, triton.TritonScheduling):
            place = iter([(owner, "define_kernel")])
            undo.enter_context(patched(place, lambda f: _noting(f, origins, last)))
        calls = iter([(wrapper.PythonWrapperCodegen, "generate_kernel_call")])
        undo.enter_context(patched(calls, lambda f: _attaching(f, last)))
        lines = [wrapper.KernelCallLine, wrapper.ExternKernelOutLine, wrapper.ExternKernelAllocLine]
        for line in lines:
            place = iter([(line, "codegen")])
            undo.enter_context(patched(place, lambda f: _labelling(f, origins)))
        yield


def _noting(function: Callable[..., Any], origins: Origins, last: list[str | None]) -> Any:
    def define_kernel(self: Any, source: Any, nodes: Any, *rest: Any, **more: Any) -> Any:
        from torch._inductor.utils import aggregate_origins

        name = function(self, source, nodes, *rest, **more)
        # Inside a template are products; elsewhere only what is left of them (a bias, a layout).
        kind = "template" if "tem_fused" in str(name) else "fused"
        last[0] = origins.label(aggregate_origins(list(nodes)), kind)
        return name

    return define_kernel


def _attaching(function: Callable[..., Any], last: list[str | None]) -> Any:
    def generate_kernel_call(self: Any, *rest: Any, **more: Any) -> Any:
        found = function(self, *rest, **more)
        line = self.lines[-1]
        if hasattr(line, "kernel_name"):
            line.true_category = last[0]
        return found

    return generate_kernel_call


def _labelling(function: Callable[..., Any], origins: Origins) -> Any:
    def codegen(self: Any, code: Any) -> Any:
        label = getattr(self, "true_category", None)
        if hasattr(self, "node"):
            label = origins.label(_called(self.node), "extern")
        if label is None:
            return function(self, code)
        code.writeline(f"_label = torch.profiler.record_function({label!r}); _label.__enter__()")
        found = function(self, code)
        code.writeline("_label.__exit__(None, None, None)")
        return found

    return codegen


def _called(kernel: Any) -> Iterable[Any]:
    """Return the operations that a call of a library is.

    Where Inductor does not tell, the call comes with what its input was laid out anew from, which
    has a kernel of its own.
    """
    own = kernel.get_origin_node()
    if own is not None:
        return [own]
    convolutions = [node for node in kernel.origins if "convolution" in _name_of(node)]
    return convolutions or list(kernel.origins)


def _is_edge(node: Any, slug: str) -> bool:
    """Tell whether only the edge of a costly operation can be in a kernel without products."""
    if "sum" in str(node.target):
        return False  # a product that was turned into a reduction, the gradient of a bias
    return slug in ("conv", "linear") or _HEAVY.search(_name_of(node)) is not None


def _name_of(node: Any) -> str:
    """Return the name of the operation that a node was before it was decomposed."""
    original = node.meta.get("original_aten") or node.target
    text = getattr(original, "_opname", None) or getattr(original, "__name__", str(original))
    return str(text).partition(".")[0]


def _sources_of(node: Any) -> Iterator[str]:
    """Yield the names of the functions that the model's code called, innermost first."""
    stack = node.meta.get("source_fn_stack") or node.meta.get("fwd_source_fn_stack") or []
    for _, function in reversed(stack):
        yield function if isinstance(function, str) else getattr(function, "__name__", "")


def _lines_of(node: Any) -> str:
    return str(node.meta.get("stack_trace") or "")


def _category_of_class(kind: type, built: Built) -> str | None:
    if kind.__name__ in built.extra:
        return built.extra[kind.__name__] or None
    bare: Any = object.__new__(kind)
    bare.__dict__.update(_modules={}, _parameters={}, _buffers={})
    return category_of(bare, built.extra)
