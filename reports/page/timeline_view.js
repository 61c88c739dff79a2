// The timeline as people use it: layout, zoom, pan, selection.

const RULER = 22;
const MOST_LANES = 16;
const SMALLEST_VIEW = 200;

class Timeline {
  /**
   * @param {any} run of the data block @param {any} decoded its columns
   * @param {{categories: any[], causes: any[]}} names with their colours
   */
  constructor(run, decoded, names) {
    this.data = run.timeline;
    this.decoded = decoded;
    this.names = names;
    this.span = Math.max(1, this.data.span_ns);
    this.view = { from: 0, to: this.span };
    /** @type {number | null} */
    this.highlight = null;
    /** @type {any} */
    this.selected = null;
    this.all = false;
    this.frames = 0;
    this.frameMs = 0;
    this.waiting = false;
    this.height = 0;
    this.hidden = 0;
    /** @type {any[]} */
    this.lines = [];
    this.bands = stageBands(this.data.steps);
    this.busiest = decoded.lanes.reduce((/** @type {any} */ best, /** @type {any} */ lane) =>
      (!best || lane.track.rows > best.track.rows ? lane : best), null);
    this.layOut();
    this.build();
  }

  /** Say where each line of the picture stands; y and height are CSS pixels. */
  layOut() {
    let y = RULER;
    this.lines = [];
    const add = (/** @type {string} */ kind, /** @type {number} */ height, /** @type {any} */ more = {}) => {
      if (more.caption) y += CAPTION;
      this.lines.push({ kind, y, height, ...more });
      y += height + 5;
    };
    if (this.bands.stages.length) add("stages", 22, { bands: this.bands.stages });
    if (this.bands.steps.length) add("steps", 18, { bands: this.bands.steps });
    const ranked = [...this.decoded.lanes].sort((a, b) => b.track.rows - a.track.rows);
    const shown = new Set(this.all ? ranked : ranked.slice(0, MOST_LANES));
    const height = shown.size > 4 ? 30 : shown.size > 1 ? 48 : 72;
    const devices = [...new Set(this.decoded.lanes.map((/** @type {any} */ lane) => lane.device))];
    for (const device of devices) {
      for (const lane of this.decoded.lanes) {
        if (lane.device === device && shown.has(lane)) add("lane", height, { lane, track: lane.track, caption: clean(lane.label) });
      }
      const gaps = this.decoded.gaps.find((/** @type {any} */ one) => one.device === device);
      if (gaps) add("gaps", 14, { track: gaps.track, gaps, caption: gaps.device == null ? "Between ops" : devices.length > 1 ? `GPU ${device} · idle, by cause` : "Idle, by cause" });
    }
    const attention = this.decoded.attention;
    if (attention) {
      const lengths = attention.queryLength.filter((/** @type {number} */ one) => one > 0);
      if (lengths.length) {
        const range = lengths.reduce((/** @type {any} */ r, /** @type {number} */ one) =>
          ({ low: Math.min(r.low, one), high: Math.max(r.high, one) }), { low: Infinity, high: 0 });
        const text = range.low === range.high ? formatCount(range.low) : `${formatCount(range.low)} to ${formatCount(range.high)}`;
        add("attention", 56, { track: attention.track, range, caption: `Attention calls, by query length (${text}, logarithmic)` });
      }
    }
    this.hidden = this.decoded.lanes.length - shown.size;
    this.height = y + 2;
  }

  build() {
    this.canvas = el("canvas", { class: "timeline-canvas", "aria-hidden": "true" });
    this.minimap = el("canvas", { class: "timeline-minimap", "aria-hidden": "true" });
    this.tip = el("div", { class: "tip", hidden: true });
    this.stage = el(
      "div",
      {
        class: "timeline-stage", tabindex: 0, role: "application", "aria-roledescription": "timeline",
        "aria-label": `Timeline of ${formatCount(this.data.rows)} activities over ${formatNs(this.span)}`,
        "aria-describedby": "timeline-help",
      },
      this.canvas, this.tip,
    );
    this.status = el("p", { class: "timeline-status", role: "status" });
    this.details = el("div", { class: "timeline-details", "aria-live": "polite" });
    const button = (/** @type {string} */ name, /** @type {string} */ sign, /** @type {() => void} */ does) =>
      el("button", { type: "button", class: "icon", "aria-label": name, title: name, on: { click: does } }, sign);
    this.tools = el(
      "div", { class: "timeline-tools" },
      button("Zoom in", "+", () => this.zoom(0.5)), button("Zoom out", "−", () => this.zoom(2)),
      button("Show all", "⤢", () => this.fit()),
      button("Previous activity", "‹", () => this.move(-1)), button("Next activity", "›", () => this.move(1)),
      this.status,
    );
    this.more = this.hidden > 0 && el("p", { class: "muted" },
      `${this.hidden} more streams with the fewest activities are not drawn. `,
      el("button", { type: "button", class: "link", on: { click: () => this.showAll() } }, "Draw all"));
    this.element = el("div", { class: "timeline" }, this.tools, this.minimap, this.stage, this.more, hint(), this.details);
    listen(this);
    new ResizeObserver(() => this.redraw()).observe(this.stage);
    this.describe(null);
  }

