// Kernels and modules, and how the numbers were made.

/** @param {any} data @param {any} run */
function kernelsSection(data, run) {
  const { kernels, kernels_total: total, analysis } = run;
  const what = analysis.trace.basis === "cpu" ? "Ops" : "Kernels";
  if (!kernels.length) return section("kernels", what, muted("The trace holds no activity to list."));
  const of = new Map(data.categories.map((/** @type {any} */ one) => [one.category, one]));
  const most = kernels.reduce((/** @type {number} */ best, /** @type {any} */ row) => Math.max(best, row.time_ns), 1);
  const weak = analysis.evidence.filter((/** @type {any} */ row) => row.kernels > 0);
  return section(
    "kernels", what,
    el("p", { class: "muted" }, `Each is listed once for every category and reason that it was given. Decided by ${weak.map((/** @type {any} */ row) => `${row.evidence} (${formatShare(row.time_share)})`).join(", ")}.`),
    table(kernels, [
      { label: "Name", value: (row) => row.short ?? row.name ?? "", cell: (row) => nameOf(row.short ?? row.name, 54) },
      { label: "Category", value: (row) => of.get(row.category)?.label, cell: (row) => tag(of.get(row.category)?.color, of.get(row.category)?.label ?? row.category) },
      { label: "Decided by", value: (row) => row.evidence, cell: (row) => el("span", { class: "tag" }, row.evidence, row.confidence == null ? "" : ` ${row.confidence.toFixed(2)}`), minor: true, hint: "The evidence, with its confidence where it is not direct" },
      { label: "Calls", ...countColumn((row) => row.calls), minor: true },
      { label: "Time", ...timeColumn((row) => row.time_ns) },
      { label: "Share", value: (row) => row.time_share, number: true, cell: (row) => barCell(formatShare(row.time_share), row.time_ns / most, of.get(row.category)?.color) },
    ], {
      caption: total > kernels.length ? `The ${formatCount(kernels.length)} with most time, of ${formatCount(total)}` : `${what} by time`,
      sort: 4, page: 20, placeholder: "Search names and reasons",
      search: (row) => `${row.name ?? ""} ${row.category} ${of.get(row.category)?.label} ${row.evidence} ${row.reason}`,
      detail: (row) => kernelDetail(row, kernels.indexOf(row)),
    }),
  );
}

/** @param {any} row @param {number} kind its position among the kinds of the timeline */
function kernelDetail(row, kind) {
  return [toTimeline("Show the longest in the timeline", (timeline) => timeline.showKind(kind)), definitions([
    ["Full name", fullName(row.name)], ["Decided by", evidenceOf(row)], ["Reason", el("bdi", null, clean(row.reason))],
    ["Calls", formatCount(row.calls)], ["Time", exactNs(row.time_ns)],
    ["A call", `${formatNs(row.min_ns)} to ${formatNs(row.max_ns)}`], ["FLOPs", formatFlops(row.flops)], ["Bytes", formatBytes(row.bytes)],
  ])];
}

/** @param {any} data @param {any} run */
function modulesSection(data, run) {
  const { modules, modules_total: total } = run;
  if (!modules.some((/** @type {any} */ row) => row.module != null)) {
    return section("modules", "Modules", muted("The trace does not tell which module its activities belong to: that takes stacks (with_stack=True) or the collector’s labels."));
  }
  return section(
    "modules", "Modules",
    table(modules, [
      { label: "Module", value: (row) => row.module ?? "", cell: (row) => (row.module == null ? el("span", { class: "soft" }, "no module known") : nameOf(row.module, 90)) },
      { label: "Categories", value: (row) => row.time_ns, cell: (row) => stackedBar(categoryParts(data.categories, row.categories), { whole: row.time_ns || 1, scale: row.time_ns || 1, of: "Categories" }), minor: true },
      { label: "Activities", ...countColumn((row) => row.kernels), minor: true },
      { label: "Time", ...timeColumn((row) => row.time_ns) },
      { label: "Share", ...shareColumn((row) => row.time_share) },
    ], {
      caption: total > modules.length ? `The ${formatCount(modules.length)} with most time, of ${formatCount(total)}` : "Modules by time",
      sort: 3, page: 15, placeholder: "Search modules", search: (row) => row.module ?? "",
      detail: (row) => definitions([
        ["Module", fullName(row.module)],
        ...categoryParts(data.categories, row.categories).filter((part) => part.value > 0)
          .map((part) => /** @type {[any, any]} */ ([tag(part.color, part.label), `${formatNs(part.value)} (${formatShare(shareOf(part.value, row.time_ns))})`])),
      ]),
    }),
  );
}

/** @param {any} data @param {any} run */
function madeSection(data, run) {
  const { left_out: leftOut, trace, evidence } = run.analysis;
  return section(
    "made", "How the numbers were made",
    definitions(run.made.map((/** @type {any} */ one) => [one.label, el("bdi", null, clean(one.text))])),
    evidence.some((/** @type {any} */ row) => row.kernels > 0) && table(evidence.filter((/** @type {any} */ row) => row.kernels > 0), [
      { label: "Evidence", value: (row) => row.evidence },
      { label: "Activities", ...countColumn((row) => row.kernels) },
      { label: "Time", ...timeColumn((row) => row.time_ns) },
      { label: "Share", ...shareColumn((row) => row.time_share) },
    ], { caption: "What decided the categories", narrow: true }),
    leftOut.length
      ? table(leftOut, [
        { label: "Left out", value: (row) => row.what, cell: (row) => el("bdi", null, clean(row.what)) },
        { label: "Events", ...countColumn((row) => row.events) },
        { label: "Time", ...timeColumn((row) => row.time_ns) },
        { label: "Why", value: (row) => row.why, cell: (row) => el("bdi", null, clean(row.why)) },
      ], { caption: "What was left out, and why" })
      : null,
    data.unreadable.length > 0 && table(data.unreadable, [
      { label: "Unreadable input", value: (row) => row.path, cell: (row) => nameOf(row.path, 60) },
      { label: "Error", value: (row) => row.error, cell: (row) => el("bdi", null, clean(row.error)) },
    ], { caption: "Inputs that could not be read" }),
    trace.truncated && muted("The file is cut off: all numbers describe the part that is there."),
    el("p", { class: "muted" }, `Made by tracekit ${data.tracekit}. The block “tracekit-data” of this file holds all of it as JSON (${data.schema}).`),
  );
}
