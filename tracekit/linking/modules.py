"""The chain of `nn.Module` calls around a point in time, from traces recorded with stacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.linking.nesting import Forest, build_forest
from tracekit.trace import CodeArray, IntArray, Trace

_PREFIX: Final = "nn.Module: "
"""How `torch.profiler` marks the frame of a module's call (torch/csrc/autograd/profiler_python)."""


@dataclass(frozen=True, slots=True)
class ModulePaths:
    """Module calls of a trace, and the distinct chains of names that they form.

    `paths` holds each chain outermost first, joined by `/`; `path_of_call` points into it.
    """

    paths: tuple[str, ...]
    calls: Forest
    path_of_call: IntArray

    def at(self, thread: CodeArray, time_ns: IntArray) -> IntArray:
        """Return the chain around each point, -1 outside of any module."""
        row = self.calls.innermost_at(thread, time_ns)
        if not len(self.path_of_call):
            return row
        return np.where(row >= 0, self.path_of_call[row], -1)


def module_paths(trace: Trace) -> ModulePaths:
    """Return the module calls of a trace with their chains of class-and-number names."""
    is_module = np.array([text.startswith(_PREFIX) for text in trace.strings], np.bool_)
    frames = trace.frames
    chosen = is_module[frames.name] & (frames.name >= 0) if is_module.any() else is_module[:0]
    calls = frames.take(np.flatnonzero(chosen))
    forest = build_forest(calls.thread, calls.start_ns, calls.end_ns)
    return ModulePaths(*_chains(trace, calls.name, forest))


def _chains(
    trace: Trace, names: CodeArray, forest: Forest
) -> tuple[tuple[str, ...], Forest, IntArray]:
    """Name the chains level by level, each distinct pair of chain and name once."""
    path_of_call = np.full(len(names), -1, np.int64)
    paths: list[str] = []
    depth = forest.depth()
    for level in range(int(depth.max()) + 1 if len(depth) else 0):
        rows = np.flatnonzero(depth == level)
        above = path_of_call[forest.parent[rows]] if level else np.full(len(rows), -1)
        pairs, code = np.unique(np.stack([above, names[rows]]), axis=1, return_inverse=True)
        path_of_call[rows] = len(paths) + code.ravel()
        for parent, name in pairs.T.tolist():
            own = trace.strings[name].removeprefix(_PREFIX)
            paths.append(f"{paths[parent]}/{own}" if parent >= 0 else own)
    return tuple(paths), forest, path_of_call
