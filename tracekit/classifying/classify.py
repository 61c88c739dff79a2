"""Runs the classification passes over a linked trace."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracekit.categories import ATTENTION, CODE_OF, TEMPORAL_ATTENTION
from tracekit.classifying.by_sequence import refined_by_sequence
from tracekit.classifying.decisions import Decisions
from tracekit.classifying.found_stages import with_found_stages
from tracekit.classifying.graphs import attribute_graphs
from tracekit.classifying.launch_grids import causality_by_name
from tracekit.classifying.passes import decide
from tracekit.classifying.situation import distinct_situations
from tracekit.classifying.surroundings import surroundings
from tracekit.classifying.table import KernelTable
from tracekit.classifying.twins import decided_by_twins
from tracekit.labels import AXES, KINDS
from tracekit.linking.link import Linked
from tracekit.linking.stages import assign_stages


def classify(linked: Linked, donors: Sequence[KernelTable] = ()) -> KernelTable:
    """Return the kernel table: each activity with its category, evidence, reason and stage.

    Activities in the same situation (name, ops, module, phase) are decided once; what only their
    names decide is decided again by the kernels around them. `donors` are tables of eager passes
    of the same work, from which replayed graphs learn what their nodes do.
    """
    stages = assign_stages(linked)
    around, attention = surroundings(linked, stages)
    situations, situation_of = distinct_situations(linked, around)
    decided = Decisions.of([decide(situation) for situation in situations], situation_of)
    decided = decided_by_twins(linked, decided)
    decided, axis_by_grid = refined_by_sequence(linked, decided, attention)
    is_attention = np.isin(decided.category, [CODE_OF[ATTENTION], CODE_OF[TEMPORAL_ATTENTION]])
    # A label speaks for its whole module, anything else for the attention operator alone.
    speaks = is_attention | (linked.labels.attention >= 0)
    axis = np.where(attention.axis >= 0, attention.axis, axis_by_grid)
    by_name = causality_by_name(linked, is_attention & (attention.causal < 0))
    table = KernelTable(
        linked=linked,
        stages=stages,
        category=decided.category,
        evidence=decided.evidence,
        confidence=decided.confidence,
        reason=decided.reason,
        reasons=decided.reasons,
        axis=np.where(speaks, axis, -1).astype(np.int64),
        axes=AXES,
        kind=np.where(speaks, attention.kind, -1).astype(np.int64),
        kinds=KINDS,
        causal=np.where(speaks, np.maximum(attention.causal, by_name), -1).astype(np.int8),
        call=attention.call,
        calls=attention.calls,
    )
    return with_found_stages(attribute_graphs(table, donors))
