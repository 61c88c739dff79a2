"""How a run would go if its host, or its device, were faster: the same work, paced anew.

The host issues work at the times that the trace tells; a device does it in order, no earlier than
it was issued. Both wait for each other as in the trace: the device for launches, the host in calls
that synchronize. With nothing changed the model gives the times of the trace, to the nanosecond.

* An activity starts a launch latency after its call at the earliest, and not before the one before
  it allows: what overlapped in the trace still does, what followed still follows after the pause
  that the device itself needs between two activities. Where the device waited for the launch, its
  latency is known and that pause is not; where the work was queued, it is the other way round. The
  median of the known ones stands for what is not known.
* A synchronizing call returns as long after the work it waited for as in the trace.
* Between two calls the host takes as long as in the trace, less what profiling its events costs.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from typing import Final

import numpy as np

from tracekit.analysis.blocking_calls import blocking_calls
from tracekit.classifying.table import KernelTable
from tracekit.trace import ACTIVITY_KINDS, BoolArray, FloatArray, IntArray, Trace

_LATENCY_NS: Final = 4_000
_PAUSE_NS: Final = 1_000
"""Launch latency and pause between queued kernels where a trace has none to measure: usual values
of eager CUDA, 3 to 5 µs and about 1 µs in the traces of `examples/`."""

_KERNEL, _MEMSET = (ACTIVITY_KINDS.index(kind) for kind in ("kernel", "gpu_memset"))
_SMALL_BYTES: Final = 4
"""Memsets of 4 bytes and of 5.5 kB and more were seen; only the first are slow in a graph."""

_NEVER_NS: Final = -(1 << 61)


@dataclass(frozen=True, slots=True)
class EventCosts:
    """What a profiled event costs the host, in ns: ops, their shapes, calls, frames, annotations.

    The fields are in the order of the columns of `Host.events`.
    """

    op: float
    shapes: float
    call: float
    frame: float
    annotation: float


@dataclass(frozen=True, slots=True)
class Host:
    """The points at which the host issues work, or begins or ends to wait, in order.

    `gap_ns[i]` is the time before point i that the host worked, 0 while it waited, `events[i]` how
    many events of each kind began in it, and `cost_ns[i]` what profiling them took of it. `waits`
    and `returns` are positions of points.
    """

    time_ns: IntArray
    gap_ns: IntArray
    events: IntArray
    cost_ns: FloatArray
    waits: IntArray
    returns: IntArray

    def paced(self, scale: float) -> IntArray:
        """Return the points in ns after the first, without waiting, at this scale of the costs."""
        left = np.maximum(0, self.gap_ns - np.rint(scale * self.cost_ns).astype(np.int64))
        return np.cumsum(left)


@dataclass(frozen=True, slots=True)
class GraphPauses:
    """What is different in a CUDA graph that nobody profiles, in ns.

    Pauses between two activities at most, and after a small memset, and by how much kernels are
    shorter than the profiler says.
    """

    between: int
    after_memset: int
    shorter: int


@dataclass(frozen=True, slots=True)
class Device:
    """One device's activities in start order.

    `point` is the host point of each launch, -1 where none is known; `latency_ns` what lies between
    it and the start at least; `offset_ns` how long after the one before it can start, of which
    `pause_ns` is the device's own pause. `is_kernel` and `is_small_memset` tell kernels and memsets
    of a few bytes.
    """

    rows: IntArray
    dur_ns: IntArray
    point: IntArray
    latency_ns: IntArray
    offset_ns: IntArray
    pause_ns: IntArray
    is_kernel: BoolArray
    is_small_memset: BoolArray
    first_ns: int
    """Start of the first one after the run's begin."""


@dataclass(frozen=True, slots=True)
class Paced:
    """What became of a device: starts and launches in ns after the run's begin, and its end."""

    start_ns: IntArray
    dur_ns: IntArray
    launch_ns: IntArray
    end_ns: int


