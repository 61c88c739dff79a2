// The timeline's data: intervals in start order that answer "how much of what from a to b" in
// constant time, so that a frame costs its pixels and not its kernels.

const BLOCK = 16;
const LOOK_BACK = 64;

/** Intervals on one line, sorted by start. Times are ns since the origin of the timeline. */
class Track {
  /**
   * @param {Float64Array} start @param {Float64Array} dur
   * @param {Uint8Array} group of each interval: what it is coloured by
   * @param {number} groups how many there are
   */
  constructor(start, dur, group, groups) {
    this.start = start;
    this.dur = dur;
    this.group = group;
    this.groups = groups;
    this.rows = start.length;
    // before[block * groups + g]: time of group g in all rows before the block.
    this.before = new Float64Array((Math.floor(this.rows / BLOCK) + 1) * groups);
    const running = new Float64Array(groups);
    for (let row = 0; row < this.rows; row++) {
      if (row % BLOCK === 0) this.before.set(running, (row / BLOCK) * groups);
      running[group[row]] += dur[row];
    }
    if (this.rows % BLOCK === 0) this.before.set(running, (this.rows / BLOCK) * groups);
    this.times = running;
  }

  /** The first row that starts at `time` or later. @param {number} time */
  rowFrom(time) {
    let low = 0;
    let high = this.rows;
    while (low < high) {
      const mid = (low + high) >>> 1;
      if (this.start[mid] < time) low = mid + 1;
      else high = mid;
    }
    return low;
  }

  /** Add the times of the rows [0, row) by group, `sign` times. @param {Float64Array} out */
  addBefore(/** @type {Float64Array} */ out, /** @type {number} */ row, /** @type {number} */ sign) {
    const block = Math.floor(row / BLOCK);
    const at = block * this.groups;
    for (let g = 0; g < this.groups; g++) out[g] += sign * this.before[at + g];
    for (let one = block * BLOCK; one < row; one++) out[this.group[one]] += sign * this.dur[one];
  }

  /**
   * Set `out` to the time of each group within [from, to), given the rows that start there.
   * An interval counts with what of it lies inside; of those that start before, the last one.
   * @param {Float64Array} out @param {number} from @param {number} to
   * @param {number} first row that starts within @param {number} end row after the last
   */
  timesWithin(out, from, to, first, end) {
    out.fill(0);
    if (end - first < 2 * BLOCK) {
      for (let row = first; row < end; row++) out[this.group[row]] += this.dur[row];
    } else {
      this.addBefore(out, end, 1);
      this.addBefore(out, first, -1);
    }
    if (end > first) {
      const last = end - 1;
      out[this.group[last]] -= Math.max(0, this.start[last] + this.dur[last] - to);
    }
    if (first > 0) {
      const row = first - 1;
      out[this.group[row]] += Math.max(0, Math.min(to, this.start[row] + this.dur[row]) - from);
    }
  }

  /**
   * The interval at `time`, else the longest within `reach` of it, or -1.
   * @param {number} time @param {number} reach ns
   */
  rowAt(time, reach) {
    const end = this.rowFrom(time + reach);
    let found = -1;
    const first = Math.max(0, end - 4096, this.rowFrom(time - reach) - LOOK_BACK);
    for (let row = end - 1; row >= first; row--) {
      const stops = this.start[row] + this.dur[row];
      if (stops <= time - reach) continue;
      if (this.start[row] <= time && stops > time && this.dur[row] >= reach) return row;
      if (found < 0 || this.dur[row] > this.dur[found]) found = row;
    }
    return found;
  }
}

/**
 * One pixel column of a track after another: calls `draw(x, times, rows)` for each of `width`.
 * @param {Track} track @param {{from: number, to: number}} view @param {number} width
 * @param {(x: number, times: Float64Array, rows: number) => void} draw
 */
