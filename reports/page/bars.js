// Stacked bars of plain elements: they print, scale and read aloud without a library.

/** @typedef {{label: string, color: string, value: number}} Part */

/**
 * @param {Part[]} parts in fixed order
 * @param {{whole: number, scale: number, of: string}} options the value that shares are of, the
 * value that the full width stands for, and what the bar shows
 */
function stackedBar(parts, { whole, scale, of }) {
  const present = parts.filter((part) => part.value > 0);
  const spoken = present.map((part) => `${part.label} ${formatShare(shareOf(part.value, whole))}`).join(", ");
  return el(
    "div", { class: "bar", role: "img", "aria-label": `${of}: ${spoken || "nothing"}` },
    present.map((part) => segment(part, whole, scale)),
  );
}

/** @param {Part} part @param {number} whole @param {number} scale */
function segment(part, whole, scale) {
  const share = part.value / whole;
  const width = (100 * part.value) / scale;
  return el(
    "span",
    {
      class: "segment", title: `${part.label}: ${formatNs(part.value)} (${formatShare(share)})`,
      style: { width: `${width}%`, "--of": part.color, color: inkOn(part.color) },
    },
    width >= 6 ? `${Math.round(100 * share)}%` : null,
  );
}

/**
 * Rows of bars under each other with their names and times.
 * @param {{name: any, parts: Part[], time: number, of: string}[]} rows
 * @param {number | null} scale the time of the full width, null to fill it in each row
 */
function barRows(rows, scale) {
  return el(
    "div", { class: "bars" },
    rows.map(({ name, parts, time, of }) => el(
      "div", { class: "bar-row" },
      el("div", { class: "bar-name" }, name),
      el("div", { class: "bar-hold" }, time > 0
        ? stackedBar(parts, { whole: time, scale: scale ?? time, of })
        : el("span", { class: "muted" }, "no time")),
      el("div", { class: "bar-time" }, formatNs(time)),
    )),
  );
}

/** @param {any[]} categories of the data block @param {Record<string, number>} times by slug @returns {Part[]} */
const categoryParts = (categories, times) =>
  categories.map((one) => ({ label: one.label, color: one.color, value: times[one.category] ?? 0 }));

/** @param {{label: string, color: string}[]} names */
const legend = (names) =>
  el("ul", { class: "legend" }, names.map((one) => el("li", null, swatch(one.color), one.label)));

/**
 * A choice between few things, as buttons of which one is pressed.
 * @param {string} name @param {string[]} options @param {(at: number) => void} chosen
 */
function choice(name, options, chosen) {
  const buttons = options.map((text, at) =>
    el("button", {
      type: "button", "aria-pressed": String(at === 0),
      on: {
        click: () => {
          buttons.forEach((button, one) => button.setAttribute("aria-pressed", String(one === at)));
          chosen(at);
        },
      },
    }, text));
  return el("div", { class: "choice", role: "group", "aria-label": name }, buttons);
}