@dataclass(frozen=True, slots=True)
class Pace:
    """A run that can be paced anew, of one device."""

    host: Host
    device: Device
    wait_after: IntArray
    """For each wait the activity that it waited for, -1 for none."""
    return_ns: IntArray
    """For each wait how long after that, or after its begin, it returned."""

    def run(
        self,
        scale: float = 0.0,
        dur_ns: IntArray | None = None,
        merged: BoolArray | None = None,
    ) -> Paced:
        """Return the run with the cost of profiling removed `scale` times, other durations.

        Activities that are `merged` into the one before them need no pause of the device, and the
        host no time to issue them.
        """
        host = self.host if merged is None else self._without_launches(merged)
        return _run(self, host.paced(scale), self._device(dur_ns, merged))

    def at(self, costs: EventCosts) -> Pace:
        """Return the same with other costs of profiling."""
        return replace(self, host=replace(self.host, cost_ns=self.host.events @ astuple(costs)))

    def without_waits(self, scale: float = 0.0) -> Paced:
        """Return the run where no call waits for the device."""
        return _run(self._unwaiting(), self.host.paced(scale), self.device)

    def alone(self, pauses: GraphPauses) -> Paced:
        """Return the run where the device never waits for the host, as in one graph of it all."""
        device = self.device
        shorter = np.where(device.is_kernel, np.minimum(device.dur_ns, pauses.shorter), 0)
        dur_ns = device.dur_ns - shorter
        after = np.append(False, device.is_small_memset[:-1])
        most = np.where(after, pauses.after_memset, pauses.between)
        pause = np.minimum(device.pause_ns, most)
        moved = pause - device.pause_ns - np.append(0, shorter[:-1])
        device = replace(
            device,
            dur_ns=dur_ns,
            point=np.full(len(device.rows), -1, np.int64),
            offset_ns=np.maximum(0, device.offset_ns + moved),
            pause_ns=pause,
            first_ns=0,
        )
        return _run(self._unwaiting(), np.zeros_like(self.host.time_ns), device)

    def _unwaiting(self) -> Pace:
        host = replace(self.host, waits=self.host.waits[:0], returns=self.host.returns[:0])
        none = self.wait_after[:0]
        return replace(self, host=host, wait_after=none, return_ns=none)

    def _without_launches(self, merged: BoolArray) -> Host:
        """Return the host where what leads to the launches of merged activities takes no time.

        Launches that issue other activities as well, as those of graphs do, stay.
        """
        point = self.device.point
        spared = np.setdiff1d(point[merged & (point >= 0)], point[~merged])
        gap_ns = self.host.gap_ns.copy()
        gap_ns[spared] = 0
        return replace(self.host, gap_ns=gap_ns)

    def _device(self, dur_ns: IntArray | None, merged: BoolArray | None) -> Device:
        """Return the device with activities of other lengths, what follows them moved alike."""
        if dur_ns is None:
            return self.device
        device = self.device
        saved = np.append(0, (device.dur_ns - dur_ns)[:-1])
        if merged is not None:
            saved += np.where(merged, device.pause_ns, 0)
        offset = np.maximum(0, device.offset_ns - saved)
        return replace(device, dur_ns=dur_ns, offset_ns=offset)


def pace_of(table: KernelTable, device: int, costs: EventCosts) -> Pace:
    """Return what a device and its host do in a trace, ready to be paced anew."""
    rows = np.flatnonzero(table.device == device)
    trace = table.linked.trace
    threads = np.unique(table.linked.thread[rows]).astype(np.int64)
    threads = threads[threads >= 0]
    waits = _waits(trace, threads)
    host, point_of_launch = _host(table, rows, waits, threads)
    known = point_of_launch >= 0
    done = _device(table, rows, point_of_launch, host)
    wait_after, return_ns = _waited_for(host, done, table, known)
    return Pace(host, done, wait_after, return_ns).at(costs)


def pace_of_one_device(table: KernelTable, costs: EventCosts) -> Pace | None:
    """Return the pace of a trace's device, null without GPU activity and with several devices."""
    devices = np.unique(table.device)
    if table.linked.basis == "cpu" or len(devices) != 1:
        return None
    return pace_of(table, int(devices[0]), costs)


def _waits(trace: Trace, threads: IntArray) -> IntArray:
    rows = np.flatnonzero(blocking_calls(trace))
    return rows[np.isin(trace.calls.thread[rows], threads)]


