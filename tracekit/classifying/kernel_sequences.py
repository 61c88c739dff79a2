"""Puts the activities of each stream into a row, as the sequence model reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracekit.classifying.kernel_features import SIZE, kernel_features
from tracekit.classifying.sequence_model import REACH
from tracekit.linking.codes import distinct_rows
from tracekit.linking.link import Linked
from tracekit.trace import ACTIVITY_KINDS, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class KernelSequences:
    """The activities of a trace, stream after stream.

    `kernels` are positions in `features`, with gaps of -1 between the streams; `place` is where in
    `kernels` each activity stands.
    """

    features: FloatArray
    kernels: IntArray
    place: IntArray


def distinct_kernels(linked: Linked) -> tuple[IntArray, IntArray]:
    """Return a row of each kernel, by name, kind, grid and block, and the number of each row's."""
    activities = linked.trace.activities
    columns = (activities.name, activities.kind, activities.grid, activities.block)
    return distinct_rows(tuple(column.astype(np.int64) for column in columns))


def stream_order(linked: Linked) -> IntArray:
    """Return the activities stream after stream, each in the order in which it ran."""
    activities = linked.trace.activities
    order: IntArray = np.lexsort((activities.start_ns, activities.stream, activities.device))
    return order


def kernel_sequences(linked: Linked) -> KernelSequences:
    """Return the streams of a trace with GPU activities, in the order in which they ran."""
    activities, texts = linked.trace.activities, linked.trace.text
    first, kernel = distinct_kernels(linked)
    features = [
        kernel_features(
            texts(int(activities.name[row])) or "",
            ACTIVITY_KINDS[activities.kind[row]],
            texts(int(activities.grid[row])),
            texts(int(activities.block[row])),
        )
        for row in first.tolist()
    ]
    order = stream_order(linked)
    streams = np.stack([activities.device[order], activities.stream[order]])
    begins = np.append(True, (streams[:, 1:] != streams[:, :-1]).any(axis=0))
    number = np.cumsum(begins) if len(order) else np.empty(0, np.int64)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) + number * REACH
    kernels = np.full(len(order) + (int(number[-1]) + 1 if len(order) else 1) * REACH, -1)
    kernels[place] = kernel
    return KernelSequences(np.array(features) if features else np.empty((0, SIZE)), kernels, place)
