// Charts of ECharts: sequence lengths as steps, the roofline as points. They draw SVG, so they
// print sharply, and each has a text that says what it shows.

class Charts {
  constructor() {
    /** @type {{holder: HTMLElement, option: (theme: any) => any, chart: any}[]} */
    this.made = [];
    this.sizes = new ResizeObserver((entries) => {
      for (const entry of entries) {
        const one = this.made.find((made) => made.holder === entry.target);
        if (one && entry.contentRect.width) this.show(one);
      }
    });
  }

  /**
   * @param {string} name class of the holder @param {string} text what the chart shows
   * @param {(theme: any) => any} option of ECharts
   */
  add(name, text, option) {
    const holder = el("div", { class: `chart ${name}`, role: "img", "aria-label": text });
    this.made.push({ holder, option, chart: null });
    this.sizes.observe(holder);
    return holder;
  }

  /** @param {any} one */
  show(one) {
    if (one.chart) {
      one.chart.resize();
      return;
    }
    one.chart = echarts.init(one.holder, null, { renderer: "svg" });
    one.chart.setOption(one.option(canvasTheme()));
  }

  /** Draw all again in the colours of the theme. */
  repaint() {
    for (const one of this.made) one.chart?.setOption(one.option(canvasTheme()), { notMerge: true });
  }

  clear() {
    for (const one of this.made) {
      this.sizes.unobserve(one.holder);
      one.chart?.dispose();
    }
    this.made = [];
  }

  /** Small multiples of one scale: tokens over the calls or steps of a stage. @param {any[]} profiles */
  profiles(profiles) {
    const known = profiles.flatMap((one) => one.lengths.filter((/** @type {number} */ length) => length > 0));
    const range = { low: Math.min(...known), high: Math.max(...known) };
    const figures = profiles.map((one) => this.profile(one, range));
    return [
      el("div", { class: "profiles" }, figures.filter((one) => one.childElementCount > 1)),
      el("div", { class: "levels" }, figures.filter((one) => one.childElementCount === 1)),
    ];
  }

  /** @param {any} profile @param {{low: number, high: number}} range */
  profile(profile, range) {
    const [low, high] = [Math.min(...profile.lengths), Math.max(...profile.lengths)];
    const name = `${clean(profile.stage ?? "the run")}${profile.axis == null || profile.axis === "sequence" ? "" : `, ${profile.axis}`}`;
    const tokens = low === high ? `${counted(high, "token")}` : `${formatCount(low)} to ${formatCount(high)} tokens`;
    const over = profile.points === "step"
      ? `over ${counted(profile.steps, "step")}`
      : profile.repeats ? `in each of ${counted(profile.steps, "step")}` : `over ${counted(profile.calls, "call")}`;
    const title = el("figcaption", null, el("strong", null, el("bdi", null, middle(name, 60))), ` ${tokens}, ${over}`);
    if (low === high) return el("figure", { class: "level" }, title);
    const text = `Step plot of ${name}: ${tokens}, ${over}: ${middle(profile.lengths.join(", "), 400)}`;
    const chart = this.add("steps", text, (theme) => profileOption(profile, range, theme));
    return el("figure", null, title, chart);
  }

  /** @param {any} data @param {any} run */
  roofline(data, run) {
    const points = run.roofline_points.filter((/** @type {any} */ one) => one.flops > 0 && one.bytes > 0 && one.time_ns > 0);
    const text = `Scatter of ${counted(points.length, "operation")}: FLOPs a byte against FLOP/s, both logarithmic; the table below has the same numbers.`;
    return this.add("roofline", text, (theme) => rooflineOption(data, run, points, theme));
  }
}

/** @param {any} theme */
const tooltip = (theme) => ({
  confine: true, backgroundColor: theme.paper, borderColor: theme.line, padding: [6, 10],
  textStyle: { color: theme.ink, fontSize: 12, fontFamily: theme.font },
});

/** @param {any} theme */
const axisLook = (theme) => ({
  axisLine: { lineStyle: { color: theme.line } }, axisTick: { show: false },
  axisLabel: { color: theme.soft, fontSize: 11, fontFamily: theme.font, hideOverlap: true },
  splitLine: { lineStyle: { color: theme.line, opacity: 0.6 } }, minorSplitLine: { show: false },
  nameTextStyle: { color: theme.soft, fontSize: 11, fontFamily: theme.font },
});

