// Puts the page together: reads the data block, draws the sections of a run, switches theme and run.

const SECTIONS = [
  ["compare", "Side by side"], ["answer", "The answer"], ["categories", "Categories"], ["timeline", "Timeline"], ["stages", "Stages"],
  ["lengths", "Sequence lengths"], ["attention", "Attention"], ["idle", "Idle time"], ["advice", "What to do"],
  ["roofline", "Roofline"], ["kernels", "Kernels"], ["modules", "Modules"], ["made", "How it was made"],
];

class Page {
  /** @param {any} data of the data block */
  constructor(data) {
    this.data = data;
    this.charts = new Charts();
    this.run = 0;
    /** @type {Timeline | null} */
    this.timeline = null;
    /** @type {Map<number, Promise<any>>} */
    this.decoded = new Map();
    this.main = /** @type {HTMLElement} */ (document.querySelector("main"));
    this.drawHead();
    this.ready = this.draw(0);
  }

  drawHead() {
    const { runs, title, unreadable } = this.data;
    const several = runs.length > 1;
    const header = /** @type {HTMLElement} */ (document.querySelector("header"));
    header.querySelector("h1")?.replaceChildren(nameOf(title, 160));
    header.append(themeButton(() => this.repaint()));
    const sections = SECTIONS.filter(([id]) => id !== "compare" || several);
    document.querySelector("nav ul")?.replaceChildren(...sections.map(([id, name]) => el("li", null, el("a", { href: `#${id}` }, name))));
    if (unreadable.length) {
      this.main.append(el("p", { class: "notice" }, `${counted(unreadable.length, "input")} could not be read; the end of the page says why.`));
    }
    if (!runs.length) this.main.append(muted("There is no run in this report."));
    if (several) {
      const picker = el("select", { id: "run", on: { change: (/** @type {any} */ event) => (this.ready = this.draw(Number(event.target.value))) } },
        runs.map((/** @type {any} */ run, /** @type {number} */ at) => el("option", { value: at }, middle(clean(run.label), 60))));
      this.main.append(compareSection(this.data), el("p", { class: "picker" }, el("label", { for: "run" }, "Details of"), picker));
    }
    this.details = el("div", { id: "details" });
    this.main.append(this.details);
  }

  /** Draw the sections of a run; done when its timeline is. @param {number} at */
  async draw(at) {
    const run = this.data.runs[at];
    if (!run) return;
    this.run = at;
    this.timeline = null;
    this.charts.clear();
    const { data, charts } = this;
    const holder = section("timeline", "Timeline", muted("Decoding the timeline …"));
    this.details.replaceChildren(...[
      el("p", { class: "subject" }, el("bdi", null, subjectOf(run))),
      answerSection(data, run), categoriesSection(data, run), holder, stagesSection(data, run),
      lengthsSection(data, run, charts), attentionSection(data, run), idleSection(data, run), adviceSection(data, run),
      rooflineSection(data, run, charts), kernelsSection(data, run), modulesSection(data, run), madeSection(data, run),
    ]);
    watchSections();
    await this.drawTimeline(holder, run, at);
  }

  /** @param {HTMLElement} holder @param {any} run @param {number} at */
  async drawTimeline(holder, run, at) {
    const heading = /** @type {Node} */ (holder.firstChild);
    if (!run.timeline || !run.timeline.rows) {
      holder.replaceChildren(heading, muted("There is no timeline: the trace holds no activity."));
      return;
    }
    const groups = new Map(this.data.categories.map((/** @type {any} */ one, /** @type {number} */ group) => [one.category, group]));
    try {
      if (!this.decoded.has(at)) this.decoded.set(at, decodeTimeline(run.timeline, groups, this.data.causes.length));
      const decoded = await this.decoded.get(at);
      if (this.run !== at) return;
      this.timeline = new Timeline(run, decoded, this.data);
      holder.replaceChildren(heading, highlighter(this.timeline, this.data), this.timeline.element);
      this.timeline.draw();
    } catch (error) {
      console.error(error);
      const why = typeof DecompressionStream === "undefined" ? "this browser cannot decompress it" : String(error);
      holder.replaceChildren(heading, muted(`The timeline cannot be shown: ${why}.`));
    }
  }

