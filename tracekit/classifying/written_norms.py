"""Finds normalizations that are written out: an RMSNorm as pow, mean, rsqrt, mul, and the like.

The root of a mean or a variance, or the length of a vector, marks one. What leads to it (casts,
squares, means, differences) and what it scales (a product or quotient, a cast, a weight and a bias
of one dimension) belong to it; scales and shifts of the whole tensor, as adaptive normalizations
have them, do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Final

from tracekit.classifying.issued_ops import IssuedOps, gradients_of_views, work_of
from tracekit.classifying.op_index import OpIndex, Shape
from tracekit.linking.link import Linked
from tracekit.trace import BoolArray

_ROOTS: Final = frozenset({"rsqrt", "sqrt", "std"})
LENGTHS: Final = frozenset({"linalg_vector_norm", "norm", "linalg_norm"})
"""Ops that take the length of vectors."""

_MEANS: Final = frozenset({"mean", "var", "var_mean", "std_mean", "sum"})
_SQUARES: Final = frozenset({"pow", "square", "mul", "multiply"})
_LEADS: Final = _MEANS | _SQUARES | {"sub", "add", "clamp", "clamp_min", "div", "abs"}
_CASTS: Final = frozenset({"to", "to_copy", "type_as", "float", "convert_element_type"})
_SCALES: Final = frozenset({"mul", "multiply", "div", "divide", "true_divide"})
_NORMS: Final = frozenset(
    {"layer_norm", "native_layer_norm", "group_norm", "native_group_norm", "rms_norm", "batch_norm"}
)
_MARKS: Final = _ROOTS | LENGTHS | _NORMS
_BETWEEN: Final = frozenset({"add", "clamp", "clamp_min", "sub", "mean", "maximum"})
_FROZEN: Final = ("add", "rsqrt", "mul", "mul", "sub", "mul", "add")
"""A frozen batch norm: weight times the root, bias less mean times that, scaling and shift."""

_CHUNKS: Final = frozenset({"split", "chunk"})
_LEAST_CHUNKS: Final = 2
_RESPONSE: Final = ("mean", "add", "div", "mul", "mul", "add", "add")
"""A global response norm after the lengths (Woo et al., arXiv 2301.00808, algorithm 1)."""

_LEAD_STEPS: Final = 8
_SCALE_STEPS: Final = 8
_WEIGHTED: Final = _SCALES | {"add", "sub"}
_GAMMA_AND_BETA: Final = 2
_IMAGE_RANK: Final = 4
_MOST_CASTS: Final = 3
_MOST_WEIGHTS: Final = 4


def in_written_norm(linked: Linked, issued: Sequence[IssuedOps], shapes: OpIndex) -> BoolArray:
    """Return which activities are pieces of a normalization that is written out.

    So are casts around a norm's own op, from and to the type of the model, and what joins norms of
    chunks, forward and backward.
    """
    spans = [
        (ops.thread, ops.rows[first], ops.rows[last])
        for ops in issued
        for first, last in _spans(ops, shapes)
    ]
    chunked = [
        ops.rows[at]
        for ops in issued
        for at, name in enumerate(ops.names)
        if name == "group_norm" and _in_chunks(ops, shapes, at)
    ]
    chunks = gradients_of_views(linked, shapes, issued, chunked, _CHUNKS)
    return work_of(linked, spans) | chunks


def _spans(issued: IssuedOps, shapes: OpIndex) -> Iterator[tuple[int, int]]:
    names = issued.names
    done = -1
    for at, name in enumerate(names):
        if at <= done or name not in _MARKS:
            continue
        if name in _NORMS:
            parts = (_in_chunks, _with_casts, _with_weight)
            span = next((found for part in parts if (found := part(issued, shapes, at))), None)
            if _has_made_weight(issued, shapes, at):
                span = at - 1, at if span is None else span[1]
        else:
            span = _written(issued, shapes, at)
        if span is not None:
            done = span[1]
            yield span
        if _counts_batches(issued, shapes, at):
            yield at - 1, at


def _counts_batches(issued: IssuedOps, shapes: OpIndex, at: int) -> bool:
    """Say whether an op counts the batches of the batch norm right after it, in training."""
    if at < 1 or issued.names[at] != "batch_norm" or issued.names[at - 1] != "add":
        return False
    before = issued.rows[at - 1]
    return bool(shapes.shapes(before)) and not shapes.tensors(before)


def _in_chunks(issued: IssuedOps, shapes: OpIndex, at: int) -> tuple[int, int] | None:
    """Return norms of chunks of a batch with what joins their results, null if nothing does.

    Large videos are normalized some frames at a time.
    """
    last = at
    while last < len(issued.names) and issued.names[last] == "group_norm":
        last += 1
    if last - at < _LEAST_CHUNKS or issued.names[last : last + 1] != ["cat"]:
        return None
    parts = shapes.tensor_list(issued.rows[last])
    chunks = tuple(shape for row in issued.rows[at:last] for shape in shapes.tensors(row)[:1])
    axis = next((text for text in reversed(shapes.arguments(issued.rows[last])) if text), "0")
    return (at, last) if parts == chunks and axis == "0" else None


def _with_casts(issued: IssuedOps, shapes: OpIndex, at: int) -> tuple[int, int] | None:
    """Return a norm's op with the cast of its input right before, and that of its result."""
    taken = shapes.tensors(issued.rows[at])[:1]
    first = at
    while first > 0 and issued.names[first - 1] in _CASTS and at - first < _MOST_CASTS:
        first -= 1
    cast = [shapes.tensors(issued.rows[before])[:1] for before in range(first, at)]
    is_back = at + 1 < len(issued.names) and issued.names[at + 1] in _CASTS
    if not shapes.shapes(issued.rows[at]):
        return (first, at + 1) if is_back and first < at else None
    is_back = is_back and bool(taken) and shapes.tensors(issued.rows[at + 1])[:1] == taken
    if taken and taken in cast:
        return first + cast.index(taken), at + is_back
    return (at, at + 1) if is_back else None