  showAll() {
    this.all = true;
    if (this.more) this.more.remove();
    this.layOut();
    this.redraw();
  }

  redraw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  draw() {
    const width = this.stage.clientWidth;
    if (!width) return;
    const began = performance.now();
    const theme = canvasTheme();
    const density = window.devicePixelRatio || 1;
    const context = sized(this.canvas, width, this.height, density);
    context.font = `11px ${theme.font}`;
    context.fillStyle = theme.paper;
    context.fillRect(0, 0, width, this.height);
    paintRuler(context, this.view, { width, y: 0, height: RULER, bottom: this.height }, theme);
    for (const line of this.lines) this.drawLine(context, line, { width, density, theme });
    this.drawSelection(context, width, theme);
    this.drawMinimap(density, theme);
    this.status.textContent = `${formatNs(this.view.to - this.view.from)} from ${formatNs(this.view.from)}`;
    this.frames += 1;
    this.frameMs = performance.now() - began;
  }

  /** @param {CanvasRenderingContext2D} context @param {any} line @param {any} frame */
  drawLine(context, line, { width, density, theme }) {
    if (line.caption) {
      context.fillStyle = theme.soft;
      context.textBaseline = "alphabetic";
      context.fillText(line.caption, 0, line.y - 5);
    }
    const css = { y: line.y, width, height: line.height };
    const box = deviceBox(css, density);
    if (line.kind === "stages" || line.kind === "steps") {
      paintBands(context, line.bands, this.view, css, theme);
    } else if (line.kind === "lane") {
      const colors = this.names.categories.map((one) => one.color);
      paintTrack(context, line.track, this.view, box, palettePixels(colors, theme.faint, this.highlight), theme.faint);
      const labelOf = (/** @type {number} */ row) => kindName(this.kindOf(line, row));
      const colorOf = (/** @type {number} */ row) => {
        const group = line.track.group[row];
        return this.highlight == null || this.highlight === group ? colors[group] : theme.faint;
      };
      paintIntervals(context, line.track, this.view, css, { labelOf, colorOf, line: theme.paper });
    } else if (line.kind === "gaps") {
      const colors = this.names.causes.map((one) => one.color);
      paintTrack(context, line.track, this.view, box, palettePixels(colors, theme.faint, null), theme.faint);
    } else {
      paintLengths(context, this.decoded.attention, this.view, box, {
        range: line.range, pixelOfRow: this.attentionPixels(), background: theme.faint, thick: Math.max(2, Math.round(2.5 * density)),
      });
      this.drawLengths(context, line, width, theme);
    }
  }

  /** The longest and the shortest length, at their heights. @param {CanvasRenderingContext2D} context @param {any} line @param {number} width @param {any} theme */
  drawLengths(context, line, width, theme) {
    const { low, high } = line.range;
    context.fillStyle = theme.soft;
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillText(formatCount(high), width - 4, line.y + (low === high ? line.height / 2 - 8 : 10));
    if (low < high) context.fillText(formatCount(low), width - 4, line.y + line.height - 10);
    context.textAlign = "left";
  }

  /** Temporal attention has its own colour in lengths as it has in categories. */
  attentionPixels() {
    const of = (/** @type {string} */ slug) => pixelOf(channels(this.names.categories.find((one) => one.category === slug)?.color ?? "#888888"));
    const [plain, temporal] = [of("attention"), of("temporal_attention")];
    const at = this.data.axes.indexOf("temporal") + 1;
    return (/** @type {number} */ row) => (at && this.decoded.attention.axis[row] === at ? temporal : plain);
  }