  repaint() {
    this.timeline?.redraw();
    this.charts.repaint();
  }
}

/** @param {any} run what was traced */
function subjectOf(run) {
  const { trace } = run.analysis;
  const recorded = run.made.find((/** @type {any} */ one) => one.label === "Recorded on");
  return recorded ? clean(recorded.text) : [trace.device_name, counted(trace.events, "event")].filter(Boolean).join(" · ");
}

/** The legend of the timeline; a press on a category makes the others fade.
 * @param {Timeline} timeline @param {any} data */
function highlighter(timeline, data) {
  const buttons = data.categories.map((/** @type {any} */ one, /** @type {number} */ group) => {
    if (!timeline.decoded.lanes.some((/** @type {any} */ lane) => lane.track.times[group] > 0)) return null;
    return el("button", { type: "button", class: "chip", "aria-pressed": "false", on: { click: () => press(group) } }, swatch(one.color), one.label);
  });
  const press = (/** @type {number} */ group) => {
    timeline.highlight = timeline.highlight === group ? null : group;
    buttons.forEach((/** @type {any} */ button, /** @type {number} */ at) => button?.setAttribute("aria-pressed", String(at === timeline.highlight)));
    timeline.redraw();
  };
  const causes = data.causes.filter((/** @type {any} */ _, /** @type {number} */ group) => timeline.decoded.gaps.some((/** @type {any} */ one) => one.track.times[group] > 0));
  return el(
    "div", null,
    el("div", { class: "chips", role: "group", "aria-label": "Highlight a category" }, buttons.filter(Boolean)),
    causes.length > 0 && el("div", { class: "above" }, el("span", { class: "soft" }, "Idle:"), legend(causes)),
  );
}

/** Light or dark: as the system has it until somebody presses the button. @param {() => void} changed */
function themeButton(changed) {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const button = el("button", { type: "button", class: "theme" });
  const show = () => {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${dark() ? "light" : "dark"} colours`);
    changed();
  };
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    remember(root.dataset.theme);
    show();
  });
  system.addEventListener("change", show);
  // Paper is white, whatever the screen is.
  let before = root.dataset.theme;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    page?.timeline?.draw();
    page?.charts.repaint();
  });
  addEventListener("afterprint", () => {
    if (before) root.dataset.theme = before;
    else delete root.dataset.theme;
    show();
  });
  queueMicrotask(show);
  return button;
}

/** @param {string} theme */
function remember(theme) {
  // Pages from disk may be refused a storage.
  try {
    localStorage.setItem("tracekit-theme", theme);
  } catch { /* The choice holds for as long as the page is open. */ }
}

function recalled() {
  try {
    return localStorage.getItem("tracekit-theme");
  } catch {
    return null;
  }
}

/** @type {IntersectionObserver | undefined} */
let watching;

/** Mark in the navigation which section is being read. */
function watchSections() {
  watching?.disconnect();
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.getAttribute("href")?.slice(1), link]));
  watching = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  for (const one of document.querySelectorAll("main section")) watching.observe(one);
}

/** @type {Page | undefined} */
let page;

function start() {
  const theme = recalled();
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  const data = JSON.parse(document.getElementById("tracekit-data")?.textContent ?? "null");
  page = new Page(data);
  page.ready.then(() => performance.mark("tracekit-ready"));
  // For who wants to go on from here in the console, and for the tests.
  window.tracekit = {
    data, page, ready: page.ready, test: { eachColumn, cacheTable, devicesTable },
    format: { formatNs, formatShare, formatCount, formatBytes, formatRate, formatIntensity },
  };
}

start();
