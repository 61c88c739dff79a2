// Attention: sequence lengths, temporal against spatial, calls.

/** @param {any} data @param {any} run @param {Charts} charts */
function lengthsSection(data, run, charts) {
  const { attention } = run.analysis;
  const ratio = attention.length_ratio;
  const known = attention.sequence_lengths.filter((/** @type {any} */ row) => row.query_length != null);
  if (!known.length) {
    return section("lengths", "Sequence lengths", muted(attention.calls_total || attention.by_axis.some((/** @type {any} */ row) => row.kernels > 0)
      ? "The trace does not tell the sequence lengths of its attention calls; record it with record_shapes=True."
      : "This trace holds no attention call, so there are no sequence lengths."));
  }
  return section(
    "lengths", "Sequence lengths",
    ratio && el("p", null, ratio.ratio > 1
      ? `Within one ${ratio.step == null ? "pass" : "step"} of ${clean(ratio.stage ?? "the run")}, self-attention goes from ${formatCount(ratio.shortest)} to ${formatCount(ratio.longest)} tokens: ${sayTimes(ratio.ratio)} between the extremes, up to ${sayTimes(ratio.neighbour_ratio)} between neighbouring levels.`
      : `Self-attention of ${clean(ratio.stage ?? "the run")} always looks at ${formatCount(ratio.longest)} tokens.`),
    attention.profile.length ? charts.profiles(attention.profile) : muted("There is no self-attention to draw a profile of."),
    table(known, [
      { label: "Queries", ...countColumn((row) => row.query_length) },
      { label: "Keys", ...countColumn((row) => row.key_length) },
      { label: "Axis, kind", value: (row) => axisKind(row), cell: (row) => el("span", { class: "tag" }, axisKind(row)) },
      { label: "Calls", ...countColumn((row) => row.calls), minor: true },
      { label: "Time", ...timeColumn((row) => row.time_ns) },
      { label: "Share", value: (row) => row.time_share, number: true, cell: (row) => barCell(formatShare(row.time_share), row.time_share, attentionColor(data, row.axis)), hint: "Of all attention time" },
    ], { caption: "Distribution over forward calls", sort: 4, page: 12, narrow: true }),
  );
}

/** @param {any} row */
const axisKind = (row) => [row.axis, row.kind].filter(Boolean).join(", ") || MISSING;

/** @param {any} data @param {string | null} axis */
const attentionColor = (data, axis) =>
  data.categories.find((/** @type {any} */ one) => one.category === (axis === "temporal" ? "temporal_attention" : "attention"))?.color;

/** @param {any} data @param {any} run */
function attentionSection(data, run) {
  const { attention } = run.analysis;
  if (!attention.by_axis.some((/** @type {any} */ row) => row.kernels > 0)) {
    return section("attention", "Attention", muted("This trace holds no attention."));
  }
  const shares = (/** @type {any[]} */ rows, /** @type {string} */ key, /** @type {string} */ caption) => table(rows, [
    { label: humanized(key), value: (row) => row[key] ?? "unknown" },
    { label: "Time", ...timeColumn((row) => row.time_ns) },
    { label: "Share", value: (row) => row.time_share, number: true, cell: (row) => barCell(formatShare(row.time_share), row.time_share, attentionColor(data, row.axis)) },
    { label: "Calls", ...countColumn((row) => row.calls) },
    { label: "FLOPs", value: (row) => row.flops, cell: (row) => formatFlops(row.flops), number: true, minor: true },
  ], { caption });
  return section(
    "attention", "Attention",
    temporalAgainstSpatial(attention),
    el("div", { class: "pair" }, shares(attention.by_axis, "axis", "By axis"), shares(attention.by_kind, "kind", "By kind")),
    insideTable(data, attention.inside.by_axis), cacheTable(attention.cache),
    attention.calls.length > 0 && disclosure(callsTitle(attention), () => callsTable(attention)),
  );
}

/** @param {any} attention */
function temporalAgainstSpatial(attention) {
  const ratios = attention.inside.temporal_to_spatial;
  if (!ratios.length) return muted("There is no temporal beside spatial attention in this run, so there is nothing to hold against each other.");
  const parts = [...new Set(ratios.flatMap((/** @type {any} */ row) => Object.keys(row.parts)))];
  return el(
    "div", null, el("h3", null, "Temporal against spatial"),
    el("p", null, `Temporal attention takes ${sayTimes(ratios[0].time)} the time of spatial attention${ratios[0].flops == null ? "" : ` for ${sayTimes(ratios[0].flops)} its FLOPs`}.`),
    table(ratios, [
      { label: "Temporal over spatial", value: (row) => (row.kind == null ? "all kinds" : `${row.kind}-attention`) },
      { label: "Calls", value: (row) => row.calls, cell: (row) => formatTimes(row.calls), number: true },
      { label: "Time", value: (row) => row.time, cell: (row) => formatTimes(row.time), number: true },
      { label: "Time a call", value: (row) => row.time_per_call, cell: (row) => formatTimes(row.time_per_call), number: true },
      { label: "FLOPs", value: (row) => row.flops, cell: (row) => formatTimes(row.flops), number: true },
      ...parts.map((part) => ({ label: `Time in ${part}`, value: (/** @type {any} */ row) => row.parts[part] ?? null, cell: (/** @type {any} */ row) => formatTimes(row.parts[part]), number: true, minor: true })),
    ], { caption: "Temporal attention as a multiple of spatial attention", narrow: true }),
  );
}

