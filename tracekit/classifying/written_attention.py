"""Finds attention that is written out: a batched product, mostly a softmax, a second product.

With shapes, the second product takes what the first one made: as many scores go into the softmax
and on into the product. Linear attention has no scores; there the first product sums over the
tokens, and the second brings that many back. Without shapes, a softmax between two products that
no layer interrupts is attention.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Final

from tracekit.classifying.fused_attention import Geometry
from tracekit.classifying.issued_products import Product, Softmax, Thread, issued_products
from tracekit.classifying.op_index import OpIndex, Shape
from tracekit.linking.link import Linked

_REACH: Final = 24
"""Launches between a product and its softmax: scale, bias, mask, casts and copies are fewer."""

_MOST_SINKS: Final = 8
"""Columns of scores that are learned, for what attends to nothing (gpt-oss has one)."""

_LONG_REACH: Final = 96
"""The same where shapes tell that they belong together: the bias may be computed in between."""

_MOST_BETWEEN: Final = 3
"""Products after a first one among which its second is looked for: normalizers come between."""

_LARGEST_HEAD: Final = 320
"""Head sizes beyond this are not taken for attention where no softmax says that it is."""


@dataclass(frozen=True, slots=True)
class Span:
    """One operator that is written out: from its first product to its last, on one thread.

    `first` and `last` are op rows, the outermost ones around the products.
    """

    thread: int
    first: int
    last: int
    geometry: Geometry


def written_spans(linked: Linked, shapes: OpIndex) -> list[Span]:
    """Return the attention operators that are written out, in the order of their softmaxes."""
    spans: list[Span] = []
    for thread in issued_products(linked, shapes):
        ours = list(_with_softmax(thread))
        ours = _with_pairs(thread, ours, list(_without_softmax(thread, ours)))
        spans.extend(_with_loose_products(thread, ours))
    return spans


def _with_pairs(thread: Thread, spans: list[Span], pairs: list[Span]) -> list[Span]:
    """Return operators with pairs of products that no softmax stands between.

    Without shapes, products of one stretch without layers that a softmax ends are its operator's:
    scores of contents, positions and segments are made one after the other.
    """
    starts = {product.root: product.start_ns for product in thread.products}
    stretch: dict[int, int] = {}
    for at, span in enumerate(spans):
        stretch.setdefault(bisect_right(thread.layers, starts[span.first]), at)
    found, rest = list(spans), []
    for pair in reversed(pairs):
        own = stretch.get(bisect_right(thread.layers, starts[pair.first]))
        is_told = pair.geometry.sequences is not None
        if own is None or is_told or starts[pair.last] >= starts[found[own].first]:
            rest.append(pair)
        else:
            found[own] = replace(found[own], first=pair.first)
    return [*found, *reversed(rest)]


def _with_softmax(thread: Thread) -> Iterator[Span]:
    starts = [product.start_ns for product in thread.products]
    ended: set[int] = set()
    for number, softmax in enumerate(thread.softmaxes):
        at = bisect_left(starts, softmax.start_ns)
        before = thread.products[max(at - _REACH, 0) : at]
        after = thread.products[at : at + _REACH]
        pair = None if softmax.shape else _pair_around(softmax, before, after)
        first, last = pair or (
            _scores_before(thread, softmax, before),
            _sum_after(thread, softmax, after),
        )
        if (first is None or last is None) and softmax.shape:
            first, last = _banded(thread, before, after)
        if first is None or last is None or (first.root in ended and not _fits(softmax, first)):
            continue
        beyond = thread.softmaxes[number + 1 : number + 2]
        if not softmax.shape and beyond and beyond[0].start_ns < last.start_ns:
            continue
        ended.add(last.root)
        geometry = _geometry(_with_scores(softmax, first), first, last)
        if softmax.tensors and not _takes_scores(softmax, first):
            # The softmax of the queries stands between the products of linear attention.
            other = _pair_geometry(first, last)
            geometry = other if other is not None and other.is_linear else geometry
        yield Span(thread.number, first.root, last.root, geometry)


def _takes_scores(softmax: Softmax, scores: Product) -> bool:
    """Say whether a fused softmax takes or returns what a product made, however it is viewed."""
    sides = (scores.rows, scores.columns)
    return any(
        prod(shape) == scores.scores and (len(shape) == 1 or shape[-1] in sides)
        for shape in softmax.tensors
    )


def _with_scores(softmax: Softmax, scores: Product) -> Softmax:
    """Return a softmax with its shape, if one of the tensors of its kernel has that of scores."""
    if softmax.shape or not scores.batch:
        return softmax
    plane = (scores.rows, scores.columns)
    fitting = (
        shape
        for shape in softmax.tensors
        if len(shape) >= 3 and shape[-2:] == plane and prod(shape) == scores.scores
    )
    return replace(softmax, shape=max(fitting, key=len, default=()))


def _fits(softmax: Softmax, scores: Product) -> bool:
    """Say whether a softmax has the rows and columns of a product, not by chance its size alone.

    Linear attention takes softmaxes of queries and keys, which may be as large as what attention
    in windows has just returned.
    """
    return softmax.shape[-2:] in ((scores.rows, scores.columns), (scores.columns, scores.rows))


def _banded(
    thread: Thread, before: Sequence[Product], after: Sequence[Product]
) -> tuple[Product | None, Product | None]:
    """Return the nearest products around a softmax that no layer parts from it.

    Attention in bands lays its scores out anew before the softmax, so that numbers do not match.
    """
    first = before[-1] if before else None
    last = after[0] if after else None
    if first is None or last is None or first.batch < 2 or last.batch < 2:
        return None, None
    is_near = last.place - first.place <= 2 * _LONG_REACH
    is_parted = thread.is_interrupted(first.start_ns, last.start_ns)
    is_small = max(first.inner, min(last.rows, last.columns)) <= _LARGEST_HEAD
    return (first, last) if is_near and is_small and not is_parted else (None, None)


def _pair_around(
    softmax: Softmax, before: Sequence[Product], after: Sequence[Product]
) -> tuple[Product, Product] | None:
    """Return the nearest products around a softmax of which the second takes what the first made.

    Compilers move the projection of the values between the softmax and the second product.
    """
    for first in reversed(before):
        if softmax.place - first.place > _REACH or not first.batch:
            break
        for last in after:
            if last.place - softmax.place > _REACH or not last.batch:
                break
            if first.batch == last.batch and first.scores in (
                last.taken,
                last.batch * last.inner * last.columns,
            ):
                return first, last
    return None


def _scores_before(thread: Thread, softmax: Softmax, products: Sequence[Product]) -> Product | None:
    """Return the first of the products that the scores are made of."""
    found: Product | None = None
    scores = prod(softmax.shape)
    for product in reversed(products):
        distance = softmax.place - product.place
        is_interrupted = thread.is_interrupted(product.start_ns, softmax.start_ns)
        if not softmax.shape or not product.batch:
            return None if is_interrupted or distance > _LONG_REACH else product
        if distance > (_LONG_REACH if found is None else _REACH):
            break
        if product.scores == scores and (found is None or not is_interrupted):
            found = product
        elif found is not None:
            break
    return found


def _sum_after(thread: Thread, softmax: Softmax, products: Sequence[Product]) -> Product | None:
    """Return the last of the products that take the probabilities."""
    found: Product | None = None
    scores = prod(softmax.shape)
    for product in products:
        is_interrupted = thread.is_interrupted(softmax.start_ns, product.start_ns)
        is_told = bool(softmax.shape) and bool(product.batch)
        if product.place - softmax.place > (_REACH if is_told else _LONG_REACH):
            break
        if not is_told:
            # Compilers move the projection of the values to where it is needed.
            allowed = int(softmax.is_compiled)
            is_parted = thread.is_interrupted(softmax.start_ns, product.start_ns, allowed)
            return None if is_parted else product
        fits = scores in (product.taken, product.batch * product.inner * product.columns)
        if fits and (found is None or not is_interrupted):
            found = product
        elif found is not None:
            break
    return found


def _with_loose_products(thread: Thread, spans: Sequence[Span]) -> Iterator[Span]:
    """Widen operators by the other products that no layer parts from them.

    Attention by landmarks or by kernels multiplies more than twice.
    """
    owned = {row for span in spans for row in (span.first, span.last)}
    starts = {product.root: product.start_ns for product in thread.products}
    runs: dict[int, list[Product]] = {}
    for product in thread.products:
        runs.setdefault(bisect_right(thread.layers, product.start_ns), []).append(product)
    widened: dict[int, Span] = {}
    for span in spans:
        number = bisect_right(thread.layers, starts[span.first])
        run = runs[number]
        is_parted = bisect_right(thread.layers, starts[span.last]) != number
        is_inside = {product.root for product in run} - owned
        between = [p for p in run if starts[span.first] <= p.start_ns <= starts[span.last]]
        if is_parted or not is_inside - {product.root for product in between}:
            yield span
        elif number not in widened:
            widened[number] = Span(span.thread, run[0].root, run[-1].root, span.geometry)
            yield widened[number]


def _geometry(softmax: Softmax, first: Product, last: Product) -> Geometry:
    shape = _without_sinks(softmax.shape, first)
    size, value = first.inner or None, _value_size(first, last)
    if len(shape) >= 4 and not (softmax.is_compiled and len(shape) > 4):
        heads, batch = shape[-3], prod(shape[:-3])
        sequences = batch * heads
        return Geometry(sequences, shape[-2], shape[-1], size, batch, heads, value_size=value)
    if len(shape) >= 3:
        return Geometry(prod(shape[:-2]), shape[-2], shape[-1], size, value_size=value)
    if first.batch:
        return Geometry(first.batch, first.rows, first.columns, size, value_size=value)
    return Geometry(None, None, None, None)


def _without_sinks(shape: Shape, scores: Product) -> Shape:
    """Return the shape of the scores that keys have; sinks are columns beside them."""
    sinks = shape[-1] - scores.columns if len(shape) >= 2 and scores.batch else 0
    has_sinks = 0 < sinks <= _MOST_SINKS and shape[-2] == scores.rows
    return (*shape[:-1], scores.columns) if has_sinks else shape


def _value_size(first: Product, last: Product) -> int | None:
    """Return the head size of the values: what the second product has beside the scores."""
    if not first.batch or first.batch != last.batch:
        return None
    if first.scores == last.taken:
        return last.columns
    return last.rows if first.scores == last.batch * last.inner * last.columns else None


def _without_softmax(thread: Thread, found: Sequence[Span]) -> Iterator[Span]:
    """Yield pairs of products that are attention by their shapes alone."""
    taken = {row for span in found for row in (span.first, span.last)}
    free = [product for product in thread.products if product.root not in taken]
    done = -1
    for at, first in enumerate(free):
        if first.place <= done:
            continue
        for last in free[at + 1 : at + 1 + _MOST_BETWEEN]:
            if last.place - first.place > _REACH or first.root == last.root:
                continue
            geometry = _loose_geometry(thread, first, last) if first.batch == last.batch else None
            if geometry is not None:
                done = last.place
                yield Span(thread.number, first.root, last.root, geometry)
                break


def _loose_geometry(thread: Thread, first: Product, last: Product) -> Geometry | None:
    """Return the geometry of two products if they are attention, from shapes or without."""
    is_parted = thread.is_interrupted(first.start_ns, last.start_ns)
    if first.batch:
        geometry = _pair_geometry(first, last)
        # Compilers move the projection of the queries between the products of linear attention.
        return None if geometry is None or (is_parted and not geometry.is_linear) else geometry
    before = bisect_right(thread.activations, first.start_ns)
    is_activated = bisect_left(thread.activations, last.start_ns) > before
    return None if is_parted or is_activated else Geometry(None, None, None, None, is_linear=True)


def _pair_geometry(first: Product, last: Product) -> Geometry | None:
    if first.batch == 1:
        return None
    sums = {first.rows, first.columns}
    if max(sums) <= _LARGEST_HEAD and first.inner > max(sums) and last.inner in sums:
        # Linear attention: keys and values are summed over the tokens first.
        other = first.rows + first.columns - last.inner
        length = last.columns if last.rows == other else last.rows
        if other in (last.rows, last.columns) and length > max(sums):
            size = last.inner
            return Geometry(
                first.batch, length, first.inner, size, is_linear=True, value_size=other
            )
    is_small = first.inner <= _LARGEST_HEAD and last.columns <= _LARGEST_HEAD
    if is_small and first.rows == last.rows and first.columns == last.inner != first.inner:
        value = last.columns
        return Geometry(first.batch, first.rows, first.columns, first.inner, value_size=value)
    return None
