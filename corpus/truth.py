"""Labels what runs with its true category, while a profiler records it.

The text is `tk1|cat|SLUG|SOURCE`. The innermost label counts (only those of attention ever stand
inside one another); what stands under none is undecided. SOURCE says what decided:

* `module`: the class of the module whose call this is (a convolution, a normalization, …)
* `function`: a function of PyTorch that the model calls itself
* `core:full`, `core:causal`, `core:masked`, `core`: the attention operator proper
* `arith`: arithmetic of tensors outside of normalizations and attention
* `product`: a matrix product outside of linear layers and attention
* `rotary`, `cache`: functions that apply rotary embeddings or write key-value caches
* `optimizer`, `loss`: parts of a training step
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from corpus import roles
from corpus.patches import core_functions, memory_functions, patched, rotary_functions
from corpus.roles import Role, roles_of
from corpus.spec import Built
from tracekit.errors import UsageError
from tracekit.labels import PREFIX, AttentionLabel, attention_label, module_label

if TYPE_CHECKING:
    import torch

_OUTSIDE: Final = Role("", "")
_NO_OUTPUT: Final = re.compile(r"bias|pos|rel_|cpb|context|key|query|res_conv")
ROTARY: Final = re.compile(r"rot[ao]ry|rot_emb|(?:^|_)rope(?:_|$)|^rotate_", re.IGNORECASE)


def category_label(slug: str, source: str) -> str:
    """Return the text of a truth label."""
    return f"{PREFIX}cat|{slug}|{source}"


def unwatched() -> AbstractContextManager[Any]:
    """Return a context in which no function is labelled, for what the compiler is to trace."""
    from torch.overrides import _len_torch_function_stack, _pop_mode_temporarily

    context: AbstractContextManager[Any] = (
        _pop_mode_temporarily() if _len_torch_function_stack() else nullcontext()
    )
    return context


@dataclass(slots=True)
class _Frame:
    """A call that is under way.

    `is_closed` says that its category is decided, or undecidable, with all that it calls. Of an
    attention module, `has_projected` says that queries, keys or values are made, `has_scored` that
    a product was, `is_done` that the output's projection has begun.
    """

    role: Role
    is_closed: bool = False
    kind: str | None = None
    has_projected: bool = False
    has_scored: bool = False
    is_done: bool = False
    scopes: ExitStack | None = None


class Truth:
    """Labels the calls of a model as long as `recording` lasts."""

    def __init__(self, built: Built) -> None:
        self._built = built
        self._roles = {id(module): (module, role) for module, role in roles_of(built)}
        self._local = threading.local()
        used = {id(role.attention) for _, role in self._roles.values()}
        for rule in built.attention:
            if id(rule) not in used:
                raise UsageError(
                    f"no module has a class like {rule.classes} and a path like {rule.path}"
                )

    @property
    def attention(self) -> dict[str, str]:
        """The axis of each attention module, by its path."""
        roles = [role for _, role in self._roles.values()]
        return {role.path: role.attention.axis for role in roles if role.attention}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Label modules, functions, attention cores and rotary embeddings of this thread."""
        with ExitStack() as undo:
            for module, role in self._roles.values():
                undo.callback(
                    module.register_forward_pre_hook(self._before(role), with_kwargs=True).remove
                )
                after = module.register_forward_hook(self._after, always_call=True)
                undo.callback(after.remove)
            undo.enter_context(patched(core_functions(self._built.cores), self._as_core))
            undo.enter_context(
                patched(rotary_functions(self._built.rotary), self._as("elementwise", "rotary"))
            )
            undo.enter_context(patched(memory_functions(), self._as("memory", "cache")))
            undo.enter_context(self.functions())
            yield

    def functions(self) -> AbstractContextManager[Any]:
        """Return a context in which functions of PyTorch are labelled in the current thread."""
        from torch.overrides import TorchFunctionMode

        call = self._call

        class Mode(TorchFunctionMode):  # type: ignore[misc]
            def __torch_function__(
                self, func: Any, types: Any, args: Any = (), kwargs: Any = None
            ) -> Any:
                return call(func, args, kwargs or {})

        mode: AbstractContextManager[Any] = Mode()
        return mode

    # Modules

    @property
    def _stack(self) -> list[_Frame]:
        if not hasattr(self._local, "stack"):
            self._local.stack = [_Frame(_OUTSIDE)]
        stack: list[_Frame] = self._local.stack
        return stack

    def _before(self, role: Role) -> Callable[..., None]:
        def before(_module: torch.nn.Module, args: Any, kwargs: Any) -> None:
            above = self._stack[-1]
            frame = _Frame(role, is_closed=above.is_closed or role.is_silent, scopes=ExitStack())
            self._stack.append(frame)
            if role.reader is not None:
                label = role.reader.read(args, kwargs)
                frame.kind = (
                    role.attention.kind if role.attention and role.attention.kind else label.kind
                )
                self._open(frame, self._attention_text(role, frame, label))
            if role.is_leaf:
                self._open(frame, module_label(role.path, role.class_name))
            slug = self._slug_of_module(frame)
            if slug is not None and not frame.is_closed:
                source = "module" if role.slug == slug != "attention" else "core"
                self._open(frame, category_label(slug, source))
                frame.is_closed = True

        return before

    def _slug_of_module(self, frame: _Frame) -> str | None:
        role = frame.role
        if role.slug == "attention":
            return self._attention_slug()
        around = self._attention_frame()
        if around is not None and role.projects and around.has_scored:
            around.is_done = around.is_done or _makes_output(around.role, role)
        if around is not None and role.is_soft and _is_open(around):
            rule = around.role.attention
            return self._attention_slug() if rule is not None and rule.inline else None
        return role.slug

    def _after(self, _module: torch.nn.Module, _args: Any, _output: Any) -> None:
        frame = self._stack.pop()
        around = self._attention_frame()
        if around is not None:
            projects = frame.role.projects and not around.is_done
            around.has_projected = around.has_projected or projects
            around.has_scored = around.has_scored or frame.role.slug == "attention"
        if frame.scopes is not None:
            frame.scopes.close()

    def _open(self, frame: _Frame, text: str) -> None:
        from torch.profiler import record_function

        if frame.scopes is not None and _is_profiling():
            frame.scopes.enter_context(record_function(text))

    # Attention

    def _attention_frame(self) -> _Frame | None:
        return next((one for one in reversed(self._stack) if one.role.attention), None)

    def _attention_slug(self) -> str | None:
        frame = self._attention_frame()
        if frame is None or frame.role.attention is None:
            # A fused call in a model without attention modules would have no axis.
            return None
        return "temporal_attention" if frame.role.attention.axis == "temporal" else "attention"

    def _attention_text(self, role: Role, frame: _Frame, label: AttentionLabel) -> str:
        axis = role.attention.axis if role.attention else None
        return attention_label(
            AttentionLabel(
                role.path, frame.kind, axis, label.query_length, label.key_length, label.heads
            )
        )

    def _as_core(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function that is the attention operator proper."""

        def core(*args: Any, **kwargs: Any) -> Any:
            slug, around = self._attention_slug(), self._attention_frame()
            if slug is None or around is None or self._stack[-1].is_closed:
                return function(*args, **kwargs)
            around.has_scored = True
            return self._closed(category_label(slug, "core"), function, args, kwargs)

        return core

    def _as(self, slug: str, source: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
            def labelled(*args: Any, **kwargs: Any) -> Any:
                if self._stack[-1].is_closed:
                    return function(*args, **kwargs)
                text = category_label(slug, source)
                return self._closed(text, function, args, kwargs)

            return labelled

        return wrap

    def _closed(self, text: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        above = self._stack[-1]
        frame = _Frame(above.role, is_closed=True, kind=above.kind)
        self._stack.append(frame)
        try:
            with _labelled(text):
                return function(*args, **kwargs)
        finally:
            self._stack.pop()

    # Functions

    def _call(self, func: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
        name = getattr(func, "__name__", "")
        frame = self._stack[-1]
        if name not in _PERTINENT or not _is_profiling():
            return func(*args, **kwargs)
        if name == roles.FUSED_ATTENTION:
            return self._fused(func, args, kwargs)
        if frame.is_closed:
            return func(*args, **kwargs)
        if name == "multi_head_attention_forward":
            return self._multihead(func, args, kwargs)
        found = self._decide(name, frame)
        if found is None and name in roles.PRODUCTS and self._is_product(name, args):
            found = "linear", "product"
        with nullcontext() if found is None else _labelled(category_label(*found)):
            return func(*args, **kwargs)

    def _decide(self, name: str, frame: _Frame) -> tuple[str, str] | None:
        rule = frame.role.attention
        if rule is not None and name in roles.ATTENTION_PARTS and _in_rotary():
            return "elementwise", "rotary"
        if rule is not None and rule.inline:
            found = self._decide_inline(name, frame)
            if found is not None:
                return found
        in_attention = self._attention_frame() is not None
        for names, slug in roles.SIMPLE_RULES:
            if name in names and not (in_attention and slug == "elementwise"):
                return slug, "function"
        if in_attention or frame.role.is_silent or frame.role.is_mixed:
            return None
        if name in roles.MEMORY and not any(one.role.wraps_conv for one in self._stack[-2:]):
            return "memory", "function"
        return ("elementwise", "arith") if name in roles.ARITHMETIC else None

    def _is_product(self, name: str, args: Any) -> bool:
        """Tell whether a product outside of attention sums over anything."""
        if self._attention_frame() is not None:
            return False
        if name != "einsum":
            return True
        inputs, _, output = str(args[0]).partition("->") if args else ("", "", "")
        return any(letter.isalpha() and letter not in output for letter in inputs)

    def _decide_inline(self, name: str, frame: _Frame) -> tuple[str, str] | None:
        if name in roles.LINEAR or name in roles.CONV:
            has_output = frame.role.attention is not None and frame.role.attention.has_output
            frame.is_done = frame.is_done or (frame.has_scored and has_output)
            frame.has_projected = frame.has_projected or not frame.is_done
            return None
        if name not in roles.ATTENTION_PARTS or not _is_open(frame):
            return None
        frame.has_scored = frame.has_scored or name in roles.PRODUCTS
        rule = frame.role.attention
        if rule is not None and rule.from_product and not frame.has_scored:
            return None
        slug = self._attention_slug()
        return None if slug is None else (slug, "core")

    def _fused(self, func: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
        slug, frame = self._attention_slug(), self._attention_frame()
        if slug is None or frame is None or frame.role.attention is None:
            return func(*args, **kwargs)
        frame.has_scored = self._stack[-1].has_scored = True
        label = AttentionLabel(
            frame.role.path,
            frame.kind,
            frame.role.attention.axis,
            int(args[0].shape[-2]) if args else None,
            int(args[1].shape[-2]) if len(args) > 1 else None,
            int(args[0].shape[-3]) if args and args[0].dim() > 3 else None,
        )
        with (
            _labelled(attention_label(label)),
            _labelled(category_label(slug, _mask(args, kwargs))),
        ):
            return func(*args, **kwargs)

    def _multihead(self, func: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Label the parts of PyTorch's own multi-head attention, which is one function."""
        import torch
        import torch.nn.functional as functional

        core = self._attention_slug()
        with ExitStack() as undo:
            for owner, name in (
                (functional, "linear"), (functional, "scaled_dot_product_attention"),
                (functional, "softmax"), (torch, "bmm"), (torch, "baddbmm"),
            ):  # fmt: skip
                slug = "linear" if name == "linear" else core
                source = "function" if name == "linear" else "core"
                if slug is not None:
                    undo.enter_context(_replaced(owner, name, category_label(slug, source)))
            return func(*args, **kwargs)


def _makes_output(attention: Role, projection: Role) -> bool:
    """Tell whether a projection that comes after the scores is that of the output."""
    if attention.attention is None or not attention.attention.has_output:
        return False
    return not _NO_OUTPUT.search(projection.path[len(attention.path) :])


def _in_rotary() -> bool:
    """Tell whether a function that applies rotary embeddings calls, be it a local one."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "_call_impl":
        if ROTARY.search(frame.f_code.co_name):
            return True
        frame = frame.f_back
    return False


def _is_open(frame: _Frame) -> bool:
    rule = frame.role.attention
    return not frame.is_done and (frame.has_projected or (rule is not None and rule.is_given))


_PERTINENT: Final = frozenset().union(
    *(names for names, _ in roles.SIMPLE_RULES),
    roles.MEMORY,
    roles.ATTENTION_PARTS,
    {roles.FUSED_ATTENTION, "multi_head_attention_forward"},
)


def _is_profiling() -> bool:
    from torch.autograd import _profiler_enabled

    return bool(_profiler_enabled())


def _labelled(text: str) -> AbstractContextManager[Any]:
    from torch.profiler import record_function

    scope: AbstractContextManager[Any] = record_function(text) if _is_profiling() else nullcontext()
    return scope


def _mask(args: Any, kwargs: Mapping[str, Any]) -> str:
    if kwargs.get("is_causal") or (len(args) > 5 and args[5]):
        return "core:causal"
    mask = kwargs.get("attn_mask", args[3] if len(args) > 3 else None)
    return "core:full" if mask is None else "core:masked"


@contextmanager
def _replaced(owner: Any, name: str, text: str) -> Iterator[None]:
    original = getattr(owner, name)

    def labelled(*args: Any, **kwargs: Any) -> Any:
        with _labelled(text):
            return original(*args, **kwargs)

    setattr(owner, name, labelled)
    try:
        yield
    finally:
        setattr(owner, name, original)
