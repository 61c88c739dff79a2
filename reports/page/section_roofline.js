// How close to the limits of its device the work came.

/** @param {any} data @param {any} run @param {Charts} charts */
function rooflineSection(data, run, charts) {
  const { roofline } = run.analysis;
  const points = run.roofline_points;
  if (!roofline || !points.length) {
    return section("roofline", "Roofline", muted("Nothing tells FLOPs and bytes of this trace’s operations: they come from shapes (record_shapes=True)."));
  }
  const drawn = points.filter((/** @type {any} */ one) => one.flops > 0 && one.bytes > 0 && one.time_ns > 0);
  const rest = points.length - drawn.length;
  const present = data.categories.filter((/** @type {any} */ one) => drawn.some((/** @type {any} */ point) => point.category === one.category));
  return section(
    "roofline", "Roofline",
    el("p", null, deviceSentence(roofline)),
    drawn.length ? [legend(present), charts.roofline(data, run)] : muted("None of the operations multiplies matrices, so none has FLOPs to plot."),
    drawn.length > 0 && rest > 0 && muted(`A point is a group of equal operations, as large as its time. ${counted(rest, "group")} without products (norms, elementwise work, copies) ${rest === 1 ? "has" : "have"} no FLOPs and only the memory as a limit.`),
    roofline.above_roof.length > 0 && muted(aboveSentence(roofline)),
    achievedTable(roofline, roofline.by_category, "category", "Achieved by category", data),
    roofline.by_stage.length > 0 && achievedTable(roofline, roofline.by_stage, "stage", "Achieved by stage", data),
    disclosure("All points as a table", () => pointsTable(data, points, run.roofline_points_total)),
  );
}

/** @param {any} roofline */
function deviceSentence(roofline) {
  const { device, peaks, total } = roofline;
  const covered = total.time_ns ? `${formatShare(total.covered_ns / total.time_ns)} of the GPU time has known costs.` : "";
  if (!device || !peaks.bytes_per_s) return `The peaks of the device are unknown, so only intensities are shown, without roofs. ${covered}`;
  const reached = total.roofline_share == null ? "" : ` Together, operations reach ${formatShare(total.roofline_share)} of their roofs.`;
  return `Peaks of ${clean(device)}: ${formatRate(peaks.bytes_per_s, "B")} of memory, from ${clean(peaks.source ?? "an unknown source")}.${reached} ${covered}`;
}

/** @param {any} roofline */
function aboveSentence({ above_roof: above, total }) {
  const count = sumOf(above, "operations");
  const why = above.map((/** @type {any} */ one) => clean(one.why)).join(", ");
  return `${formatCount(count)} of ${counted(total.operations, "operation")} ${count === 1 ? "is" : "are"} above the roof (${why}).`;
}

/** @param {any} roofline @param {any} row @returns {string | null} what bounds it, by the arithmetic of most of its work */
function boundOf(roofline, row) {
  const { peaks } = roofline;
  if (!row.bytes || !peaks.bytes_per_s) return null;
  if (!row.flops) return "memory";
  // The time at the peak of the types in use, from the FLOPs' share of it, against that of the memory.
  if (row.flops_share == null) return null;
  return row.flops_share * row.covered_ns > (row.bytes / peaks.bytes_per_s) * 1e9 ? "arithmetic" : "memory";
}

/** @param {any} roofline @param {any[]} rows @param {string} key @param {string} caption @param {any} data */
function achievedTable(roofline, rows, key, caption, data) {
  const of = new Map(data.categories.map((/** @type {any} */ one) => [one.category, one]));
  const name = (/** @type {any} */ row) => (key === "category" ? tag(of.get(row.category)?.color, of.get(row.category)?.label ?? row.category) : stageName(row.stage));
  return table(rows, [
    { label: humanized(key), value: (row) => row[key] ?? "", cell: name },
    { label: "FLOP/s", value: (row) => row.flops_per_s, cell: (row) => formatRate(row.flops_per_s, "FLOP"), number: true },
    { label: "Bytes/s", value: (row) => row.bytes_per_s, cell: (row) => formatRate(row.bytes_per_s, "B"), number: true, minor: true },
    { label: "FLOP/B", value: (row) => row.intensity, cell: (row) => formatIntensity(row.intensity), number: true, minor: true },
    { label: "Bound by", value: (row) => boundOf(roofline, row) },
    { label: "Of peak", ...shareColumn((row) => row.flops_share), hint: "FLOPs at the peak of their types", minor: true },
    { label: "Of roof", ...shareColumn((row) => row.roofline_share), hint: "Of the time that the operations take at their roofs" },
  ], { caption });
}

/** @param {any} data @param {any[]} points @param {number} total */
function pointsTable(data, points, total) {
  const of = new Map(data.categories.map((/** @type {any} */ one) => [one.category, one]));
  return table(points, [
    { label: "Operation", value: (row) => row.name ?? "", cell: (row) => nameOf(row.short ?? row.name, 44) },
    { label: "Category", value: (row) => of.get(row.category)?.label ?? row.category, cell: (row) => tag(of.get(row.category)?.color, of.get(row.category)?.label ?? row.category) },
    { label: "Operations", ...countColumn((row) => row.operations), minor: true },
    { label: "Time", ...timeColumn((row) => row.time_ns) },
    { label: "FLOPs", value: (row) => row.flops, cell: (row) => formatFlops(row.flops), number: true, minor: true },
    { label: "Bytes", value: (row) => row.bytes, cell: (row) => formatBytes(row.bytes), number: true, minor: true },
    { label: "FLOP/B", value: (row) => (row.flops && row.bytes ? row.flops / row.bytes : null), cell: (row) => formatIntensity(row.flops && row.bytes ? row.flops / row.bytes : null), number: true },
    { label: "Of roof", ...shareColumn((row) => row.roofline_share) },
  ], {
    caption: total > points.length ? `The ${formatCount(points.length)} groups of operations with most time, of ${formatCount(total)}` : "Groups of equal operations",
    sort: 3, page: 15, search: (row) => `${row.name} ${row.category} ${row.dtype ?? ""}`, placeholder: "Search operations",
  });
}
