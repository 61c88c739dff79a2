// The answer, and where the time goes by category and stage.

/** What the time of kernels or ops is called. @param {any} analysis */
const timeName = (analysis) => (analysis.trace.basis === "cpu" ? "Self time" : "GPU time");

/** @param {any} data @param {any} run */
function answerSection(data, run) {
  const { analysis } = run;
  const { time, corrected, trace } = analysis;
  const cpu = trace.basis === "cpu";
  /** @type {[string, string, string][]} */
  const figures = [
    [timeName(analysis), formatNs(time.kernel_ns), cpu ? "summed over ops" : `${formatCount(sumOf(analysis.categories, "kernels"))} activities, summed`],
  ];
  if (corrected) {
    const range = corrected.low_ns === corrected.high_ns ? "" : `, ${formatNs(corrected.low_ns)} to ${formatNs(corrected.high_ns)}`;
    figures.push(["Wall time", formatNs(corrected.wall_ns), `without the profiler, ${corrected.source}${range}`]);
    figures.push(["Idle", formatShare(corrected.idle_share), `${formatNs(corrected.idle_ns)} without the profiler`]);
  }
  if (!cpu) {
    figures.push(["Trace", formatNs(time.span_ns), `first to last activity${analysis.devices.length > 1 ? `, over ${analysis.devices.length} GPUs` : ""}`]);
    if (!corrected) figures.push(["Idle", formatShare(shareOf(time.idle_ns, time.span_ns)), `${formatNs(time.idle_ns)} of the trace`]);
  }
  return section(
    "answer", "The answer",
    el("div", { class: "lead" }, run.sentences.map((/** @type {string} */ text) => el("p", null, el("bdi", null, clean(text))))),
    time.kernel_ns > 0 && el("dl", { class: "figures" }, figures.map(([name, value, note]) =>
      el("div", null, el("dt", null, name), el("dd", null, el("strong", null, value), el("span", null, note))))),
  );
}

/** @param {any[]} rows @param {string} key */
const sumOf = (rows, key) => rows.reduce((sum, row) => sum + (row[key] ?? 0), 0);

/** Times by category slug. @param {any} analysis @returns {Record<string, number>} */
const timesOf = (analysis) => Object.fromEntries(analysis.categories.map((/** @type {any} */ row) => [row.category, row.time_ns]));

/** @param {any} stage */
const stageName = (stage) => (stage == null ? el("span", { class: "soft" }, "outside of stages") : nameOf(stage, 40));

/** @param {any} data @param {any} run */
function categoriesSection(data, run) {
  const { analysis } = run;
  const whole = analysis.time.kernel_ns;
  if (!whole) return section("categories", "Where the time goes", muted("No activity of this trace takes time, so there is nothing to sort into categories."));
  const row = (/** @type {any} */ name, /** @type {string} */ of, /** @type {any} */ times, /** @type {number} */ time) =>
    ({ name, of, time, parts: categoryParts(data.categories, times) });
  const rows = [row("Whole run", "Whole run", timesOf(analysis), whole)];
  if (analysis.stages.length > 1 || analysis.stages[0]?.stage != null) {
    for (const one of analysis.stages) rows.push(row(stageName(one.stage), clean(one.stage ?? "outside of stages"), one.categories, one.time_ns));
  }
  const bars = el("div", null, barRows(rows, null));
  const scale = choice("Width of the bars", ["Shares", "Time"], (at) => bars.replaceChildren(barRows(rows, at ? whole : null)));
  const present = data.categories.filter((/** @type {any} */ one) => timesOf(analysis)[one.category] > 0);
  return section(
    "categories", "Where the time goes",
    el("div", { class: "above" }, legend(present), rows.length > 1 && scale),
    bars,
    categoryTable(data, analysis),
  );
}

/** @param {any} data @param {any} analysis */
function categoryTable(data, analysis) {
  const of = new Map(data.categories.map((/** @type {any} */ one) => [one.category, one]));
  const most = Math.max(...analysis.categories.map((/** @type {any} */ row) => row.time_share ?? 0));
  return table(analysis.categories.filter((/** @type {any} */ row) => row.kernels > 0), [
    { label: "Category", value: (row) => of.get(row.category).label, cell: (row) => tag(of.get(row.category).color, of.get(row.category).label) },
    { label: "Time", ...timeColumn((row) => row.time_ns) },
    { label: "Share", value: (row) => row.time_share, number: true, cell: (row) => barCell(formatShare(row.time_share), row.time_share / most, of.get(row.category).color) },
    { label: analysis.trace.basis === "cpu" ? "Ops" : "Activities", ...countColumn((row) => row.kernels), minor: true },
  ], { caption: "Time by category", sort: 1, narrow: true });
}