def _has_made_weight(issued: IssuedOps, shapes: OpIndex, at: int) -> bool:
    """Say whether one is added to a norm's weight, or the like, right before its op."""
    if at < 1 or not _makes_weight(issued, shapes, at - 1):
        return False
    return shapes.tensors(issued.rows[at - 1])[0] in shapes.tensors(issued.rows[at])[1:]


def _with_weight(issued: IssuedOps, shapes: OpIndex, at: int) -> tuple[int, int] | None:
    """Return a norm's op that has no weight with the weight that is applied right after it."""
    if not shapes.shapes(issued.rows[at]):
        return (at, at + 2) if _is_one_more(issued.names, at + 1) else None
    if len(shapes.tensors(issued.rows[at])) != 1 or _is_modulated(issued, shapes, at + 1):
        return None
    last = at
    while (
        last + 1 < len(issued.names)
        and last - at < _MOST_WEIGHTS
        and (
            issued.names[last + 1] in _SCALES | {"add"}
            and any(len(shape) == 1 for shape in shapes.tensors(issued.rows[last + 1]))
        )
    ):
        last += 1
    return (at, last) if last > at else None


def _is_modulated(issued: IssuedOps, shapes: OpIndex, at: int) -> bool:
    """Say whether one is added to what then scales, and a shift follows: adaptive norms do that."""
    is_one_more = at < len(issued.names) and _makes_weight(issued, shapes, at)
    return is_one_more and issued.names[at] == "add" and not _is_one_more(issued.names, at)


def _is_one_more(names: Sequence[str], at: int) -> bool:
    """Say whether one is added to a weight that then scales; modulation would shift, too."""
    is_scaled = names[at : at + 1] == ["add"] and not _SCALES.isdisjoint(names[at + 1 : at + 2])
    return is_scaled and names[at + 2 : at + 3] != ["add"]


def _written(issued: IssuedOps, shapes: OpIndex, at: int) -> tuple[int, int] | None:
    name = issued.names[at]
    first = _length_lead(issued, shapes, at) if name in LENGTHS else _lead(issued, shapes, at)
    if first is None:
        return None
    last: int | None = at + len(_RESPONSE)
    if shapes.shapes(issued.rows[at]) or not _is_written_response(issued.names, at):
        last = _scaled(issued, shapes, at, has_cast=issued.names[first] in _CASTS)
    if last is None:
        return None
    while first > 0 and _makes_weight(issued, shapes, first - 1):
        first -= 1
    return first, last