function eachColumn(track, view, width, draw) {
  const times = new Float64Array(track.groups);
  const step = (view.to - view.from) / width;
  let first = track.rowFrom(view.from);
  for (let x = 0; x < width; x++) {
    const from = view.from + x * step;
    const to = x === width - 1 ? view.to : from + step;
    // Gallop: the next boundary is near, but at no fixed distance.
    let end = first;
    if (end < track.rows && track.start[end] < to) {
      let stride = 1;
      while (end + stride < track.rows && track.start[end + stride] < to) {
        end += stride;
        stride *= 2;
      }
      let high = Math.min(track.rows, end + stride);
      end += 1;
      while (end < high) {
        const mid = (end + high) >>> 1;
        if (track.start[mid] < to) end = mid + 1;
        else high = mid;
      }
    }
    track.timesWithin(times, from, to, first, end);
    draw(x, times, end - first);
    first = end;
  }
}

/**
 * Decode the timeline of a run.
 * @param {any} timeline of the data block @param {Map<string, number>} groupOf category slug → position
 * @param {number} causes how many causes of idle time there are
 */
async function decodeTimeline(timeline, groupOf, causes) {
  const { columns, gaps, attention } = timeline;
  const [start, dur, kind, place, step] = await Promise.all([
    decodeDifferences(columns.start),
    decodeColumn(columns.dur, Float64Array),
    decodeColumn(columns.kind, Uint32Array),
    decodeColumn(columns.place, Uint32Array),
    decodeColumn(columns.step, Uint32Array),
  ]);
  const groupOfKind = Uint8Array.from(timeline.kinds, (/** @type {any} */ one) => groupOf.get(one.category) ?? groupOf.size - 1);
  const lanes = timeline.lanes.map((/** @type {any} */ lane) => {
    const end = lane.first + lane.rows;
    summedUp(start, lane.first, end);
    const group = new Uint8Array(lane.rows);
    for (let row = 0; row < lane.rows; row++) group[row] = groupOfKind[kind[lane.first + row]];
    const track = new Track(start.subarray(lane.first, end), dur.subarray(lane.first, end), group, groupOf.size);
    return { label: lane.label, device: lane.device, first: lane.first, rows: lane.rows, track };
  });
  return {
    rows: timeline.rows, kind, place, step, start, dur, lanes,
    gaps: gaps && gaps.cause.rows ? await decodeGaps(gaps, start, dur, causes) : [],
    attention: attention && attention.start.rows ? await decodeAttention(attention) : null,
  };
}

/**
 * Gaps as one track a device: each is what lies between two rows of the timeline.
 * @param {any} gaps @param {Float64Array} start of all rows @param {Float64Array} dur @param {number} causes
 */
async function decodeGaps(gaps, start, dur, causes) {
  const [device, before, after, cause] = await Promise.all([
    decodeColumn(gaps.device, Uint32Array),
    decodeDifferences(gaps.before).then((values) => summedUp(values)),
    decodeDifferences(gaps.after),
    decodeColumn(gaps.cause, Uint8Array),
  ]);
  /** @type {Map<number, number>} */
  const counts = new Map();
  for (const of of device) counts.set(of, (counts.get(of) ?? 0) + 1);
  return [...counts].map(([of, count]) => {
    const one = {
      device: of ? of - 1 : null, before: new Uint32Array(count), after: new Uint32Array(count),
      from: new Float64Array(count), wide: new Float64Array(count), cause: new Uint8Array(count),
    };
    for (let gap = 0, row = 0; gap < device.length; gap++) {
      if (device[gap] !== of) continue;
      const first = before[gap];
      const next = first + after[gap];
      one.before[row] = first;
      one.after[row] = next;
      one.from[row] = start[first] + dur[first];
      one.wide[row] = Math.max(0, start[next] - one.from[row]);
      one.cause[row++] = cause[gap];
    }
    return { device: one.device, before: one.before, after: one.after, track: new Track(one.from, one.wide, one.cause, causes) };
  });
}

/** @param {any} attention */
async function decodeAttention(attention) {
  const [start, dur, queryLength, keyLength, axis, kind] = await Promise.all([
    decodeDifferences(attention.start).then((values) => summedUp(values)),
    decodeColumn(attention.dur, Float64Array),
    decodeColumn(attention.query_length, Float64Array),
    decodeColumn(attention.key_length, Float64Array),
    decodeColumn(attention.axis, Uint8Array),
    decodeColumn(attention.kind, Uint8Array),
  ]);
  const track = new Track(start, dur, new Uint8Array(start.length), 1);
  return { track, queryLength, keyLength, axis, kind };
}