  /** @param {CanvasRenderingContext2D} context @param {number} width @param {any} theme */
  drawSelection(context, width, theme) {
    if (!this.selected) return;
    const { line, row } = this.selected;
    const scale = width / (this.view.to - this.view.from);
    const left = (line.track.start[row] - this.view.from) * scale;
    const wide = Math.max(3, line.track.dur[row] * scale);
    context.strokeStyle = theme.ink;
    context.lineWidth = 2;
    context.strokeRect(left - 1, line.y - 1, wide + 2, line.height + 2);
  }

  /** @param {number} density @param {any} theme */
  drawMinimap(density, theme) {
    const width = this.minimap.parentElement?.clientWidth ?? 0;
    const context = sized(this.minimap, width, MINIMAP_HEIGHT, density);
    const whole = { from: 0, to: this.span };
    if (this.busiest) {
      const colors = this.names.categories.map((one) => one.color);
      const box = deviceBox({ y: 0, width, height: MINIMAP_HEIGHT }, density);
      paintTrack(context, this.busiest.track, whole, box, palettePixels(colors, theme.faint, this.highlight), theme.faint);
    }
    const left = (this.view.from / this.span) * width;
    const right = (this.view.to / this.span) * width;
    context.globalAlpha = 0.75;
    context.fillStyle = theme.paper;
    context.fillRect(0, 0, left, MINIMAP_HEIGHT);
    context.fillRect(right, 0, width - right, MINIMAP_HEIGHT);
    context.globalAlpha = 1;
    context.strokeStyle = theme.accent;
    context.lineWidth = 2;
    context.strokeRect(left + 1, 1, Math.max(2, right - left - 2), MINIMAP_HEIGHT - 2);
  }

  /** @param {number} from @param {number} to */
  show(from, to) {
    const width = Math.min(this.span, Math.max(SMALLEST_VIEW, to - from));
    const start = Math.min(Math.max(0, from), this.span - width);
    this.view = { from: start, to: start + width };
    this.redraw();
  }

  fit() {
    this.show(0, this.span);
  }

  /** @param {number} factor of the width of the view @param {number} [around] share of the view that stays */
  zoom(factor, around = 0.5) {
    const { from, to } = this.view;
    const width = Math.min(this.span, Math.max(SMALLEST_VIEW, (to - from) * factor));
    const still = from + (to - from) * around;
    this.show(still - width * around, still + width * (1 - around));
  }

  /** @param {number} share of the view */
  pan(share) {
    const by = (this.view.to - this.view.from) * share;
    this.show(this.view.from + by, this.view.to + by);
  }

  /** @param {any} line of a lane @param {number} row */
  kindOf(line, row) {
    return this.data.kinds[this.decoded.kind[line.lane.first + row]];
  }

  /** The kinds of the activities before and after a gap. @param {any} line of gaps @param {number} row */
  aroundGap(line, row) {
    const kind = (/** @type {number} */ at) => this.data.kinds[this.decoded.kind[at]];
    return { before: kind(line.gaps.before[row]), after: kind(line.gaps.after[row]) };
  }

  /** What stands at a point of the picture, in CSS pixels. @param {number} x @param {number} y */
  at(x, y) {
    const line = this.lines.find((one) => y >= one.y - 2 && y <= one.y + one.height + 2);
    if (!line || !line.track) return null;
    const perPixel = (this.view.to - this.view.from) / this.stage.clientWidth;
    const row = line.track.rowAt(this.view.from + x * perPixel, 2 * perPixel);
    return row < 0 ? null : { line, row };
  }

  /** @param {any} what a line and a row, or null */
  select(what) {
    this.selected = what;
    this.describe(what);
    this.redraw();
  }

  /** Select the next or previous activity on the line of the selected one. @param {number} by */
  move(by) {
    const line = this.selected?.line ?? this.lines.find((one) => one.kind === "lane");
    if (!line) return;
    const row = this.selected ? this.selected.row + by : line.track.rowFrom(this.view.from) + (by < 0 ? -1 : 0);
    this.goTo(line, Math.min(Math.max(0, row), line.track.rows - 1));
  }

