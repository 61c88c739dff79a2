// Pointers, wheel and keys of the timeline, and what it says of an interval.

/** @param {any} kind of the timeline */
const kindName = (kind) => clean(kind.short ?? kind.name);

/** @param {Timeline} timeline */
function listen(timeline) {
  const { stage } = timeline;
  /** @type {Map<number, {x: number, y: number}>} */
  const down = new Map();
  let moved = 0;
  const place = (/** @type {PointerEvent | MouseEvent} */ event) => {
    const box = stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top, width: box.width };
  };
  stage.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
    if (event.button !== 0) return;
    stage.setPointerCapture(event.pointerId);
    down.set(event.pointerId, place(event));
    moved = 0;
  });
  stage.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
    const now = place(event);
    const before = down.get(event.pointerId);
    if (!before) return hover(timeline, now);
    const spread = pinch(down);
    down.set(event.pointerId, now);
    moved += Math.abs(now.x - before.x) + Math.abs(now.y - before.y);
    if (spread) {
      const after = pinch(down);
      if (after) timeline.zoom(spread.distance / Math.max(1, after.distance), after.middle / now.width);
    } else {
      timeline.pan((before.x - now.x) / now.width);
    }
    timeline.tip.hidden = true;
  });
  const up = (/** @type {PointerEvent} */ event) => {
    if (!down.delete(event.pointerId) || event.type === "pointercancel") return;
    const at = place(event);
    if (moved < 6 && !down.size) timeline.select(timeline.at(at.x, at.y));
  };
  stage.addEventListener("pointerup", up);
  stage.addEventListener("pointercancel", up);
  stage.addEventListener("pointerleave", () => (timeline.tip.hidden = true));
  stage.addEventListener("dblclick", (/** @type {MouseEvent} */ event) => {
    const at = place(event);
    timeline.zoom(0.25, at.x / at.width);
  });
  stage.addEventListener("wheel", (/** @type {WheelEvent} */ event) => wheel(timeline, event, place(event)), { passive: false });
  stage.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const does = KEYS[event.key];
    if (!does || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    does(timeline, event.shiftKey ? 4 : 1);
  });
  listenToMinimap(timeline);
}

/** @type {Record<string, (timeline: Timeline, times: number) => void>} */
const KEYS = {
  ArrowLeft: (timeline, times) => timeline.pan(-0.1 * times),
  ArrowRight: (timeline, times) => timeline.pan(0.1 * times),
  ArrowUp: (timeline) => timeline.changeLine(-1),
  ArrowDown: (timeline) => timeline.changeLine(1),
  "+": (timeline) => timeline.zoom(0.5),
  "=": (timeline) => timeline.zoom(0.5),
  "-": (timeline) => timeline.zoom(2),
  _: (timeline) => timeline.zoom(2),
  0: (timeline) => timeline.fit(),
  Home: (timeline) => timeline.show(0, timeline.view.to - timeline.view.from),
  End: (timeline) => timeline.show(timeline.span - (timeline.view.to - timeline.view.from), timeline.span),
  ".": (timeline) => timeline.move(1),
  ",": (timeline) => timeline.move(-1),
  Escape: (timeline) => timeline.select(null),
};

/** The wheel scrolls the page until the timeline has the focus, so that nobody is caught in it.
 * @param {Timeline} timeline @param {WheelEvent} event @param {{x: number, width: number}} at */
function wheel(timeline, event, at) {
  const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
  if (!sideways && !event.ctrlKey && !event.metaKey && document.activeElement !== timeline.stage) return;
  event.preventDefault();
  const pixels = event.deltaMode === 1 ? 16 : 1;
  if (sideways) timeline.pan(((event.deltaX || event.deltaY) * pixels) / at.width);
  else timeline.zoom(Math.exp(event.deltaY * pixels * (event.ctrlKey ? 0.01 : 0.002)), at.x / at.width);
}

/** @param {Map<number, {x: number, y: number}>} down pointers */
function pinch(down) {
  if (down.size !== 2) return null;
  const [one, other] = [...down.values()];
  return { distance: Math.hypot(one.x - other.x, one.y - other.y), middle: (one.x + other.x) / 2 };
}

/** @param {Timeline} timeline */
function listenToMinimap(timeline) {
  const { minimap } = timeline;
  let held = false;
  const centre = (/** @type {PointerEvent} */ event) => {
    const box = minimap.getBoundingClientRect();
    const time = ((event.clientX - box.left) / box.width) * timeline.span;
    const half = (timeline.view.to - timeline.view.from) / 2;
    // From the whole, a press on the overview goes to a tenth of it.
    const wide = half * 2 >= timeline.span ? timeline.span / 20 : half;
    timeline.show(time - wide, time + wide);
  };
  minimap.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
    held = true;
    minimap.setPointerCapture(event.pointerId);
    centre(event);
  });
  minimap.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => held && centre(event));
  for (const end of ["pointerup", "pointercancel"]) minimap.addEventListener(end, () => (held = false));
}