const FUSED = 0.99;

/** What the kernels of attention do; left out where fused kernels are all there is.
 * @param {any} data @param {any[]} axes */
function insideTable(data, axes) {
  const rows = axes.flatMap((one) => one.parts.map((/** @type {any} */ part) => ({ axis: one.axis, ...part })));
  const fused = rows.filter((row) => row.part === "fused");
  if (!rows.length || sumOf(fused, "time_ns") >= FUSED * sumOf(rows, "time_ns")) return null;
  return table(rows, [
    { label: "Axis", value: (row) => row.axis ?? "unknown" },
    { label: "Does", value: (row) => row.part },
    { label: "Time", ...timeColumn((row) => row.time_ns) },
    { label: "Share of the axis", value: (row) => row.time_share, number: true, cell: (row) => barCell(formatShare(row.time_share), row.time_share, attentionColor(data, row.axis)) },
    { label: "A call", ...timeColumn((row) => row.time_per_call_ns), minor: true },
  ], { caption: "Inside attention", narrow: true, page: 15 });
}

/** Hit rates that Nsight Compute counted. @param {any} cache */
function cacheTable(cache) {
  if (!cache) return null;
  if (!cache.kernels) return muted(`None of the ${counted(cache.launches, "launch").replace("launchs", "launches")} with hardware counters is a kernel of this attention.`);
  const rows = cache.by_axis.filter((/** @type {any} */ one) => one.kernels > 0).flatMap((/** @type {any} */ one) => [{ ...one, part: "all" }, ...one.parts.map((/** @type {any} */ part) => ({ axis: one.axis, ...part }))]);
  const bytes = (/** @type {string} */ key) => ({ value: (/** @type {any} */ row) => row[key], cell: (/** @type {any} */ row) => formatBytes(row[key]), number: true });
  return table(rows, [
    { label: "Axis", value: (row) => row.axis ?? "unknown" },
    { label: "Does", value: (row) => row.part },
    { label: "L1 hits", ...shareColumn((row) => row.l1_hit_rate) },
    { label: "L2 hits", ...shareColumn((row) => row.l2_hit_rate) },
    { label: "Read", ...bytes("dram_read_bytes"), hint: "From the device's memory" },
    { label: "Written", ...bytes("dram_write_bytes"), minor: true },
    { label: "Kernels", ...countColumn((row) => row.kernels), minor: true },
  ], { caption: "Cache hit rates, as Nsight Compute counted them", narrow: true });
}

/** @param {any} attention */
const callsTitle = (attention) =>
  attention.calls_listed < attention.calls_total
    ? `The ${formatCount(attention.calls_listed)} largest of ${formatCount(attention.calls_total)} attention calls`
    : `All ${counted(attention.calls_total, "attention call")}`;

/** @param {any} row */
const callDetail = (row) => definitions([
  ["Module", fullName(row.module)], ["Phase", row.phase], ["Causal", row.causal == null ? MISSING : row.causal ? "yes" : "no"],
  ["Batch, heads", `${formatCount(row.batch)}, ${formatCount(row.heads)}`], ["Head size", formatCount(row.head_size)],
  ["Type, backend", [row.dtype, row.backend].filter(Boolean).join(", ") || MISSING], ["Time", exactNs(row.time_ns)],
  ["FLOPs", formatFlops(row.flops)], ["Least bytes", formatBytes(row.bytes)],
]);

/** @param {any} attention */
function callsTable(attention) {
  return table(attention.calls, [
    { label: "Module", value: (row) => row.module ?? "", cell: (row) => (row.module == null ? MISSING : nameOf(row.module, 44)) },
    { label: "Stage", value: (row) => `${row.stage ?? ""} ${String(row.step ?? "").padStart(9)}`, cell: (row) => (row.stage == null ? MISSING : el("span", { class: "tag" }, nameOf(row.stage, 24), row.step == null ? "" : `, ${row.step}`)), minor: true },
    { label: "Axis, kind", value: axisKind, cell: (row) => el("span", { class: "tag" }, axisKind(row)) },
    { label: "Queries", ...countColumn((row) => row.query_length) },
    { label: "Keys", ...countColumn((row) => row.key_length) },
    { label: "Heads", ...countColumn((row) => row.heads), minor: true },
    { label: "Head size", ...countColumn((row) => row.head_size), minor: true },
    { label: "Backend", value: (row) => row.backend, minor: true },
    { label: "Time", ...timeColumn((row) => row.time_ns) },
  ], {
    caption: callsTitle(attention), sort: 8, page: 20, placeholder: "Search modules, stages, backends",
    search: (row) => [row.module, row.stage, row.axis, row.kind, row.backend, row.dtype].filter(Boolean).join(" "),
    detail: (row) => [toTimeline("Show in the timeline", (timeline) => timeline.showStart("attention", row.start_ns)), callDetail(row)],
  });
}