  /** Select a row and bring it into view. @param {any} line @param {number} row */
  goTo(line, row) {
    const start = line.track.start[row];
    const end = start + line.track.dur[row];
    if (start < this.view.from || end > this.view.to) {
      const width = Math.max(this.view.to - this.view.from, 2 * (end - start));
      this.show((start + end - width) / 2, (start + end + width) / 2);
    }
    this.select({ line, row });
  }

  /** Go to the longest activity of a kind. @param {number} kind position in kinds */
  showKind(kind) {
    const { decoded } = this;
    let longest = -1;
    for (let row = 0; row < decoded.rows; row++) {
      if (decoded.kind[row] === kind && (longest < 0 || decoded.dur[row] > decoded.dur[longest])) longest = row;
    }
    const holds = (/** @type {any} */ one) => one.lane.first <= longest && longest < one.lane.first + one.lane.rows;
    if (!this.lines.some((one) => one.kind === "lane" && holds(one))) this.showAll();
    const line = this.lines.find((one) => one.kind === "lane" && holds(one));
    if (longest >= 0 && line) this.comeTo(line, longest - line.lane.first);
  }

  /**
   * Go to the gap or the attention call that starts nearest to a time.
   * @param {string} kind of the line @param {number} startNs of the trace @param {number | null} [device]
   */
  showStart(kind, startNs, device = null) {
    const line = this.lines.find((one) => one.kind === kind && (device == null || one.gaps?.device === device));
    if (!line?.track.rows) return;
    const time = Number(BigInt(Math.round(startNs)) - BigInt(this.data.origin_ns));
    const row = line.track.rowFrom(time);
    const far = (/** @type {number} */ at) => (at < 0 || at >= line.track.rows ? Infinity : Math.abs(line.track.start[at] - time));
    this.comeTo(line, far(row) <= far(row - 1) ? row : row - 1);
  }

  /** Go to a row from elsewhere on the page. @param {any} line @param {number} row */
  comeTo(line, row) {
    const wide = Math.max(line.track.dur[row] * 12, 20_000);
    const centre = line.track.start[row] + line.track.dur[row] / 2;
    this.show(centre - wide / 2, centre + wide / 2);
    this.select({ line, row });
    this.stage.focus({ preventScroll: true });
    document.getElementById("timeline")?.scrollIntoView();
  }

  /** Select on the line above or below, near what is selected. @param {number} by */
  changeLine(by) {
    const lines = this.lines.filter((one) => one.track?.rows);
    const at = lines.indexOf(this.selected?.line);
    const line = lines[Math.min(Math.max(0, at + by), lines.length - 1)];
    if (!line) return;
    const time = this.selected ? this.selected.line.track.start[this.selected.row] : this.view.from;
    this.goTo(line, Math.max(0, Math.min(line.track.rows - 1, line.track.rowFrom(time))));
  }

  /** @param {any} what */
  describe(what) {
    this.details.replaceChildren(...(what ? [describeInterval(this, what)] : []));
  }
}

/** @param {HTMLCanvasElement} canvas @param {number} width @param {number} height @param {number} density */
function sized(canvas, width, height, density) {
  canvas.width = Math.max(1, Math.round(width * density));
  canvas.height = Math.max(1, Math.round(height * density));
  canvas.style.height = `${height}px`;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.setTransform(density, 0, 0, density, 0, 0);
  return context;
}

/** @param {{y: number, width: number, height: number}} css @param {number} density */
const deviceBox = (css, density) => ({
  x: 0, y: Math.round(css.y * density), width: Math.max(1, Math.round(css.width * density)), height: Math.max(1, Math.round(css.height * density)),
});

/** Stages and steps as bands; stretches of one stage that touch are one.
 * @param {any[]} steps of the timeline */
function stageBands(steps) {
  const ordered = [...steps].sort((a, b) => a.start_ns - b.start_ns);
  /** @type {any[]} */
  const stages = [];
  for (const one of ordered) {
    const last = stages.at(-1);
    if (last && last.stage === one.stage) last.end = Math.max(last.end, one.end_ns);
    else stages.push({ stage: one.stage, start: one.start_ns, end: one.end_ns, text: clean(one.stage), odd: stages.length % 2 === 1 });
  }
  const numbered = ordered
    .filter((one) => one.step != null)
    .map((one, at) => ({ start: one.start_ns, end: one.end_ns, text: `step ${one.step}`, odd: at % 2 === 1 }));
  return { stages, steps: numbered };
}