/** @param {Timeline} timeline @param {{x: number, y: number, width: number}} at */
function hover(timeline, at) {
  const what = timeline.at(at.x, at.y);
  timeline.tip.hidden = !what;
  if (!what) return;
  timeline.tip.replaceChildren(...tipOf(timeline, what));
  const width = timeline.tip.offsetWidth;
  timeline.tip.style.left = `${Math.max(0, Math.min(at.x + 12, at.width - width))}px`;
  timeline.tip.style.top = `${at.y + 16}px`;
}

/** @param {Timeline} timeline @param {{line: any, row: number}} what @returns {Node[]} */
function tipOf(timeline, { line, row }) {
  const dur = formatNs(line.track.dur[row]);
  if (line.kind === "gaps") {
    const cause = timeline.names.causes[line.track.group[row]];
    return [el("strong", null, `Idle for ${dur}`), el("span", null, swatch(cause.color), cause.label)];
  }
  if (line.kind === "attention") {
    return [el("strong", null, lengthsOf(timeline, row)), el("span", null, [attentionOf(timeline, row), dur].filter(Boolean).join(" · "))];
  }
  const kind = timeline.kindOf(line, row);
  const category = timeline.names.categories[line.track.group[row]];
  return [
    el("strong", null, nameOf(kind.short ?? kind.name, 56)),
    el("span", null, swatch(category.color), `${category.label} · ${dur}`),
    el("span", { class: "soft" }, placeOf(timeline, line, row) || "in no stage"),
  ];
}

/** @param {Timeline} timeline @param {any} line @param {number} row */
function placeOf(timeline, line, row) {
  const step = timeline.data.steps[timeline.decoded.step[line.lane.first + row] - 1];
  return step ? `${clean(step.stage)}${step.step == null ? "" : `, step ${step.step}`}` : "";
}

/** @param {Timeline} timeline @param {number} row */
function lengthsOf(timeline, row) {
  const { queryLength, keyLength } = timeline.decoded.attention;
  return queryLength[row] ? `${formatCount(queryLength[row])} queries × ${formatCount(keyLength[row])} keys` : "Lengths unknown";
}

/** @param {Timeline} timeline @param {number} row */
function attentionOf(timeline, row) {
  const { axis, kind } = timeline.decoded.attention;
  return [timeline.data.axes[axis[row] - 1], timeline.data.attention_kinds[kind[row] - 1]].filter(Boolean).join(", ");
}

/** @param {Timeline} timeline @param {{line: any, row: number}} what */
function describeInterval(timeline, { line, row }) {
  /** @type {[any, any][]} */
  const when = [["Starts at", exactNs(line.track.start[row])], ["Lasts", exactNs(line.track.dur[row])]];
  if (line.kind === "gaps") {
    const cause = timeline.names.causes[line.track.group[row]];
    const { before, after } = timeline.aroundGap(line, row);
    return el("div", null, el("h3", null, "Idle"), definitions([
      ["Mostly", tag(cause.color, cause.label)], ...when,
      ["After", nameOf(before.short ?? before.name, 100)], ["Before", nameOf(after.short ?? after.name, 100)],
    ]));
  }
  if (line.kind === "attention") {
    return el("div", null, el("h3", null, "Attention call"),
      definitions([["Lengths", lengthsOf(timeline, row)], ["Axis, kind", attentionOf(timeline, row) || MISSING], ...when]));
  }
  const kind = timeline.kindOf(line, row);
  const category = timeline.names.categories[line.track.group[row]];
  const place = timeline.data.places[timeline.decoded.place[line.lane.first + row]] ?? {};
  return el(
    "div", null,
    el("h3", null, nameOf(kind.short ?? kind.name, 100)),
    definitions([
      ["Category", tag(category.color, category.label)],
      ["Decided by", evidenceOf(kind)],
      ["Reason", kind.reason ? el("bdi", null, clean(kind.reason)) : MISSING],
      ...when,
      ["Stage", placeOf(timeline, line, row) || MISSING],
      ["Module", place.module == null ? MISSING : nameOf(place.module, 120)],
      ["Op", place.op == null ? MISSING : nameOf(place.op, 120)],
      ["On", clean(line.lane.label)],
      ["Full name", fullName(kind.name)],
    ]),
  );
}

/** @param {{evidence: string, confidence: number | null}} row */
const evidenceOf = (row) => (row.confidence == null ? row.evidence : `${row.evidence}, confidence ${row.confidence.toFixed(2)}`);

function hint() {
  const keys = el(
    "span", { class: "keys" }, " ", el("kbd", null, "Ctrl"), " + wheel zooms (after a click the wheel alone). Keys: ",
    el("kbd", null, "←"), " ", el("kbd", null, "→"), " pan, ", el("kbd", null, "+"), " ", el("kbd", null, "−"), " zoom, ", el("kbd", null, "0"), " all, ",
    el("kbd", null, ","), " ", el("kbd", null, "."), " previous and next activity, ", el("kbd", null, "↑"), " ", el("kbd", null, "↓"), " other lines.",
  );
  return el("p", { class: "muted timeline-help", id: "timeline-help" }, "Drag to pan, pinch or double-click to zoom, click an activity for its details.", keys);
}