def _length_lead(issued: IssuedOps, shapes: OpIndex, at: int) -> int:
    """Return the cast right before a vector's length, else the length itself."""
    is_cast = at > 0 and issued.names[at - 1] in _CASTS
    same = shapes.tensors(issued.rows[at - 1])[:1] == shapes.tensors(issued.rows[at])[:1]
    return at - 1 if is_cast and same else at


def _makes_weight(issued: IssuedOps, shapes: OpIndex, at: int) -> bool:
    """Say whether an op adds one to a weight, or the like, right before a norm."""
    tensors = shapes.tensors(issued.rows[at])
    is_pointwise = issued.names[at] in _SCALES | {"add"}
    return is_pointwise and len(tensors) == 1 and len(tensors[0]) == 1


def _lead(issued: IssuedOps, shapes: OpIndex, root: int) -> int | None:
    """Return where the statistics before a root begin, null if there are none."""
    names, first = issued.names, None
    for at in range(root - 1, max(root - 1 - _LEAD_STEPS, -1), -1):
        name = names[at]
        if name in _CASTS:
            continue
        # A sum before the statistics is a residual.
        if name not in _LEADS or (name == "add" and first is not None):
            break
        if name in _MEANS or (name in ("pow", "square")) or _squares(names, at):
            first = at
    if first is None and names[root] == "std":
        return root
    if first is None:
        return _frozen_lead(issued, shapes, root)
    if not _MEANS.intersection(names[first:root]):
        return None
    before = first - 1
    return before if before >= 0 and names[before] in _CASTS else first


def _frozen_lead(issued: IssuedOps, shapes: OpIndex, root: int) -> int | None:
    """Return the ε before the root of a variance that is a weight, as in frozen batch norms."""
    if not shapes.shapes(issued.rows[root]):
        around = tuple(issued.names[max(root - 1, 0) : root + 6])
        return root - 1 if around == _FROZEN else None
    tensors = shapes.tensors(issued.rows[root])
    is_weight = len(tensors) == 1 and len(tensors[0]) > 1 and _is_weight(tensors[0])
    return root - 1 if root and is_weight and issued.names[root - 1] == "add" else None


def _squares(names: Sequence[str], at: int) -> bool:
    """Say whether an op is a product right before a mean, or a difference that is squared."""
    after = names[at + 1]
    is_square = names[at] in ("mul", "multiply") and after in _MEANS
    return is_square or (names[at] == "sub" and after in _SQUARES)


def _scaled(issued: IssuedOps, shapes: OpIndex, root: int, *, has_cast: bool) -> int | None:
    """Return where the scaling by a root ends, null if nothing is scaled.

    One cast undoes the one before the statistics.
    """
    last: int | None = None
    scaled: tuple[Shape, ...] = ()
    weights, casts, is_response = 0, int(not has_cast), False
    for at in range(root + 1, min(root + 1 + _SCALE_STEPS, len(issued.names))):
        name, tensors = issued.names[at], shapes.tensors(issued.rows[at])
        if last is None:
            if name in _SCALES:
                last, scaled = at, tensors
            elif name not in _BETWEEN:
                break
            continue
        if name in _CASTS and _is_cast_of(tensors, scaled, casts):
            casts += len(tensors[0]) > 1 if tensors else 1
        elif name in _SCALES and _is_response(issued.names[root], at - last, tensors, scaled):
            # Response norms divide the lengths first, and scale the whole by them.
            scaled, is_response = tensors, True
        elif is_response and name == "add" and weights >= _GAMMA_AND_BETA:
            return at  # to what was normalized
        elif (
            not tensors
            and _is_one_more(issued.names, at)
            and weights > (issued.names[root] in LENGTHS)
        ):
            break  # A number scales a length first; past the weight stand modulations.
        elif not casts and not weights and _is_cast_back(issued, shapes, at, scaled):
            weights += 1
        elif (
            name in _WEIGHTED
            and weights < _MOST_WEIGHTS
            and _takes_weight(issued, shapes, at)
            and _is_as_large(tensors, scaled)
        ):
            weights += 1
            if not tensors and issued.names[at - 1] == "add":
                casts = int(not has_cast)  # That of the weight has been counted.
        else:
            break
        last = at
    return last


