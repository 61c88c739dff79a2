"""Stages of a run from the models that it calls: each text encoder, step and decoder."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import Final

import numpy as np

from tracekit.classifying.module_calls import LANGUAGE_TRUNK, STEPS, ModelCall
from tracekit.classifying.parts import Part, numbered_parts
from tracekit.classifying.run_sequence import RunSequence
from tracekit.classifying.sequence_names import loop_name, with_calls_again, with_cascade
from tracekit.linking.repetition import Loop, likeness
from tracekit.trace import NULL, IntArray

_LEAST_SHARE: Final = 0.5
"""Share of all work that the models must hold for stages to be made of them."""
_FEWEST: Final = 16
"""Activities up to which a call is a helper of the model that is called next."""
_MOST_CALLS: Final = 8
_SAME: Final = 0.9
_ENCODERS: Final = ("text_encoder", "image_encoder")
_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def module_parts(sequence: RunSequence, calls: list[ModelCall]) -> list[Part]:
    """Return the stages that the models of a run make, in order, none if they hold little of it.

    Calls of one denoiser or language model in a row are steps. Models that take turns, and two
    passes in a row with the scheduler after them, are one step together.
    """
    held = sum(call.end - call.first for call in calls)
    if held < _LEAST_SHARE * len(sequence):
        return []
    calls = _alone([_with_role(sequence, call, calls) for call in calls])
    calls = _with_helpers(calls)
    if all(call.role is None for call in calls):
        # Layers that nothing is called around, say.
        return []
    parts: list[Part] = []
    at = 0
    while at < len(calls):
        count = _in_a_row(sequence, calls, at)
        after = calls[at + count].first if at + count < len(calls) else len(sequence)
        parts.extend(_parts(sequence, calls[at : at + count], after))
        at += count
    return numbered_parts(sequence, with_calls_again(sequence, with_cascade(sequence, parts)))


def _with_role(sequence: RunSequence, call: ModelCall, calls: list[ModelCall]) -> ModelCall:
    """Give a call whose class tells nothing the role that its work and its repetition tell."""
    if call.role is not None or call.end - call.first <= _FEWEST:
        return call
    same = [other for other in calls if other.name == call.name]
    if len(same) > 1:
        loop = Loop(np.array([other.first for other in same]), same[-1].end)
        return replace(call, role=loop_name(sequence, loop))
    return call


def _alone(calls: list[ModelCall]) -> list[ModelCall]:
    """Give an encoder that nothing else is in the run for the role of what it does by itself.

    The trunk of a language model is one where another model is conditioned on it.
    """
    if len({call.model for call in calls}) != 1 or calls[0].role not in _ENCODERS:
        return calls
    role = "decode" if re.search(LANGUAGE_TRUNK, calls[0].model) else "forward"
    return [replace(call, role=role) for call in calls]


def _with_helpers(calls: list[ModelCall]) -> list[ModelCall]:
    """Join small calls without a role (a decoder's first convolution) to the model after them."""
    found: list[ModelCall] = []
    waiting: int | None = None
    for call in calls:
        if call.role is None and call.end - call.first <= _FEWEST:
            waiting = call.first if waiting is None else waiting
            continue
        is_next = waiting is not None and call.role not in STEPS
        found.append(replace(call, first=waiting) if is_next and waiting is not None else call)
        waiting = None
    return found


def _in_a_row(sequence: RunSequence, calls: list[ModelCall], at: int) -> int:
    """Return how many calls from here on are steps of one loop, or 1."""
    if not _is_step(calls[at]):
        return 1
    end = at
    while end < len(calls) and _is_step(calls[end]):
        end += 1
    names = [call.name for call in calls[at:end]]
    period = _period(names)
    if period > 1:
        return len(names)
    count = 1
    while count < len(names) and _goes_on(sequence, calls[at + count - 1], calls[at + count]):
        count += 1
    return count


def _is_step(call: ModelCall) -> bool:
    return call.role in STEPS or call.role in ("parallel_decode", "train", "forward")


def _goes_on(sequence: RunSequence, call: ModelCall, following: ModelCall) -> bool:
    """Say whether a call is a step after another: of one model, or of its twin of one size."""
    if call.name == following.name:
        return True
    if call.model != following.model:
        return False
    codes = sequence.codes if sequence.exact is None else sequence.exact
    both = np.concatenate([codes[one.first : one.end] for one in (call, following)])
    bounds = np.array([0, call.end - call.first, len(both)])
    return bool(likeness(both, bounds)[0] >= _SAME)


def _period(names: list[str]) -> int:
    """Return after how many calls models come again in one order; 1 where they do not."""
    for period in range(1, min(_MOST_CALLS, len(names) // 2) + 1):
        if names[period:] == names[:-period]:
            return period
    return 1


def _parts(sequence: RunSequence, calls: list[ModelCall], after: int) -> list[Part]:
    first = calls[0]
    if not _is_step(first):
        name = first.role or _WORD.sub("_", first.model).lower()
        return [Part(name, first.first, first.end, model=first.name)]
    starts = _step_starts(calls)
    gaps = [following.first - call.end for call, following in pairwise(calls)]
    # What the scheduler does after the last call is as much as after the others, about.
    end = min(after, calls[-1].end + max(gaps, default=0))
    name = first.role or "denoise"
    if name != "decode":
        return [Part(name, int(starts[0]), end, starts, first.name)]
    return [replace(part, model=first.name) for part in _prompt_and_tokens(sequence, starts, end)]


def _step_starts(calls: list[ModelCall]) -> IntArray:
    """Return where steps begin: at every call, or at each first of the calls of one step."""
    starts = np.array([call.first for call in calls])
    period = _period([call.name for call in calls])
    if period > 1:
        return starts[::period]
    gaps = starts[1:] - np.array([call.end for call in calls[:-1]])
    if len(calls) >= 2 + 2 and len(calls) % 2 == 0:
        within, between = gaps[::2], gaps[1::2]
        if 2 * within.max() < between.min():
            return starts[::2]
    return starts


def _prompt_and_tokens(sequence: RunSequence, starts: IntArray, end: int) -> list[Part]:
    """Return the parts of a language model's calls: one for each prompt, one for what follows."""
    bounds = np.append(starts, end)
    many = [_asks_for_many(sequence, int(low), int(high)) for low, high in pairwise(bounds)]
    if not any(many) and len(starts) > 2:
        alike = likeness(sequence.codes, bounds)
        many[0] = bool(alike[0] < np.median(alike[1:]) - (1 - _SAME) / 2)
    parts: list[Part] = []
    for at, asks in enumerate(many):
        if asks:
            parts.append(Part("prefill", int(bounds[at]), int(bounds[at + 1])))
        elif parts and parts[-1].starts is not None:
            steps = np.append(parts[-1].starts, bounds[at])
            parts[-1] = replace(parts[-1], end=int(bounds[at + 1]), starts=steps)
        else:
            parts.append(Part("decode", int(bounds[at]), int(bounds[at + 1]), bounds[at : at + 1]))
    return parts


def _asks_for_many(sequence: RunSequence, first: int, end: int) -> bool:
    queries = sequence.queries[first:end]
    known = queries[queries != NULL]
    return bool(len(known) and np.median(known) > 1)
