"""Puts labels on modules while they run, and takes all traces of that away afterwards.

Only attention modules are labelled unless every leaf is asked for: labels on a few dozen modules
cost nothing measurable, labels on every leaf do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracekit.collectors.annotating import annotated
from tracekit.collectors.attention_inputs import AttentionReader
from tracekit.labels import attention_label, module_label

if TYPE_CHECKING:
    import torch

    from tracekit.collectors.annotating import Naming

_ATTENTION: Final = re.compile(
    r"(?:Attention|Attn)(?:Block|Layer|Module)?(?:\dD?|3d)?$|[a-z]Attention\w*\d$"
)
_NO_ATTENTION: Final = re.compile(r"Processor|Pool|Mask|Norm$|Embed")
_PROJECTIONS: Final = (("to_q", "to_k", "to_v"), ("q_proj", "k_proj", "v_proj"))

_TEMPORAL: Final = re.compile(
    r"temporal|motion_?module|animatediff|time_?att|temp_att|(?:^|[._])(?:temp|time_mix)(?:[._]|$)",
    re.IGNORECASE,
)
_BOTH: Final = re.compile(r"spatio_?-?temporal|space_?time", re.IGNORECASE)
_DECODER: Final = re.compile(r"temporal_?decoder", re.IGNORECASE)
"""Decoders whose convolutions, not attention, work along time."""
_TEXT: Final = re.compile(
    r"(?i:(?:token|text|context|caption)_?refiner)|^Text\w*(?:Embedding|Encoder)$"
)
"""Blocks of a denoiser that see the tokens of the text alone, by name or class."""
_VOLUME: Final = re.compile(r"Transformer3D|VideoTransformer|Attention3D|HunyuanVideo\w*MidBlock")
_IMAGE: Final = re.compile(
    r"UNet|Transformer2D|Autoencoder|VQModel|Vision|ViT|DiT|VAE|Image(?:Decoder|Transformer|GPT)"
)


@dataclass(frozen=True, slots=True)
class AttentionModule:
    """An attention module that is to be labelled."""

    path: str
    module: torch.nn.Module
    axis: str


def attention_modules(roots: Mapping[str, torch.nn.Module]) -> tuple[AttentionModule, ...]:
    """Return the attention modules under the roots, each once, with their axes.

    An attention module is one by its class's name or its projections, and holds no other. It works
    along time if its path or a class above it says so. The rest is along the sequence where it or
    a class above it embeds, encodes or refines a text, spatial where the same root has a temporal
    one or is an image model, spatio-temporal in 3-D transformers, else along the sequence.
    """
    found: list[AttentionModule] = []
    seen: set[int] = set()
    for name, root in roots.items():
        of_root = []
        for path, module in _modules(root):
            if id(module) not in seen and _is_innermost_attention(module):
                seen.add(id(module))
                of_root.append((path, module, _class_chain(root, path)))
        is_temporal = [_is_temporal(path, chain) for path, _, chain in of_root]
        for (path, module, chain), along_time in zip(of_root, is_temporal, strict=True):
            axis = "temporal" if along_time else _axis_of(path, chain, any(is_temporal))
            found.append(AttentionModule(_joined(name, path), module, axis))
    return tuple(found)


@contextmanager
def labelled(
    roots: Mapping[str, torch.nn.Module], *, every_leaf: bool = False
) -> Iterator[tuple[AttentionModule, ...]]:
    """Label attention modules, and every leaf module where asked, as long as the block lasts."""
    attention = attention_modules(roots)
    with ExitStack() as labels:
        for entry in attention:
            reader = AttentionReader(entry.module, entry.path, entry.axis)
            labels.enter_context(annotated(entry.module, _attention_naming(reader)))
        if every_leaf:
            for path, module in _leaves(roots):
                naming = _fixed_naming(module_label(path, type(module).__name__))
                labels.enter_context(annotated(module, naming))
        yield attention


def _attention_naming(reader: AttentionReader) -> Naming:
    return lambda args, kwargs: attention_label(reader.read(args, kwargs))


def _fixed_naming(text: str) -> Naming:
    return lambda _args, _kwargs: text


def _leaves(roots: Mapping[str, torch.nn.Module]) -> Iterator[tuple[str, torch.nn.Module]]:
    seen: set[int] = set()
    for name, root in roots.items():
        for path, module in _modules(root):
            if id(module) not in seen and next(module.children(), None) is None:
                seen.add(id(module))
                yield _joined(name, path), module


def _modules(root: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """Return the modules under a root, with their paths, that can be labelled.

    Compiled code holds no annotations, and would be compiled again if one were put in.
    """
    compiled: list[str] = []
    for path, module in root.named_modules():
        if any(not above or path.startswith(f"{above}.") for above in compiled):
            continue
        if _is_compiled(module):
            compiled.append(path)
        else:
            yield path, module


def _is_compiled(module: torch.nn.Module) -> bool:
    from torch.jit import ScriptModule

    # Stages put wrappers there as well; only what the compiler made knows what it was made of.
    call = getattr(module, "_compiled_call_impl", None)
    return (
        hasattr(call, "_torchdynamo_orig_callable")
        or "_orig_mod" in module._modules
        or hasattr(module.__dict__.get("forward"), "_torchdynamo_orig_callable")
        or isinstance(module, ScriptModule)
    )


def _joined(root: str, path: str) -> str:
    return ".".join(part for part in (root, path) if part)


def _is_attention(module: torch.nn.Module) -> bool:
    name = type(module).__name__
    if _NO_ATTENTION.search(name):
        return False
    if _ATTENTION.search(name):
        return True
    return any(all(hasattr(module, part) for part in parts) for parts in _PROJECTIONS)


def _is_innermost_attention(module: torch.nn.Module) -> bool:
    return _is_attention(module) and not any(
        _is_attention(inner) for inner in module.modules() if inner is not module
    )


def _class_chain(root: torch.nn.Module, path: str) -> tuple[str, ...]:
    """Return the class names from the root down to a module."""
    chain = [type(root).__name__]
    module = root
    for part in path.split(".") if path else ():
        module = getattr(module, part)
        chain.append(type(module).__name__)
    return tuple(chain)


def _is_temporal(path: str, chain: tuple[str, ...]) -> bool:
    names = (path, *chain)
    return any(_TEMPORAL.search(_DECODER.sub("", _BOTH.sub("", name))) for name in names)


def _axis_of(path: str, chain: tuple[str, ...], has_temporal: bool) -> str:
    if any(_TEXT.search(name) for name in (path, *chain)):
        return "sequence"
    if _BOTH.search(chain[-1]) or _BOTH.search(path):
        return "spatio-temporal"
    if has_temporal:
        return "spatial"
    if any(_VOLUME.search(name) for name in chain):
        return "spatio-temporal"
    return "spatial" if any(_IMAGE.search(name) for name in chain) else "sequence"
