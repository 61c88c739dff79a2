// Idle time: its causes, who is to blame, what could be gained.

/** @param {any} data @param {any} run */
function idleSection(data, run) {
  const { analysis } = run;
  const { idle, corrected, time, trace } = analysis;
  if (trace.basis === "cpu") return section("idle", "Idle time", muted("A CPU-only trace has no GPU activity, so there is no idle time of a GPU to explain."));
  if (!time.span_ns) return section("idle", "Idle time", muted("The trace holds no GPU activity, so there is no time between activities."));
  if (!time.idle_ns && !corrected) return section("idle", "Idle time", muted("The GPU is never idle between first and last activity."));
  const without = corrected?.by_cause != null;
  const rows = [{
    name: "In the trace", of: "Idle time in the trace, by cause", time: time.idle_ns, parts: causeParts(data.causes, idle.by_cause),
  }];
  if (without) {
    rows.unshift({ name: "Without the profiler", of: "Idle time without the profiler, by cause", time: corrected.idle_ns, parts: causeParts(data.causes, corrected.by_cause) });
  }
  const used = data.causes.filter((/** @type {any} */ one) => rows.some((row) => row.parts.some((part) => part.label === one.label && part.value > 0)));
  const blame = without && corrected.blame.length ? corrected.blame : idle.blame;
  const whole = without && corrected.blame.length ? corrected.idle_ns : time.idle_ns;
  return section(
    "idle", "Idle time",
    corrected && el("p", { class: "muted" }, clean(corrected.method)),
    legend(used), barRows(rows, Math.max(...rows.map((row) => row.time))),
    corrected?.stages.length ? stagesWithout(corrected) : null,
    blameTable(data, blame, whole, without ? "without the profiler" : "in the trace"),
    disclosure(idle.gaps_listed < idle.gaps_total ? `The ${formatCount(idle.gaps_listed)} largest of ${formatCount(idle.gaps_total)} gaps` : `All ${counted(idle.gaps_total, "gap")}`, () => gapsTable(data, analysis)),
    devicesTable(analysis.devices), overlapTable(analysis.overlap),
  );
}

/** @param {any[]} devices */
function devicesTable(devices) {
  if (devices.length < 2) return null;
  return table(devices, [
    { label: "GPU", ...countColumn((row) => row.device) },
    { label: "First to last activity", ...timeColumn((row) => row.span_ns) },
    { label: "Busy", ...timeColumn((row) => row.busy_ns) },
    { label: "Idle", ...timeColumn((row) => row.idle_ns) },
    { label: "Idle share", ...shareColumn((row) => shareOf(row.idle_ns, row.span_ns)) },
    { label: "GPU time", ...timeColumn((row) => row.kernel_ns), minor: true },
  ], { caption: "Each GPU", narrow: true, page: 16 });
}

/** @param {any[]} causes @param {any[]} rows @returns {Part[]} */
function causeParts(causes, rows) {
  const times = new Map(rows.map((row) => [row.cause, row.time_ns]));
  return causes.map((one) => ({ label: one.label, color: one.color, value: times.get(one.cause) ?? 0 }));
}

/** @param {any} data @param {string | null} cause */
function causeCell(data, cause) {
  const of = data.causes.find((/** @type {any} */ one) => one.cause === cause);
  return of ? tag(of.color, of.label) : cause ?? MISSING;
}

/** @param {any} corrected */
function stagesWithout(corrected) {
  return table(corrected.stages, [
    { label: "Stage", value: (row) => row.stage, cell: (row) => stageName(row.stage) },
    { label: "Wall time", ...timeColumn((row) => row.wall_ns) },
    { label: "Busy", ...timeColumn((row) => row.busy_ns) },
    { label: "Idle", ...timeColumn((row) => row.idle_ns) },
    { label: "Idle share", value: (row) => shareOf(row.idle_ns, row.wall_ns), cell: (row) => formatShare(shareOf(row.idle_ns, row.wall_ns)), number: true },
    { label: "Slowed by profiling", value: (row) => row.dilation, cell: (row) => formatTimes(row.dilation), number: true, minor: true },
  ], { caption: "Stages without the profiler", narrow: true });
}

/** Who a piece of idle time is blamed on, as the other reports say it. @param {any} row @param {boolean} hasOps */
function culprit(row, hasOps) {
  if (row.is_own && row.python != null) return row.python;
  const parts = [row.annotation || row.op || row.python, row.module].filter((part) => part != null);
  return parts.length ? parts.join(" in ") : hasOps ? "between ops" : "the host";
}

