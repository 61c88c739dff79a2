"""Tells from sizes and names which ops before and after an attention operator are its pieces."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Final

from tracekit.classifying.op_index import Shape
from tracekit.classifying.op_rules import plain_op_name
from tracekit.classifying.triton_names import fused_operations, is_triton_name

_MOST_LAYERS: Final = 3
"""The projections of queries, keys and values."""

_MOST_JOINT_LAYERS: Final = 6
"""The same of two kinds of tokens."""

_HEADS_RANK: Final = 4
_WEIGHT_RANK: Final = 2

_SCALES: Final = frozenset({"mul", "div", "multiply", "divide"})
_LAYOUT: Final = frozenset({"repeat", "repeat_interleave", "expand"})
_MASKS: Final = frozenset({"masked_fill", "tril", "triu", "where", "bitwise_not", "logical_not"})
_NOTS: Final = frozenset({"bitwise_not", "logical_not"})
_OUTPUT_MASKS: Final = frozenset({"masked_fill", "where", "nan_to_num"})
"""What is done to rows of the result in which everything was masked."""

_POOLS: Final = frozenset({"sum", "mean"})
_POOLED_RANK: Final = 5
"""Batch, heads, groups of tokens, tokens of each, and the head: landmarks are sums over some."""

VIEWS: Final = frozenset(
    {"clone", "contiguous", "permute", "transpose", "view", "unsafe_view", "split", "unsqueeze",
     "squeeze", "expand", "slice", "select", "reshape", "unbind"}
)  # fmt: skip
"""What Inductor names where it lays out anew."""

CASTS: Final = frozenset({"to", "to_copy", "type_as", "float", "half", "bfloat16"})
"""Casts before an operator mostly undo those of a norm or a rotation."""
_PRODUCTS: Final = frozenset({"matmul", "einsum", "bmm", "baddbmm"})
_FEATURES: Final = frozenset(
    {
        "softmax",
        "relu",
        "elu",
        "exp",
        "pad",
        "constant_pad_nd",
        "to",
        "mul",
        "div",
        "gelu",
        "sigmoid",
    }
)
_SOFTMAX: Final = frozenset({"softmax", "prepare_softmax_online"})
_SOFTMAX_STEPS: Final = _SOFTMAX | {"amax", "sub", "exp", "sum", "div", "cat"}
"""What Inductor takes a softmax of keys apart into; learned keys are joined to them before."""

_NORMALIZERS: Final = frozenset(
    {"add", "div", "mul", "to", "sum", "clamp", "clamp_min", "contiguous"}
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """What of a call tells its pieces: numbers of elements, lengths, head size."""

    sequences: int
    query_length: int
    key_length: int
    head_size: int
    is_linear: bool

    def are_scores(self, step: Step) -> bool:
        """Say whether an op makes, masks or adds to scores, or to what will be added to them."""
        if self.is_linear or not step.tensors:
            return False
        shape = _together(step.tensors)
        count, scores = prod(shape), self.sequences * self.query_length * self.key_length
        # Parts of heads may be as long as the sequences.
        is_clear = self.head_size not in (self.key_length * part for part in (1, 2, 4))
        is_clear |= step.name in _MASKS
        if not count or not is_clear or count in (self.queries, self.keys):
            return False
        is_plane = len(shape) >= 2 and shape[-2:] == (self.query_length, self.key_length)
        return (is_plane and scores % count == 0) or (len(shape) >= 4 and count == scores)

    def are_heads(self, shape: Shape) -> bool:
        """Say whether a shape is one of queries, keys or values with heads told apart."""
        if len(shape) < 3 or (len(shape) == 3 and shape[-1] != self.head_size):
            return False
        count = prod(shape)
        together = (self.queries, self.keys, 2 * self.keys, self.queries + 2 * self.keys)
        return self.head_size in shape and (count in together or self.keys % max(count, 1) == 0)

    @property
    def queries(self) -> int:
        """Elements of the queries."""
        return self.sequences * self.query_length * self.head_size

    @property
    def keys(self) -> int:
        """Elements of the keys, for each head of the queries."""
        return self.sequences * self.key_length * self.head_size


@dataclass(frozen=True, slots=True)
class Step:
    """One op that was issued: what it is called, what it does, and what it was given.

    `words` are what Inductor fused into it but for views and casts, else its name. `widens` says
    that it casts to float32. `result` is what a copy of Inductor's writes, without dimensions of
    one at the end.
    """

    name: str
    words: frozenset[str]
    is_layer: bool
    is_helper: bool
    is_attention: bool
    tensors: tuple[Shape, ...]
    parts: tuple[Shape, ...]
    has_shapes: bool
    widens: bool = False
    result: Shape = ()


def _together(tensors: tuple[Shape, ...]) -> Shape:
    """Return the shape that tensors have together, if they are spread over one another."""
    rank = max(map(len, tensors))
    padded = [(1,) * (rank - len(shape)) + shape for shape in tensors]
    return tuple(max(sides) for sides in zip(*padded, strict=True))


def pieces_before(steps: list[Step], sizes: Sizes, outside: int) -> list[int]:
    """Return which steps before an operator are pieces of it.

    The first ones, as many as `outside`, stand before its labelled module: they may make masks and
    biases, and lay out no heads.
    """
    found: list[int] = []
    layers = 0
    for at in range(len(steps) - 1, -1, -1):
        step = steps[at]
        if step.is_attention:
            break
        layers += step.is_layer
        if layers < _MOST_LAYERS and _projects_all(step, sizes):
            layers = _MOST_LAYERS
        if layers == _MOST_JOINT_LAYERS:
            break
        if step.is_layer or (at < outside and not sizes.are_scores(step)):
            continue
        is_near = layers < _MOST_LAYERS and (
            _is_piece(step, sizes, layers, is_followed=at + 1 in found)
            or (step.name in CASTS and _casts_heads(steps, at, sizes))
            or (not layers and step.widens and _is_right_before(steps, at))
            or (not step.has_shapes and _is_between_layers(steps, at))
            or (not step.has_shapes and not layers and _lays_out_heads(steps, at))
            or (not step.has_shapes and not layers and _scales_queries(steps, at))
        )
        if is_near or _lays_out_some(step, sizes):
            found.append(at)
    return found


def _projects_all(step: Step, sizes: Sizes) -> bool:
    """Say whether a layer returns queries, keys and values at once: nothing before it is a piece.

    Its weight is the tensor of two dimensions beside the tokens, or of as many as the image has.
    """
    if not step.is_layer:
        return False
    results = {
        prod(tokens) // taken * given
        for tokens in step.tensors
        for weight in step.tensors
        if tokens is not weight and len(weight) >= _WEIGHT_RANK and prod(weight[2:]) == 1
        for given, taken in (weight[:2], weight[1::-1])
        if taken and taken in tokens
    }
    # Learned and remembered keys were put before those that are projected.
    return not results.isdisjoint({sizes.queries + 2 * sizes.keys, 3 * sizes.queries})


def _lays_out_some(step: Step, sizes: Sizes) -> bool:
    """Say whether a step copies heads of the call, of however many tokens."""
    if not step.is_helper or step.name in CASTS or not step.tensors:
        return False
    shape = step.result or step.tensors[0]
    is_of_call = len(shape) == _HEADS_RANK and shape[3] == sizes.head_size
    return is_of_call and sizes.sequences in (shape[0] * shape[1], shape[0] * shape[2])


def words_of(name: str) -> frozenset[str]:
    """Return what an op of this name does: of Inductor's kernels all but views and casts."""
    if not is_triton_name(name):
        return frozenset({plain_op_name(name)[1]})
    return frozenset(fused_operations(name)) - VIEWS - CASTS


