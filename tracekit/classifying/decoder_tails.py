"""Decoders of images at the end of a stretch of work: they convolve, and attend once a pass."""

from __future__ import annotations

from typing import Final

import numpy as np

from tracekit.classifying.model_changes import changes
from tracekit.classifying.run_sequence import RunSequence
from tracekit.classifying.sequence_names import LEAST_CALLS, LEAST_CONVS, begins, layers
from tracekit.linking.repetition import known_from
from tracekit.trace import BoolArray, IntArray

_LINEARS, _CALLS = 4, 1
"""Projections and attention calls of a decoder of images: those of its one attention block."""
_SPARSE: Final = 6
"""Convolutions between attention calls from which on these are of passes of a decoder, not of a
denoiser's blocks: more than two residual blocks and a change of resolution hold."""
_NEAR: Final = 8
"""Convolutions after which a decoder has begun; those before may be a denoiser's last."""


def decoder_tail(sequence: RunSequence, first: int, end: int) -> int:
    """Return where the longest end begins that convolves and has one attention block at most.

    What a decoder does chunk by chunk, of frames or of tiles, counts as often as it comes.
    """
    linear = _begins_from_end(sequence.is_linear[first:end])
    calls = np.cumsum(sequence.attends[first:end][::-1])
    convs = np.cumsum(sequence.is_conv[first:end][::-1])
    length = int(np.count_nonzero((linear <= _LINEARS) & (calls <= _CALLS)))
    if not length or convs[length - 1] < LEAST_CONVS:
        return end
    tail = _past_others(sequence, end - length, end)
    return known_from(sequence.codes, _since_dense(sequence, first, tail, end), tail, end)


def tail_after_transformer(sequence: RunSequence, first: int, end: int) -> int:
    """Return where convolutions follow a transformer (an image's two encoders), else the end."""
    tail = decoder_tail(sequence, first, end)
    calls = np.count_nonzero(sequence.attends[first:tail])
    convs = np.count_nonzero(sequence.is_conv[first:tail])
    if calls < LEAST_CALLS or convs >= LEAST_CONVS or tail == end:
        return end
    return _after_pause(sequence, tail, _near(sequence, tail, end))


def tail_after_step(sequence: RunSequence, first: int, tail: int, end: int) -> int:
    """Return where the decoder begins that follows a denoiser's step, the end if there is none.

    A denoiser may end with convolutions too, so its work must end there as well: nothing of it is
    done again. Between both is what the scheduler does: the longest stretch without a layer.
    """
    if sequence.exact is None or tail == end:
        return tail
    near = _near(sequence, tail, end)
    may_change = changes(sequence.exact[first:end])[tail - first : near - first]
    if not may_change.any():
        return end
    begin = int(np.argmax(may_change))
    length = int(np.argmin(np.append(may_change[begin:], False)))
    return _after_pause(sequence, tail + begin, tail + begin + length)


def _after_pause(sequence: RunSequence, first: int, near: int) -> int:
    """Return where the first layer stands after the longest stretch without layers."""
    places = layers(sequence, slice(first, near + 1))
    return first + int(places[np.argmax(np.diff(places, prepend=-1))]) if len(places) else first


def _past_others(sequence: RunSequence, tail: int, end: int) -> int:
    """Return where a decoder begins at the earliest: it projects only beside its attention.

    Attention with no convolution before it is of the model before.
    """
    attends = np.flatnonzero(sequence.attends[tail:end])
    if not len(attends):
        return tail
    convs = np.flatnonzero(sequence.is_conv[tail:end])
    before = np.searchsorted(convs, attends[0])
    linear = np.flatnonzero(sequence.is_linear[tail:end])
    others = linear[: np.searchsorted(linear, convs[max(0, before - 1)])]
    return tail + int(others[-1]) + 1 if len(others) else tail


def _since_dense(sequence: RunSequence, first: int, tail: int, end: int) -> int:
    """Return the last place before a tail where attention or projections are denser than decoders'.

    One pass of a decoder holds those of one attention block, so between the first of two passes
    and of the next there is much to convolve.
    """
    inside = slice(first, end)
    convs = begins(sequence.is_conv[inside])
    found = 0
    for flags, most in ((sequence.attends, _CALLS), (sequence.is_linear, _LINEARS)):
        places = begins(flags[inside])
        held = np.searchsorted(convs, places)
        dense = places[:-most][held[most:] - held[:-most] < _SPARSE]
        dense = dense[dense < tail - first]
        found = max(found, int(dense[-1]) + 1 if len(dense) else 0)
    return first + found


def _begins_from_end(flags: BoolArray) -> IntArray:
    """Count stretches of flags from the end on: a projection may take several kernels."""
    backward = flags[::-1]
    return np.asarray(np.cumsum(backward & ~np.append(False, backward[:-1])))


def _near(sequence: RunSequence, tail: int, end: int) -> int:
    """Return up to where a decoder may begin later than its projections tell."""
    convs = begins(sequence.is_conv[tail:end])
    return tail + int(convs[_NEAR]) if len(convs) > _NEAR else end