def _is_written_response(names: Sequence[str], root: int) -> bool:
    """Say whether lengths are divided by their mean, which only response norms do."""
    return names[root] in LENGTHS and tuple(names[root + 1 :][: len(_RESPONSE)]) == _RESPONSE


def _is_cast_back(issued: IssuedOps, shapes: OpIndex, at: int, scaled: tuple[Shape, ...]) -> bool:
    """Say whether an op scales what a norm returns before it is cast back.

    What adaptive norms scale by after that cast is no part of the norm.
    """
    if at + 1 == len(issued.names) or issued.names[at + 1] not in _CASTS:
        return False
    whole = max(scaled, key=prod, default=())
    is_scale = issued.names[at] in _SCALES and whole in shapes.tensors(issued.rows[at])
    return is_scale and shapes.tensors(issued.rows[at + 1])[:1] == (whole,)


def _is_cast_of(tensors: tuple[Shape, ...], scaled: tuple[Shape, ...], casts: int) -> bool:
    """Say whether a cast is of a weight, or the one that undoes another."""
    is_weight = bool(tensors) and len(tensors[0]) == 1
    return is_weight or (not casts and (not tensors or not scaled or tensors[0] in scaled))


def _is_as_large(tensors: tuple[Shape, ...], scaled: tuple[Shape, ...]) -> bool:
    """Say whether an op works on as many elements as were normalized, or on a weight alone.

    Frozen norms scale their weight by the root before they scale the whole.
    """
    if not tensors or all(len(shape) == 1 for shape in tensors) or all(map(_is_weight, scaled)):
        return True
    return max(map(prod, tensors)) == max(map(prod, scaled))


def _is_response(
    root: str, distance: int, tensors: tuple[Shape, ...], scaled: tuple[Shape, ...]
) -> bool:
    """Say whether an op scales more elements by the result of the op before."""
    return root in LENGTHS and distance == 1 and _is_larger(tensors, scaled)


def _is_larger(tensors: tuple[Shape, ...], scaled: tuple[Shape, ...]) -> bool:
    """Say whether an op works on more elements than the one before, and takes its result."""
    if not tensors or not scaled:
        return False
    return max(map(prod, tensors)) > max(map(prod, scaled)) and scaled[0] in tensors


def _takes_weight(issued: IssuedOps, shapes: OpIndex, at: int) -> bool:
    """Say whether an op takes a weight or a bias, or a number that scales.

    Without shapes the first product after the root's own is taken for a weight's.
    """
    tensors = shapes.tensors(issued.rows[at])
    if not shapes.shapes(issued.rows[at]):
        is_frozen = any(
            tuple(issued.names[first : first + 7]) == _FROZEN and at <= first + 6
            for first in range(max(at - 6, 0), at)
        )
        is_weight = issued.names[at] in _SCALES and issued.names[at - 1] in _SCALES | _CASTS
        is_one_more = _is_one_more(issued.names, at) or _is_one_more(issued.names, at - 1)
        return is_weight or is_frozen or is_one_more
    if len(tensors) == 1:
        # A number scales; one that is added makes a weight of one dimension, or is a bias.
        before = shapes.tensors(issued.rows[at - 1])
        is_bias = any(map(_is_weight, before)) and tensors[0] == max(before, key=prod)
        return issued.names[at] in _SCALES or len(tensors[0]) == 1 or is_bias
    return any(map(_is_weight, tensors))


def _is_weight(shape: Shape) -> bool:
    """Say whether a shape is `(channels,)`, `(channels, 1, 1)`, or that of an image of one pixel.

    `(1, 1, channels)` is what adaptive normalizations modulate one sequence by.
    """
    inner = shape[1:] if len(shape) > 1 and shape[0] == 1 else shape
    is_last = len(shape) >= _IMAGE_RANK and prod(shape[:-1]) == 1
    return len(shape) == 1 or is_last or (len(inner) > 1 and max(inner[1:]) == 1)