/** @param {any} data @param {any} run */
function stagesSection(data, run) {
  const { stages, attention, roofline } = run.analysis;
  const named = stages.filter((/** @type {any} */ one) => one.stage != null);
  if (!named.length) return section("stages", "Stages", muted("This trace has no stages: nothing marks any, and none were found."));
  const likeness = new Map(attention.likeness.map((/** @type {any} */ one) => [one.stage, one]));
  const intensity = new Map((roofline?.by_stage ?? []).map((/** @type {any} */ one) => [one.stage, one]));
  const source = SOURCES[named[0].source] ?? "";
  return section(
    "stages", "Stages", source && el("p", { class: "muted" }, source),
    table(stages, [
      { label: "Stage", value: (row) => row.stage ?? "", cell: (row) => stageName(row.stage) },
      { label: "Steps", value: (row) => row.traced_steps ?? row.steps, cell: stepsOf, number: true, hint: "Steps in the trace, of how many the run has" },
      { label: timeName(run.analysis), ...timeColumn((row) => row.time_ns) },
      { label: "Lasts", ...timeColumn((row) => row.span_ns), minor: true },
      { label: "Busy", ...shareColumn((row) => row.busy_share), hint: "Share of the time it lasts in which the device works" },
      { label: "FLOP/B", value: (row) => intensity.get(row.stage)?.intensity ?? null, cell: (row) => formatIntensity(intensity.get(row.stage)?.intensity), number: true, minor: true },
      { label: "Like an LLM’s", value: (row) => likeness.get(row.stage)?.like ?? null, hint: "Prefill: many queries at once, bound by arithmetic. Decode: few queries, bound by memory." },
      { label: "Activities", ...countColumn((row) => row.kernels), minor: true },
    ], { caption: "Stages of the run", detail: (row) => stageDetail(data, row, likeness.get(row.stage)) }),
    outliers(stages),
  );
}

/** @type {Record<string, string>} */
const SOURCES = {
  label: "Marked by the collector.",
  annotation: "From the annotations in the trace.",
  module: "Nothing marks these stages; they are the models that the run calls.",
  sequence: "Nothing marks these stages; they were found in the sequence of the work.",
};

/** @param {any} row */
function stepsOf(row) {
  if (row.steps == null && row.traced_steps == null) return MISSING;
  if (row.steps == null || row.traced_steps == null || row.steps === row.traced_steps) return formatCount(row.traced_steps ?? row.steps);
  return `${formatCount(row.traced_steps)} of ${formatCount(row.steps)}`;
}

/** @param {any} data @param {any} row @param {any} like */
function stageDetail(data, row, like) {
  const steps = row.per_step.length > 0 && table(row.per_step, [
    { label: "Step", ...countColumn((one) => one.step) },
    { label: "GPU time", ...timeColumn((one) => one.time_ns) },
    { label: "Lasts", ...timeColumn((one) => one.span_ns) },
    { label: "Busy", ...shareColumn((one) => one.busy_share) },
    { label: "Activities", ...countColumn((one) => one.kernels), minor: true },
    { label: "Categories", value: (one) => one.time_ns, cell: (one) => stackedBar(categoryParts(data.categories, one.categories), { whole: one.time_ns || 1, scale: one.time_ns || 1, of: `Step ${one.step}` }) },
  ], { caption: `Steps of ${clean(row.stage)}`, page: 12 });
  return [like && el("p", null, `Attention in the middle of the stage: ${like.evidence}.`), steps || muted("The stage has no steps.")];
}

/** @param {any[]} stages */
function outliers(stages) {
  const far = stages.flatMap((row) => row.outlier_steps.map((/** @type {any} */ one) => ({ ...one, stage: row.stage })));
  if (!far.length) return null;
  return table(far, [
    { label: "Stage", value: (row) => row.stage ?? "", cell: (row) => stageName(row.stage) },
    { label: "Step", ...countColumn((row) => row.step) },
    { label: "What", value: (row) => (row.measure === "span" ? "length" : "GPU time") },
    { label: "Took", ...timeColumn((row) => row.value_ns) },
    { label: "Median of its stage", ...timeColumn((row) => row.median_ns) },
  ], { caption: "Steps that stand out", sort: 3, page: 10, narrow: true });
}