def _host(
    table: KernelTable, rows: IntArray, waits: IntArray, threads: IntArray
) -> tuple[Host, IntArray]:
    """Return the host, with no cost of its events yet, and the point of each activity's launch."""
    linked, calls = table.linked, table.linked.trace.calls
    launches, of_row = np.unique(linked.launch[rows], return_inverse=True)
    has_none = len(launches) > 0 and launches[0] < 0
    launches = launches[1:] if has_none else launches
    of_row = of_row - 1 if has_none else of_row
    begin = first_ns(linked.trace, threads, table.start_ns[rows])
    times = np.concatenate(
        [[begin], calls.start_ns[launches], calls.start_ns[waits], calls.end_ns[waits]]
    )
    kind = np.repeat([0, 1, 2, 3], [1, len(launches), len(waits), len(waits)])
    order = np.lexsort((kind, times))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    first, second = 1 + len(launches), 1 + len(launches) + len(waits)
    entered, left = place[first:second], place[second:]
    # While one thread waits another may launch: then the host does not wait.
    alone = left == entered + 1
    entered, left = entered[alone], left[alone]
    by_time = np.argsort(entered, kind="stable")
    time_ns = times[order]
    gap_ns = np.diff(time_ns, prepend=time_ns[:1])
    gap_ns[left] = 0
    events = _events(linked.trace, threads, time_ns)
    point = np.where(of_row >= 0, np.append(place, -1)[1 + np.maximum(of_row, 0)], -1)
    free = np.zeros(len(time_ns))
    host = Host(time_ns, gap_ns, events, free, entered[by_time], left[by_time])
    return host, point


def first_ns(trace: Trace, threads: IntArray, start_ns: IntArray) -> int:
    """Return when the run begins: the first event of a launching thread, or the first activity."""
    found = [int(start_ns.min())]
    for events in (trace.ops, trace.annotations, trace.calls, trace.frames):
        own = events.start_ns[np.isin(events.thread, threads)]
        found += [int(own.min())] if len(own) else []
    return min(found)


def _events(trace: Trace, threads: IntArray, time_ns: IntArray) -> IntArray:
    """Return how many events of each kind begin before each point and not before the last one."""
    counts = []
    for events in (trace.ops, trace.calls, trace.frames, trace.annotations):
        begun = np.sort(events.start_ns[np.isin(events.thread, threads)])
        counts.append(np.diff(np.searchsorted(begun, time_ns, side="left"), prepend=0))
    has_shapes = bool((trace.ops.input_dims >= 0).any())
    counts.insert(1, counts[0] * has_shapes)
    columns = np.stack(counts, axis=1)
    columns[0] = 0
    return columns


def _device(table: KernelTable, rows: IntArray, point: IntArray, host: Host) -> Device:
    start, dur = table.start_ns[rows], table.dur_ns[rows]
    reach = np.maximum.accumulate(start + dur)
    before = np.append(start[:1], reach[:-1])
    idle = np.maximum(0, start - before)
    launch = table.linked.launch[rows]
    known = point >= 0
    called = np.where(known, host.time_ns[np.maximum(point, 0)], start)
    returned = np.full(len(rows), np.iinfo(np.int64).min)
    returned[known] = table.linked.trace.calls.end_ns[launch[known]]
    follows = np.append(False, (launch[1:] == launch[:-1]) & known[1:])
    queued = ~known | (returned <= before) | follows
    queued[0] = False
    lag = start - called
    was_late = known & ~queued & (idle > 0)
    latency = _usual(lag[was_late], _LATENCY_NS)
    pause = _usual(idle[queued & (idle > 0)], _PAUSE_NS)
    pause_ns = np.where(queued, idle, np.minimum(idle, pause))
    pause_ns[0] = 0
    earlier = np.append(start[:1], start[:-1])
    offset = np.minimum(start, before) - earlier + pause_ns
    latency_ns = np.where(was_late, lag, np.minimum(lag, latency))
    latency_ns[0] = lag[0]
    kind = table.linked.trace.activities.kind[rows]
    size_bytes = table.linked.trace.activities.size_bytes[rows]
    memset = (kind == _MEMSET) & (size_bytes >= 0) & (size_bytes <= _SMALL_BYTES)
    first_ns = int(start[0] - host.time_ns[0])
    known_kind = kind == _KERNEL, memset
    return Device(rows, dur, point, latency_ns, offset, pause_ns, *known_kind, first_ns)


