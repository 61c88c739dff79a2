"""A small network that tells a kernel's category from the kernels around it.

It decides where no op, label or module is known: traces of kernels alone, and CUDA graphs without
an eager pass. For each kernel it sees the kinds, marks and grids (`kernel_features`) of the
`REACH` kernels before and after it on its stream. `corpus/train_sequence_model.py` trains it on
the labelled corpus, and judges it on models that it was not trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Final

import numpy as np

from tracekit.categories import CATEGORIES
from tracekit.classifying.kernel_features import SIZE
from tracekit.trace import FloatArray, IntArray

REACH: Final = 16
CLASSES: Final = CATEGORIES
"""What the network tells apart."""

FILE: Final = "sequence_model.npz"
_CHUNK: Final = 4096


@dataclass(frozen=True, slots=True)
class SequenceModel:
    """Weights: an embedding of each kernel, one hidden layer over the window, one output layer.

    Shapes: `embedding` (SIZE, e), `hidden` (2·REACH + 1, e, h), `output` (h, classes), and a bias
    each. `temperature` divides the outputs, so that probabilities are as often right as they say.
    """

    embedding: FloatArray
    embedding_bias: FloatArray
    hidden: FloatArray
    hidden_bias: FloatArray
    output: FloatArray
    output_bias: FloatArray
    temperature: float

    def probabilities(
        self, features: FloatArray, kernels: IntArray, places: IntArray
    ) -> FloatArray:
        """Return the probability of each class at these places, `(len(places), classes)`.

        `features` holds a row for each distinct kernel, `(distinct, SIZE)`; `kernels` the rows of
        one or more streams in order, with at least `REACH` times -1 between and around streams;
        `places` are positions in `kernels`. Windows that are equal are computed once.
        """
        width = 2 * REACH + 1
        embedded = np.maximum(features @ self.embedding + self.embedding_bias, 0)
        embedded = np.concatenate([embedded, np.zeros((1, embedded.shape[1]))]).astype(np.float32)
        first, window_of = _distinct_windows(kernels, places)
        found = np.empty((len(first), len(CLASSES)), np.float32)
        weights = self.hidden.reshape(width * embedded.shape[1], -1).astype(np.float32)
        offsets = np.arange(-REACH, REACH + 1)
        for start in range(0, len(first), _CHUNK):
            rows = places[first[start : start + _CHUNK]]
            at = rows[:, None] + offsets
            inside = (at >= 0) & (at < len(kernels))
            window = np.where(inside, kernels[np.clip(at, 0, len(kernels) - 1)], -1)
            hidden = embedded[window].reshape(len(rows), -1) @ weights
            hidden = np.maximum(hidden + self.hidden_bias.astype(np.float32), 0)
            found[start : start + _CHUNK] = hidden @ self.output + self.output_bias
        scores = found / self.temperature
        scores = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-np.inf))
        return np.asarray((scores / scores.sum(axis=1, keepdims=True))[window_of], np.float64)


@lru_cache(maxsize=1)
def sequence_model() -> SequenceModel:
    """Return the network that is shipped.

    Raises
    ------
    ValueError
        Its file was trained for other features; train it again.
    """
    path = resources.files("tracekit.classifying").joinpath(FILE)
    with path.open("rb") as source, np.load(source, allow_pickle=False) as stored:
        weights = {name: stored[name].astype(np.float64) for name in stored.files}
    if weights["embedding"].shape[0] != SIZE:
        raise ValueError(f"{FILE} was trained for {weights['embedding'].shape[0]} features")
    temperature = float(weights.pop("temperature"))
    return SequenceModel(**weights, temperature=temperature)


def _distinct_windows(kernels: IntArray, places: IntArray) -> tuple[IntArray, IntArray]:
    """Return the first of the places of each distinct window, and the window of each place."""
    # Odd 64-bit multipliers, as in multiply-shift hashing: equal windows have equal sums.
    generator = np.random.default_rng(2024)
    factors = generator.integers(1, 2**63, 2 * REACH + 1, np.uint64) * np.uint64(2) + np.uint64(1)
    padded = np.concatenate([np.full(REACH, -1), kernels, np.full(REACH, -1)])
    scrambled = (padded + 2).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    scrambled ^= scrambled >> np.uint64(29)
    mixed = np.zeros(len(places), np.uint64)
    for offset, factor in enumerate(factors):
        mixed += scrambled[places + offset] * factor
    _, first, window_of = np.unique(mixed, return_index=True, return_inverse=True)
    return first, window_of