/** @param {any} profile @param {{low: number, high: number}} range @param {any} theme */
function profileOption(profile, range, theme) {
  const unit = profile.points === "step" ? "Step" : "Call";
  return {
    animation: false,
    grid: { left: 8, right: 16, top: 12, bottom: 22, containLabel: true },
    xAxis: { ...axisLook(theme), type: "value", min: 0, max: profile.lengths.length, minInterval: 1, splitLine: { show: false }, name: `${unit}s`, nameLocation: "middle", nameGap: 24, axisLabel: { ...axisLook(theme).axisLabel, showMaxLabel: false } },
    yAxis: {
      ...axisLook(theme), type: "log", logBase: 2, min: 2 ** Math.floor(Math.log2(range.low)), max: 2 ** Math.ceil(Math.log2(range.high)),
      axisLabel: { ...axisLook(theme).axisLabel, formatter: (/** @type {number} */ length) => formatCount(Math.round(length)) },
    },
    tooltip: {
      ...tooltip(theme), trigger: "axis", axisPointer: { lineStyle: { color: theme.soft } },
      formatter: (/** @type {any[]} */ points) => el("span", null, `${unit} ${formatCount(points[0].value[0])}: ${counted(points[0].value[1], "token")}`),
    },
    series: [{
      // The last length is repeated so that its step is as wide as the others.
      type: "line", step: "end", symbol: "none", lineStyle: { width: 1.75, color: theme.accent },
      data: [...profile.lengths, profile.lengths.at(-1)].map((length, at) => [at, length > 0 ? length : null]),
    }],
  };
}

/** The roofs of the types that the points have: the peak of the type, the slope of the memory.
 * @param {any} peaks @param {any[]} points */
function roofsOf(peaks, points) {
  if (!peaks?.bytes_per_s) return [];
  const time = new Map();
  for (const one of points) {
    if (peaks.flops_per_s[one.dtype]) time.set(one.dtype, (time.get(one.dtype) ?? 0) + one.time_ns);
  }
  const dtypes = [...time].sort((one, other) => other[1] - one[1]).slice(0, 3).map(([dtype]) => dtype);
  const byPeak = new Map();
  for (const dtype of dtypes) {
    const peak = peaks.flops_per_s[dtype];
    byPeak.set(peak, [...(byPeak.get(peak) ?? []), dtype]);
  }
  return [...byPeak].map(([peak, names]) => ({ peak, name: names.join(", "), ridge: peak / peaks.bytes_per_s }));
}

/** @param {any} data @param {any} run @param {any[]} points @param {any} theme */
function rooflineOption(data, run, points, theme) {
  const peaks = run.analysis.roofline?.peaks;
  const roofs = roofsOf(peaks, points);
  const xs = points.map((one) => one.flops / one.bytes).concat(roofs.map((one) => one.ridge));
  const ys = points.map((one) => (one.flops / one.time_ns) * 1e9).concat(roofs.map((one) => one.peak));
  const decade = (/** @type {number} */ value, /** @type {1 | 0} */ up) => 10 ** (up ? Math.ceil(Math.log10(value)) : Math.floor(Math.log10(value)));
  const [x0, x1] = [decade(Math.min(...xs), 0), decade(Math.max(...xs), 1)];
  const most = Math.max(...points.map((one) => one.time_ns));
  return {
    animation: false,
    grid: { left: 12, right: 24, top: 28, bottom: 34, containLabel: true },
    tooltip: { ...tooltip(theme), trigger: "item", formatter: (/** @type {any} */ item) => pointTip(data, item.data?.point) },
    xAxis: { ...axisLook(theme), type: "log", min: x0, max: x1, name: "FLOPs a byte", nameLocation: "middle", nameGap: 28, axisLabel: { ...axisLook(theme).axisLabel, formatter: (/** @type {number} */ value) => (value >= 1 ? formatCount(value) : String(value)) } },
    yAxis: { ...axisLook(theme), type: "log", min: decade(Math.min(...ys), 0), max: decade(Math.max(...ys), 1), name: "FLOP/s", nameLocation: "end", axisLabel: { ...axisLook(theme).axisLabel, formatter: (/** @type {number} */ value) => formatRate(value, "FLOP").replace(/\.0+ /, " ") } },
    series: [
      ...roofs.map((roof) => ({
        type: "line", symbol: "none", silent: true, lineStyle: { width: 1.5, color: theme.soft },
        data: [[x0, x0 * peaks.bytes_per_s], [roof.ridge, roof.peak], [x1, roof.peak]],
        endLabel: { show: true, formatter: `${roof.name}, ${formatRate(roof.peak, "FLOP")}`, color: theme.soft, fontFamily: theme.font, align: "right", offset: [-4, -9] },
      })),
      {
        type: "scatter",
        data: points.map((one) => ({
          value: [one.flops / one.bytes, (one.flops / one.time_ns) * 1e9], point: one,
          symbolSize: 6 + 22 * Math.sqrt(one.time_ns / most),
          itemStyle: { color: data.categories.find((/** @type {any} */ of) => of.category === one.category)?.color, opacity: 0.8, borderColor: theme.paper, borderWidth: 1 },
        })),
      },
    ],
  };
}

/** @param {any} data @param {any} point */
function pointTip(data, point) {
  if (!point) return "";
  const category = data.categories.find((/** @type {any} */ one) => one.category === point.category);
  return el(
    "div", { class: "pointtip" }, el("strong", null, middle(clean(point.short ?? point.name), 50)),
    el("span", null, `${category?.label ?? point.category} · ${formatNs(point.time_ns)} in ${counted(point.operations, "operation")}`),
    el("span", null, `${formatIntensity(point.flops / point.bytes)} FLOP/B · ${formatRate((point.flops / point.time_ns) * 1e9, "FLOP")}`),
    point.roofline_share != null && el("span", null, `${formatShare(point.roofline_share)} of its roof`),
  );
}
