"""Runs the classification passes over a linked trace."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracekit.categories import ATTENTION, CODE_OF, EVIDENCES, TEMPORAL_ATTENTION
from tracekit.classifying.graphs import attribute_graphs
from tracekit.classifying.passes import decide
from tracekit.classifying.situation import distinct_situations
from tracekit.classifying.surroundings import surroundings
from tracekit.classifying.table import KernelTable
from tracekit.labels import AXES, KINDS
from tracekit.linking.link import Linked
from tracekit.linking.stages import assign_stages


def classify(linked: Linked, donors: Sequence[KernelTable] = ()) -> KernelTable:
    """Return the kernel table: each activity with its category, evidence, reason and stage.

    Activities in the same situation (name, ops, module, phase) are decided once. `donors` are
    tables of eager passes of the same work, from which replayed graphs learn what their nodes do.
    """
    stages = assign_stages(linked)
    around, attention = surroundings(linked, stages)
    situations, situation_of = distinct_situations(linked, around)
    verdicts = [decide(situation) for situation in situations]
    reasons = list(dict.fromkeys(verdict.reason for verdict in verdicts))
    reason_code = {reason: code for code, reason in enumerate(reasons)}
    category = np.array([CODE_OF[v.category] for v in verdicts], np.int8)[situation_of]
    confidence = [np.nan if v.confidence is None else v.confidence for v in verdicts]
    # A label speaks for its whole module, anything else for the attention operator alone.
    speaks = np.isin(category, [CODE_OF[ATTENTION], CODE_OF[TEMPORAL_ATTENTION]])
    speaks |= linked.labels.attention >= 0
    table = KernelTable(
        linked=linked,
        stages=stages,
        category=category,
        evidence=np.array([EVIDENCES.index(v.evidence) for v in verdicts], np.int8)[situation_of],
        confidence=np.array(confidence, np.float64)[situation_of],
        reason=np.array([reason_code[v.reason] for v in verdicts], np.int64)[situation_of],
        reasons=tuple(reasons),
        axis=np.where(speaks, attention.axis, -1).astype(np.int64),
        axes=AXES,
        kind=np.where(speaks, attention.kind, -1).astype(np.int64),
        kinds=KINDS,
        causal=np.where(speaks, attention.causal, -1).astype(np.int8),
        call=attention.call,
        calls=attention.calls,
    )
    return attribute_graphs(table, donors)
