// Several runs or ranks side by side, all on one scale.

const MOST_COLUMNS = 3;

/** @param {any} data */
function compareSection(data) {
  const { runs } = data;
  const times = runs.map((/** @type {any} */ run) => run.analysis.time);
  const bars = (/** @type {number} */ scale, /** @type {(run: any) => any} */ rowOf) => barRows(runs.map((/** @type {any} */ run) => ({ name: nameOf(run.label, 36), ...rowOf(run) })), scale);
  const most = Math.max(1, ...times.map((/** @type {any} */ time) => Math.max(time.kernel_ns, time.idle_ns)));
  const present = data.categories.filter((/** @type {any} */ one) => runs.some((/** @type {any} */ run) => timesOf(run.analysis)[one.category] > 0));
  const idle = times.some((/** @type {any} */ time) => time.idle_ns > 0);
  return section(
    "compare", "Side by side",
    el("h3", null, `${timeName(runs[0].analysis)} by category`), legend(present),
    bars(most, (run) => ({ of: `GPU time of ${clean(run.label)}`, time: run.analysis.time.kernel_ns, parts: categoryParts(data.categories, timesOf(run.analysis)) })),
    idle && [
      el("h3", null, "Idle time in the trace, by cause, on the same scale"),
      legend(data.causes.filter((/** @type {any} */ one) => runs.some((/** @type {any} */ run) => run.analysis.idle.by_cause.some((/** @type {any} */ row) => row.cause === one.cause && row.time_ns > 0)))),
      bars(most, (run) => ({ of: `Idle time of ${clean(run.label)}`, time: run.analysis.time.idle_ns, parts: causeParts(data.causes, run.analysis.idle.by_cause) })),
    ],
    runs.length <= MOST_COLUMNS ? differencesTable(data) : runsTable(data),
  );
}

/** What runs are compared by: a name and the ns of a run, null where it has none. @param {any} data */
function measures(data) {
  /** @type {{name: any, key: string, of: (run: any) => number | null}[]} */
  const rows = [
    { key: "kernel", name: timeName(data.runs[0].analysis), of: (run) => run.analysis.time.kernel_ns },
    { key: "busy", name: "Busy", of: (run) => run.analysis.time.busy_ns },
    { key: "idle", name: "Idle in the trace", of: (run) => run.analysis.time.idle_ns },
    { key: "span", name: "First to last activity", of: (run) => run.analysis.time.span_ns },
    { key: "wall", name: "Wall time without the profiler", of: (run) => run.analysis.corrected?.wall_ns ?? null },
    { key: "idle-without", name: "Idle without the profiler", of: (run) => run.analysis.corrected?.idle_ns ?? null },
  ];
  for (const one of data.categories) {
    rows.push({ key: one.category, name: tag(one.color, one.label), of: (run) => timesOf(run.analysis)[one.category] || null });
  }
  const stages = new Set(data.runs.flatMap((/** @type {any} */ run) => run.analysis.stages.map((/** @type {any} */ one) => one.stage)));
  for (const stage of stages) {
    if (stage == null) continue;
    rows.push({
      key: `stage ${stage}`, name: ["Stage ", nameOf(stage, 40)],
      of: (run) => run.analysis.stages.find((/** @type {any} */ one) => one.stage === stage)?.time_ns ?? null,
    });
  }
  return rows.filter((row) => data.runs.some((/** @type {any} */ run) => row.of(run) != null));
}

/** A column for each run and one for its difference from the first. @param {any} data */
function differencesTable(data) {
  const [first, ...others] = data.runs;
  /** @type {Column[]} */
  const columns = [
    { label: "Time", value: (row) => row.key, cell: (row) => row.name },
    { label: middle(clean(first.label), 28), ...timeColumn((row) => row.of(first)) },
  ];
  for (const run of others) {
    const delta = (/** @type {any} */ row) => (row.of(run) == null || row.of(first) == null ? null : row.of(run) - row.of(first));
    const ratio = (/** @type {any} */ row) => (delta(row) == null ? null : shareOf(row.of(run) ?? 0, row.of(first) ?? 0));
    columns.push(
      { label: middle(clean(run.label), 28), ...timeColumn((row) => row.of(run)) },
      { label: "Difference", value: delta, cell: (row) => formatDelta(delta(row)), number: true },
      { label: "Times the first", value: ratio, cell: (row) => formatTimes(ratio(row)), number: true, minor: true },
    );
  }
  return table(measures(data), columns, { caption: `Differences from ${clean(first.label)}`, page: 40 });
}

/** A row for each run; too many to stand beside each other. @param {any} data */
function runsTable(data) {
  const [first] = data.runs;
  const kernel = (/** @type {any} */ run) => run.analysis.time.kernel_ns;
  const present = measures(data).filter((row) => !row.key.startsWith("stage "));
  return table(data.runs, [
    { label: "Run", value: (run) => run.label, cell: (run) => nameOf(run.label, 30) },
    { label: "Difference in GPU time", value: (run) => kernel(run) - kernel(first), cell: (run) => formatDelta(kernel(run) - kernel(first)), number: true, hint: `From ${clean(first.label)}` },
    ...present.map((row) => ({ label: labelOfMeasure(data, row), ...timeColumn((run) => row.of(run)) })),
  ], { caption: `${counted(data.runs.length, "run")}, differences from ${clean(first.label)}`, page: 24 });
}

/** @param {any} data @param {any} row */
const labelOfMeasure = (data, row) =>
  data.categories.find((/** @type {any} */ one) => one.category === row.key)?.label ?? row.name;
