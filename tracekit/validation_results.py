"""What a validation returns: frozen records whose fields are those of its JSON.

Times are int64 nanoseconds of kernel time, shares and accuracies between 0 and 1 (null when the
whole is 0). "Decidable" is the work whose category the labels of a collector name; accuracy is the
share of it, by time unless the name says otherwise, that was given this category.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from tracekit.categories import CATEGORIES

VALIDATION_SCHEMA: Final = "tracekit.validation/1"
"""Name and version of the JSON that `tracekit validate --format json` writes."""

Mode = Literal["rich", "no_shapes", "no_modules", "kernels_only", "no_eager"]
"""What the classifier saw of a trace; labels it never sees.

`rich`: all else, with the eager pass of the run folder for CUDA graphs. `no_shapes`: without
shapes, types and values of op inputs. `no_modules`: without Python frames. `kernels_only`: GPU
activities and the calls that issued them, as recorded with CUDA activities alone. `no_eager`:
without the eager pass.
"""

MODES: Final[tuple[Mode, ...]] = get_args(Mode)
"""The modes, in the order in which tables show them."""


Question = Literal["temporal", "axis", "kind", "causal"]
"""Properties of attention work that labels name."""


@dataclass(frozen=True, slots=True)
class ConfusedKernel:
    """A kernel that was given a wrong category: where it ran and what was said.

    `op` is the innermost op, `module` the path that a label names, `label` the text of the label
    that decided the truth; null where there is none.
    """

    name: str | None
    op: str | None
    module: str | None
    label: str | None
    reason: str
    kernels: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """Work of one category that was given another; `time_share` is of the decidable time."""

    truth: str
    category: str
    kernels: int
    time_ns: int
    time_share: float | None
    examples: tuple[ConfusedKernel, ...]


@dataclass(frozen=True, slots=True)
class EvidenceAccuracy:
    """Accuracy of what one kind of evidence decided.

    `confidence` is the mean by time of what the classifier gave itself, null for direct evidence.
    """

    evidence: str
    kernels: int
    time_ns: int
    right_ns: int
    accuracy: float | None
    confidence: float | None


@dataclass(frozen=True, slots=True)
class ConfidenceBin:
    """Accuracy of what was decided with a confidence from `low` to below `high`."""

    low: float
    high: float
    kernels: int
    time_ns: int
    right_ns: int
    accuracy: float | None
    confidence: float | None


@dataclass(frozen=True, slots=True)
class AttentionAccuracy:
    """Accuracy of one property of attention work, where a label names it.

    `temporal`: of what is attention and was taken for it, whether it runs along time. `axis`,
    `kind`, `causal`: what was said of the attention operator's kernels; `unknown_ns` is the time
    of those of which nothing was said, which counts as wrong.
    """

    question: Question
    kernels: int
    time_ns: int
    right_ns: int
    unknown_ns: int
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class ModeAccuracy:
    """How classification fares on the decidable work when it sees what `mode` leaves.

    `matrix` holds time in ns: one row for each true category, one column for each given one, both
    in the order of `categories`. `other_share` is the share of decidable time that was wrongly put
    into `other`. `confusions` are the largest first, all of them.
    """

    mode: Mode
    kernels: int
    time_ns: int
    right_kernels: int
    right_ns: int
    accuracy: float | None
    accuracy_by_count: float | None
    other_ns: int
    other_share: float | None
    matrix: tuple[tuple[int, ...], ...]
    confusions: tuple[Confusion, ...]
    evidence: tuple[EvidenceAccuracy, ...]
    confidence: tuple[ConfidenceBin, ...]
    attention: tuple[AttentionAccuracy, ...]


@dataclass(frozen=True, slots=True)
class RunValidation:
    """One trace held against its labels.

    `kernels` and `time_ns` count all GPU activities (with `basis` "cpu" the ops that do the work),
    `truth` the decidable time by category.
    `modes` holds those modes that withhold something which this trace has.
    """

    path: str
    name: str
    basis: Literal["gpu", "cpu"]
    kernels: int
    time_ns: int
    decidable_kernels: int
    decidable_ns: int
    decidable_share: float | None
    truth: dict[str, int]
    modes: tuple[ModeAccuracy, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModeSummary:
    """One mode over all runs that have it: mean and worst accuracy of the runs, and their sum."""

    mode: Mode
    runs: int
    mean_accuracy: float | None
    worst_accuracy: float | None
    worst_run: str | None
    total: ModeAccuracy


@dataclass(frozen=True, slots=True)
class UnusableRun:
    """An input that could not be validated, and why."""

    path: str
    error: str


@dataclass(frozen=True, slots=True)
class Validation:
    """Everything that `tracekit validate` says."""

    runs: tuple[RunValidation, ...]
    overall: tuple[ModeSummary, ...]
    unusable: tuple[UnusableRun, ...] = ()
    categories: tuple[str, ...] = CATEGORIES
    schema: str = field(default=VALIDATION_SCHEMA)
