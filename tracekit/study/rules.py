"""How claims are judged: functions of measured numbers, with thresholds from the claim's words.

Where a claim names a number, a measured one that is within a tenth of it (`CLOSE`) agrees: two GPUs
of one generation differ by more in their ratio of arithmetic to bandwidth, and figures of the paper
cannot be read off better. A difference smaller than its spread is no difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from tracekit.study_results import (
    HOLDS,
    IN_PART,
    NOT_HERE,
    NOT_MEASURED,
    PowerFit,
    VerdictName,
)

CLOSE: Final = 0.1
"""How far from a claimed number a measured one may be, as a share of the claimed one."""
GAIN_CLAIM: Final = (1.1, 2.5)
LENGTH_CLAIM: Final = 4.0
SIGMAS: Final = 2
"""Standard errors by which two exponents must differ to be told apart."""


def is_close(value: float, claimed: float) -> bool:
    """Say whether a number agrees with a claimed one."""
    return abs(value - claimed) <= CLOSE * claimed * (1 + 1e-9)


def judge_up_to(largest: float | None, claimed: float) -> VerdictName:
    """Judge "up to N% of the time" by the largest share of the models that it is said of.

    Holds if that is close to N; in part if it is at least half of it, or above it; else not.
    """
    if largest is None:
        return NOT_MEASURED
    if is_close(largest, claimed):
        return HOLDS
    return IN_PART if largest >= claimed / 2 else NOT_HERE


def judge_gains(gains: Sequence[float]) -> VerdictName:
    """Judge "1.1 to 2.5 times more" by the speedup of each diffusion over each transformer model.

    Holds if every one is within that range (a tenth of its upper end beyond it included); in part
    if some are 1.1 at least; not if none is.
    """
    if not gains:
        return NOT_MEASURED
    low, high = GAIN_CLAIM
    if all(low <= gain <= high * (1 + CLOSE) for gain in gains):
        return HOLDS
    return IN_PART if any(gain >= low for gain in gains) else NOT_HERE


def judge_both(first: VerdictName, second: VerdictName) -> VerdictName:
    """Judge a claim by two measures: what both say, in part where they differ.

    What was not measured does not count.
    """
    known = [one for one in (first, second) if one != NOT_MEASURED]
    if not known:
        return NOT_MEASURED
    return known[0] if len(set(known)) == 1 else IN_PART


def judge_parts(parts: Iterable[bool | None]) -> VerdictName:
    """Judge a claim of several parts: all hold, some do, none does; null was not measured.

    Not all measured is in part at best.
    """
    found = list(parts)
    known = [part for part in found if part is not None]
    if not known:
        return NOT_MEASURED
    if all(known):
        return HOLDS if len(known) == len(found) else IN_PART
    return IN_PART if any(known) else NOT_HERE


def judge_lengths(whole: float | None, neighbours: float | None) -> VerdictName:
    """Judge "varies up to four times" by the largest ratio of lengths within one inference.

    Two readings: of the longest to the shortest, and of two neighbouring levels. Holds if either is
    close to 4; in part if lengths vary otherwise, by two times at least; else not.
    """
    known = [one for one in (whole, neighbours) if one is not None]
    if not known:
        return NOT_MEASURED
    if any(is_close(one, LENGTH_CLAIM) for one in known):
        return HOLDS
    return IN_PART if max(known) >= 2 else NOT_HERE


def is_steeper(first: PowerFit, second: PowerFit) -> bool | None:
    """Say whether the first exponent is larger by more than two standard errors; null if unknown.

    An exponent of two points has no error, and nothing is known of the difference then.
    """
    if first.error is None or second.error is None:
        return None
    return first.exponent - second.exponent > SIGMAS * math.hypot(first.error, second.error)


def judge_exponent(exponent: float | None, claimed: float) -> VerdictName:
    """Judge "grows with the fourth power" by a measured exponent.

    Holds if it is close; in part if it is at least half of it; else not.
    """
    if exponent is None:
        return NOT_MEASURED
    if is_close(exponent, claimed):
        return HOLDS
    return IN_PART if exponent >= claimed / 2 else NOT_HERE