def _follows_layer(steps: list[Step], at: int) -> bool:
    """Say whether only copies and casts stand between the last layer and a step."""
    while at > 0 and (steps[at].is_helper or steps[at].name in CASTS):
        at -= 1
    return steps[at].is_layer


def _lays_out_heads(steps: list[Step], at: int) -> bool:
    """Say whether a step copies what the last projection returned."""
    is_copy = steps[at].is_helper and steps[at].name not in CASTS
    return is_copy and _follows_layer(steps, at)


def _scales_queries(steps: list[Step], at: int) -> bool:
    """Say whether nothing but a scale and copies stands between a projection and an operator."""
    is_last = all(step.is_helper for step in steps[at + 1 :])
    return is_last and steps[at].name in _SCALES and at > 0 and _follows_layer(steps, at - 1)


def _is_between_layers(steps: list[Step], at: int) -> bool:
    """Say whether a step is of copies between two projections, with a scale of the queries or not.

    Those of heads are; a product without a copy may be a gate.
    """

    def is_of_heads(step: Step) -> bool:
        return step.is_helper or step.name in _SCALES

    first = last = at
    while first > 0 and is_of_heads(steps[first]):
        first -= 1
    while last + 1 < len(steps) and is_of_heads(steps[last]):
        last += 1
    is_copied = any(step.is_helper for step in steps[first + 1 : last])
    return first < at < last and is_copied and steps[first].is_layer and steps[last].is_layer


def _casts_heads(steps: list[Step], at: int, sizes: Sizes) -> bool:
    """Say whether a step casts heads that a projection returned, and nothing turns them then.

    A rotation is often computed in a wider type than the model's.
    """
    is_turned = any(step.name == "mul" and len(step.tensors) > 1 for step in steps[at + 1 :])
    return not is_turned and _follows_layer(steps, at) and _is_of_heads(steps[at], sizes)


def _is_right_before(steps: list[Step], at: int) -> bool:
    """Say whether only casts and copies stand between a step and the operator.

    A cast back to the model's type would undo the wider one of a rotation.
    """
    return all(step.is_helper or step.name in CASTS for step in steps[at + 1 :])


def _is_of_heads(step: Step, sizes: Sizes) -> bool:
    return bool(step.tensors) and sizes.are_heads(step.tensors[0])


