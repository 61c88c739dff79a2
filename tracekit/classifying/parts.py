"""Parts of a run's work that are stages, and how those of one name are told apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tracekit.classifying.run_sequence import RunSequence
from tracekit.linking.repetition import likeness
from tracekit.trace import IntArray

_SAME: Final = 0.9
"""Likeness, sizes included, from which on two parts are work of one model."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the sequence that is one stage.

    `starts` holds where its steps begin, if it has any; `model` says whose work it is, if known.
    """

    name: str
    first: int
    end: int
    starts: IntArray | None = None
    model: str | None = None


def numbered_parts(sequence: RunSequence, parts: list[Part]) -> list[Part]:
    """Return the parts with names that come again numbered, but for one model that works twice."""
    found = list(parts)
    for name in dict.fromkeys(part.name for part in parts):
        places = [at for at, part in enumerate(parts) if part.name == name]
        for at, number in zip(places, _models(sequence, [parts[at] for at in places]), strict=True):
            if number:
                found[at] = replace(parts[at], name=f"{name}_{number + 1}")
    return found


def _models(sequence: RunSequence, parts: list[Part]) -> list[int]:
    """Return the number of the model that each part is the work of.

    Parts of equal work are of one model, unless several come again in one order: two encoders of
    one size, for one prompt and for another.
    """
    kinds: list[int] = []
    for at, part in enumerate(parts):
        same = (kinds[before] for before in range(at) if _is_same(sequence, part, parts[before]))
        kinds.append(next(same, at))
    for period in range(2, len(parts) // 2 + 1):
        if len(set(kinds)) > 1 and kinds[period:] == kinds[:-period]:
            return [at % period for at in range(len(parts))]
    order = {kind: number for number, kind in enumerate(dict.fromkeys(kinds))}
    return [order[kind] for kind in kinds]


def _is_same(sequence: RunSequence, part: Part, other: Part) -> bool:
    """Say whether two parts are the same work, to the size."""
    if part.model is not None and other.model is not None:
        return part.model == other.model
    if part.starts is not None or other.starts is not None:
        return False
    codes = sequence.codes if sequence.exact is None else sequence.exact
    both = np.concatenate([codes[part.first : part.end], codes[other.first : other.end]])
    bounds = np.array([0, part.end - part.first, len(both)])
    return bool(likeness(both, bounds)[0] >= _SAME)