/** @param {any} data @param {any[]} rows @param {number} whole ns @param {string} where */
function blameTable(data, rows, whole, where) {
  if (!rows.length) return muted("Nothing tells what the host did meanwhile, so nobody is to blame.");
  const hasOps = rows.some((row) => row.op != null);
  return table(rows, [
    { label: "Idle during", value: (row) => culprit(row, hasOps), cell: (row) => nameOf(culprit(row, hasOps), 58) },
    { label: "Cause", value: (row) => row.cause, cell: (row) => causeCell(data, row.cause) },
    { label: "Stage", value: (row) => row.stage ?? "", cell: (row) => (row.stage == null ? MISSING : nameOf(row.stage, 28)), minor: true },
    { label: "Idle", ...timeColumn((row) => row.time_ns) },
    { label: "Share", ...shareColumn((row) => shareOf(row.time_ns, whole)) },
    { label: "Gaps", ...countColumn((row) => row.gaps), minor: true },
  ], {
    caption: `Who is to blame for idle time (${where})`, sort: 3, page: 10, placeholder: "Search ops, modules, stages",
    search: (row) => [row.cause, row.stage, row.module, row.op, row.annotation, row.python, row.caller].filter(Boolean).join(" "),
    detail: (row) => definitions(
      [["Annotation", row.annotation], ["Op", row.op], ["Module", row.module], ["Python", row.python], ["Called from", row.caller]]
        .filter(([, text]) => text != null).map(([term, text]) => [term, fullName(text)])),
  });
}

/** @param {any} data @param {any} analysis */
function gapsTable(data, analysis) {
  const begins = new Map(analysis.devices.map((/** @type {any} */ one) => [one.device, one.start_ns]));
  const at = (/** @type {any} */ row) => {
    const start = begins.get(row.device);
    return start == null ? null : row.start_ns - start;
  };
  return table(analysis.idle.gaps, [
    { label: "At", ...timeColumn(at), hint: "Since the first activity of the device" },
    { label: "Idle", ...timeColumn((row) => row.time_ns) },
    { label: "Cause", value: (row) => row.cause, cell: (row) => causeCell(data, row.cause) },
    { label: "Stage", value: (row) => row.stage ?? "", cell: (row) => (row.stage == null ? MISSING : nameOf(row.stage, 24)), minor: true },
    { label: "After", value: (row) => row.before ?? "", cell: (row) => nameOf(row.before, 34), minor: true },
    { label: "Before", value: (row) => row.after ?? "", cell: (row) => nameOf(row.after, 34), minor: true },
  ], {
    caption: "Largest gaps", sort: 1, page: 10,
    detail: (row) => [toTimeline("Show in the timeline", (timeline) => timeline.showStart("gaps", row.start_ns, row.device)), definitions([["After", fullName(row.before)], ["Before", fullName(row.after)], ...Object.entries(row.causes).map(([cause, ns]) => /** @type {[any, any]} */ ([causeCell(data, cause), formatNs(ns)]))])],
  });
}

/** @param {any[]} overlap */
function overlapTable(overlap) {
  const rows = overlap.flatMap((one) => one.work.map((/** @type {any} */ work) => ({ device: one.device, ...work }))).filter((row) => row.busy_ns > 0);
  if (!rows.some((row) => row.exposed_ns < row.busy_ns || row.kind === "communication")) return null;
  return table(rows, [
    { label: "Work", value: (row) => row.kind, cell: (row) => humanized(row.kind) },
    { label: "GPU", ...countColumn((row) => row.device) },
    { label: "Busy", ...timeColumn((row) => row.busy_ns) },
    { label: "Exposed", ...timeColumn((row) => row.exposed_ns), hint: "Nothing else runs on the device meanwhile" },
  ], { caption: "Work that overlaps, and what of it nothing hides", narrow: true });
}

/** @param {any} data @param {any} run */
function adviceSection(data, run) {
  const { advice, what_if: whatIf } = run.analysis;
  if (!advice.length && !whatIf.length) {
    return section("advice", "What to do", muted("No estimate could be made of what a change would give: that takes a run on one GPU with known launches."));
  }
  return section(
    "advice", "What to do",
    advice.length
      ? el("ol", { class: "advice" }, advice.map((/** @type {any} */ one) => el("li", null, el("bdi", null, clean(one.text)), one.speedup != null && el("strong", null, `up to ${sayTimes(one.speedup)}`))))
      : muted("Nothing stands out as worth doing first."),
    whatIf.length > 0 && table(whatIf, [
      { label: "If", value: (row) => row.name, cell: (row) => whatIfName(data, row.name) },
      { label: "Of", value: (row) => row.scope, cell: (row) => nameOf(row.scope, 28) },
      { label: "Takes", ...timeColumn((row) => row.wall_ns) },
      { label: "Speedup", value: (row) => row.speedup, cell: (row) => formatTimes(row.speedup), number: true },
    ], {
      caption: "Bounds on the wall time", sort: 3, page: 8, narrow: true, search: (row) => `${row.name} ${row.scope} ${row.assumption}`, placeholder: "Search changes",
      detail: (row) => el("p", null, `Assumes that ${clean(row.assumption)}.`),
    }),
  );
}

/** @param {any} data @param {string} name of a what-if */
function whatIfName(data, name) {
  const match = /^(.*)_(\d+)x_faster$/.exec(name);
  if (!match) return humanized(name);
  const category = data.categories.find((/** @type {any} */ one) => one.category === match[1]);
  return `${category?.label ?? humanized(match[1])} ${match[2]}× faster`;
}