def _usual(values: IntArray, otherwise: int) -> int:
    return int(np.median(values)) if len(values) else otherwise


def _waited_for(
    host: Host, device: Device, table: KernelTable, known: BoolArray
) -> tuple[IntArray, IntArray]:
    """Return what each wait waited for: the last activity that ended before it returned.

    One that was not issued before the wait began does not count.
    """
    start = table.start_ns[device.rows]
    end = start + device.dur_ns
    order = np.argsort(end, kind="stable")
    entered, returned = host.time_ns[host.waits], host.time_ns[host.returns]
    last = np.searchsorted(end[order], returned, side="right") - 1
    row = np.where(last >= 0, order[np.maximum(last, 0)], -1) if len(order) else last
    issued = np.where(known, host.time_ns[np.maximum(device.point, 0)], start)
    row = np.where((row >= 0) & (issued[np.maximum(row, 0)] <= entered), row, -1)
    part = np.maximum.accumulate(_waits_before(host, device))
    in_turn = part[np.maximum(row, 0)] <= np.arange(len(row)) if len(order) else row
    row = np.where(in_turn, row, -1)
    done = np.where(row >= 0, end[np.maximum(row, 0)], entered)
    return row, returned - np.maximum(entered, done)


def _waits_before(host: Host, device: Device) -> IntArray:
    """Return after how many waits of the host each activity was issued."""
    issued_in: IntArray = np.searchsorted(host.waits, device.point, side="right")
    return issued_in


def _run(pace: Pace, host_ns: IntArray, device: Device) -> Paced:
    """Let the host and the device go on in turn, from one wait of the host to the next."""
    host, count = pace.host, len(device.rows)
    issued_in = _waits_before(host, device)
    part = np.maximum.accumulate(issued_in)
    shifts = np.zeros(len(host.waits) + 1, np.int64)
    bounds = np.searchsorted(part, np.arange(len(host.waits) + 2))
    reach = np.cumsum(device.offset_ns)
    start = np.empty(count, np.int64)
    launch = np.empty(count, np.int64)
    # What no known call issued keeps its place after the one before, the first its own.
    previous = device.first_ns if device.point[0] < 0 else _NEVER_NS
    for number in range(len(host.waits) + 1):
        low, high = int(bounds[number]), int(bounds[number + 1])
        if high > low:
            has = device.point[low:high] >= 0
            called = host_ns[np.maximum(device.point[low:high], 0)]
            issued = np.where(has, called + shifts[issued_in[low:high]], 0)
            launch[low:high] = issued
            earliest = np.where(has, issued + device.latency_ns[low:high], previous)
            floor = previous - (reach[low - 1] if low else 0)
            lead = np.maximum.accumulate(np.maximum(earliest - reach[low:high], floor))
            start[low:high] = lead + reach[low:high]
            previous = int(start[high - 1])
        if number < len(host.waits):
            shift = int(shifts[number])
            shifts[number + 1] = _after_wait(pace, number, host_ns, shift, start, device.dur_ns)
    last = int((start + device.dur_ns).max()) if count else 0
    return Paced(start, device.dur_ns, launch, max(last, int(host_ns[-1] + shifts[-1])))


def _after_wait(
    pace: Pace,
    number: int,
    host_ns: IntArray,
    shift: int,
    start: IntArray,
    dur_ns: IntArray,
) -> int:
    """Return by how much waiting has put the host off, after this wait."""
    entered = int(host_ns[pace.host.waits[number]]) + shift
    row = int(pace.wait_after[number])
    done = entered if row < 0 else max(entered, int(start[row] + dur_ns[row]))
    returned = done + int(pace.return_ns[number])
    return returned - int(host_ns[pace.host.returns[number]])
