"""The models of a run: the outermost module calls, in order, with the part that each plays."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.classifying.run_sequence import RunSequence
from tracekit.classifying.table import KernelTable
from tracekit.linking.nesting import outermost_marked
from tracekit.trace import BoolArray, IntArray

RUN_SHARE: Final = 0.95
"""A call of an unknown class that holds this share of all work is the run; one looks inside."""

_DEEPEST: Final = 4
_NUMBER: Final = re.compile(r"_\d+$")
LANGUAGE_TRUNK: Final = r"^(?:Llama|Gemma|Qwen|Mistral|Phi|ChatGLM)\w*Model$"
"""Classes of language models without a head, which encode prompts for another model."""

_ROLES: Final = tuple(
    (re.compile(pattern), role)
    for pattern, role in (
        (r"SafetyChecker", "safety_checker"),
        (r"SuperRes|Upscal|Upsampler", "super_resolution"),
        (r"ForCausalLM|LMHeadModel|ForConditionalGeneration", "decode"),
        (r"U[Nn]et|UNET|UViT|DiT|ControlNet|MotionAdapter", "denoise"),
        (r"Transformer[23]DModel|PriorTransformer|DiffusionTransformer", "denoise"),
        (r"Vision|Image(?:Encoder|Projection)|Dino|Siglip", "image_encoder"),
        (r"Text|T5|Bert|Roberta|ByT5|CLIPModel|Bart(?:Encoder|Model)", "text_encoder"),
        (LANGUAGE_TRUNK, "text_encoder"),
        (r"^(?!.*Transformer)(?!Image|Text).*Decoder\w*$|Vocoder|HifiGan", "vae_decode"),
        (r"^Encoder(?:3[dD])?$|VAEEncoder|VQEncoder|CausalEncoder|Encoder3d$", "vae_encode"),
    )
)
"""What a class plays in a run, by its name; the first that fits counts."""

STEPS: Final = ("denoise", "decode", "super_resolution")
"""Roles whose calls are steps."""


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call of a model: which one, its role if the class tells, and its part of the sequence."""

    name: str
    role: str | None
    first: int
    end: int

    @property
    def model(self) -> str:
        """The class without the number of the instance."""
        return _NUMBER.sub("", self.name)


def model_calls(table: KernelTable, sequence: RunSequence) -> list[ModelCall]:
    """Return the outermost module calls that did work, in order, empty without such a record.

    A call around nearly all work whose class is unknown is a pipeline; its parts count instead.
    """
    calls = table.linked.modules.calls
    if not len(calls.parent):
        return []
    linked, rows = table.linked, sequence.rows
    inner = calls.innermost_at(linked.thread[rows], linked.time_ns[rows])
    if not (inner >= 0).any():
        return []
    chosen = calls.parent < 0
    for _ in range(_DEEPEST):
        owner = np.where(inner >= 0, outermost_marked(calls.parent, chosen)[inner], -1)
        whole = _whole(table, owner)
        inside = np.isin(calls.parent, whole)
        if not len(whole) or not inside.any():
            break
        chosen = inside
    return _in_order(table, owner)


def role_of(name: str) -> str | None:
    """Return the role of a module in a run by its class, null where that does not tell."""
    bare = _NUMBER.sub("", name)
    return next((role for pattern, role in _ROLES if pattern.search(bare)), None)


def _name(table: KernelTable, call: int) -> str:
    modules = table.linked.modules
    path: str = modules.paths[int(modules.path_of_call[call])]
    return path.rsplit("/", 1)[-1]


def _whole(table: KernelTable, owner: IntArray) -> IntArray:
    """Return the calls to look into: of unknown classes, around nearly all work together."""
    found, counts = np.unique(owner[owner >= 0], return_counts=True)
    large = found[counts >= (1 - RUN_SHARE) * len(owner)]
    names = {_name(table, call) for call in large.tolist()}
    share = counts[np.isin(found, large)].sum() / len(owner)
    if share < RUN_SHARE or any(role_of(name) is not None for name in names) or len(names) > 1:
        return found[:0]
    return large


def _in_order(table: KernelTable, owner: IntArray) -> list[ModelCall]:
    known: BoolArray = owner >= 0
    places = np.flatnonzero(known)
    cuts = np.flatnonzero(np.diff(owner[places])) + 1
    found: list[ModelCall] = []
    seen: set[int] = set()
    for part in np.split(places, cuts):
        call = int(owner[part[0]])
        if call in seen:
            continue
        seen.add(call)
        name = _name(table, call)
        found.append(ModelCall(name, role_of(name), int(part[0]), int(part[-1]) + 1))
    return found
