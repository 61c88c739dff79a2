"""Why a node of a replayed graph is in its category, in words."""

from __future__ import annotations

import re
from typing import Final

_NUMBERED: Final = re.compile(
    r"node [\d,]+ of the graph (?P<how>.{1,60}?) kernel [\d,]+ of (?P<donor>.+?): (?P<why>.*)",
    re.DOTALL,
)


def graph_reason(node: int, how: str, row: int, donor: str, why: str) -> str:
    """Return the reason of a node that is a row of a donor's kernels.

    `how` says how alike they are, `why` is the donor's own reason.
    """
    return f"node {node:,} of the graph {how} kernel {row:,} of {donor}: {why}"


def common_reason(reason: str) -> str:
    """Return what a reason has in common with those of other nodes; others stay as they are."""
    found = _NUMBERED.fullmatch(reason)
    if found is None:
        return reason
    return f"a node of the graph {found['how']} a kernel of {found['donor']}: {found['why']}"