def _is_piece(step: Step, sizes: Sizes, layers: int, *, is_followed: bool) -> bool:
    if sizes.are_scores(step):
        return True
    if step.name in _NOTS and step.tensors and _is_of_rows(step.tensors[0], sizes):
        return True
    if not layers and step.name in _PRODUCTS:
        return True
    if sizes.is_linear and not layers and _makes_features(step):
        return True
    if not step.tensors:
        return step.is_helper and is_followed and step.has_shapes
    if (step.is_helper and step.name not in CASTS) or step.name in _LAYOUT:
        return sizes.are_heads(step.result or step.tensors[0])
    if step.name in _POOLS:
        shape = step.tensors[0]
        is_pooled = not layers and len(shape) >= _POOLED_RANK and sizes.head_size in shape
        return is_pooled and prod(shape) in (sizes.queries, sizes.keys)
    is_scale = step.name in _SCALES and len(step.tensors) == 1
    return is_scale and prod(step.tensors[0]) in (sizes.queries, sizes.keys)


def _makes_features(step: Step) -> bool:
    """Say whether a step makes features of queries or keys, of which linear attention is.

    A rotation multiplies them by tables, features are scaled by a number.
    """
    known = _FEATURES | _SOFTMAX_STEPS if step.words & _SOFTMAX else _FEATURES
    is_by_table = step.words <= _SCALES and len(step.tensors) > 1
    return bool(step.words) and step.words <= known and not is_by_table


def _is_of_rows(shape: Shape, sizes: Sizes) -> bool:
    """Say whether a shape has one element a row of the scores."""
    return shape[-1] == sizes.query_length and prod(shape) == sizes.sequences * sizes.query_length


def pieces_after(steps: list[Step], sizes: Sizes) -> list[int]:
    """Return which steps after an operator are pieces of it.

    They are the normalizer of linear attention, what joins the parts of attention in chunks, what
    masks rows of the result or adds queries or values to it while heads are apart (Li et al.,
    MViTv2, arXiv 2112.01526, equation 6), and the copy that merges heads for the projection of the
    output.
    """
    if steps and not sizes.is_linear and _joins_chunks(steps[0], sizes):
        others = (at for at, step in enumerate(steps) if at and not step.is_helper)
        return list(range(next(others, len(steps))))
    found = [at for at in range(len(steps) - 1) if _merges_heads(steps, at, sizes)]
    found += [at for at in range(len(steps)) if _adds_heads(steps, at, sizes)]
    if steps and _masks_rows(steps[0], sizes):
        found.append(0)
    for at, step in enumerate(steps):
        if not sizes.is_linear or not (step.words <= _NORMALIZERS or step.is_helper):
            break
        found.append(at)
    return found


def _masks_rows(step: Step, sizes: Sizes) -> bool:
    shape = step.tensors[0] if step.tensors else ()
    is_result = len(shape) == _HEADS_RANK and prod(shape) == sizes.queries
    return step.name in _OUTPUT_MASKS and is_result and shape[-1] == sizes.head_size


def _merges_heads(steps: list[Step], at: int, sizes: Sizes) -> bool:
    """Say whether a step copies heads for the first layer after an operator."""
    step = steps[at]
    is_copy = step.is_helper and step.name not in CASTS and bool(step.tensors)
    is_last = steps[at + 1].is_layer and not _has_layer(steps[:at], sizes)
    if not is_copy or not is_last:
        return False
    is_apart = len(step.tensors[0]) >= _HEADS_RANK or bool(step.result)
    return is_apart and sizes.are_heads(step.tensors[0])


def _has_layer(steps: list[Step], sizes: Sizes) -> bool:
    """Say whether a layer is among steps; what convolves heads is no projection of the output."""
    return any(step.is_layer and not _is_of_result(step.tensors[:1], sizes) for step in steps)


def _adds_heads(steps: list[Step], at: int, sizes: Sizes) -> bool:
    """Say whether a step adds heads to the result of an operator, head by head."""
    step = steps[at]
    is_sum = step.name == "add" and len(step.tensors) == 2 and len(set(step.tensors)) == 1
    return is_sum and _is_of_result(step.tensors[:1], sizes) and not _has_layer(steps[:at], sizes)


def _is_of_result(tensors: tuple[Shape, ...], sizes: Sizes) -> bool:
    """Say whether the first of some tensors is a result with heads told apart."""
    shape = tensors[0] if tensors else ()
    is_apart = len(shape) == _HEADS_RANK and shape[-1] == sizes.head_size
    return is_apart and prod(shape) == sizes.queries and sizes.query_length in shape[1:3]


def _joins_chunks(step: Step, sizes: Sizes) -> bool:
    is_join = step.name in ("cat", "stack") and len(step.parts) > 1
    return is_join and all(
        prod(part) == sizes.queries and sizes.are_heads(part) for part in step.parts
    )


def folded_heads(steps: list[Step], sizes: Sizes) -> tuple[int, int] | None:
    """Return batch and heads from a copy of queries of four dimensions."""
    for step in steps:
        for shape in step.tensors[:1]:
            if len(shape) != 4 or shape[3] != sizes.head_size:
                continue
            for batch, heads, length in (
                (shape[0], shape[1], shape[2]),
                (shape[0], shape[2], shape[1]),
            ):
                if batch * heads == sizes.sequences and length == sizes.query_length:
                    return batch, heads
    return None
