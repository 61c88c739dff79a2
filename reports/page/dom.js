// Elements from data. Text goes in as text nodes only; nothing here or elsewhere parses HTML.

/**
 * @param {string} tag
 * @param {Record<string, any> | null} [props] attributes; `on` holds listeners, `style` properties
 * @param {...any} children nodes, texts, lists of them; null and false are left out
 * @returns {any}
 */
function el(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value == null || value === false) continue;
    if (key === "on") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else if (key === "style") {
      for (const [name, of] of Object.entries(value)) node.style.setProperty(name, String(of));
    } else {
      node.setAttribute(key, value === true ? "" : String(value));
    }
  }
  append(node, children);
  return node;
}

/** @param {Element} node @param {any[]} children */
function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child == null || child === false || child === "") continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

const UNNAMED = "(unnamed)";

/** One line of printable text: what steers a terminal or the direction of text is gone.
 * @param {string | null | undefined} text */
function clean(text) {
  if (text == null) return UNNAMED;
  const line = text.replace(/\s+/gu, " ").trim();
  return line.replace(/\p{Cf}/gu, "").replace(/[\p{Cc}\p{Cs}\p{Co}\p{Cn}]/gu, "\ufffd") || UNNAMED;
}

/** Text as it is, but for control characters that would show as nothing. @param {string} text */
const verbatim = (text) => text.replace(/[\p{Cc}\p{Cs}]/gu, (one) => (one === "\n" ? one : "\ufffd"));

/** @param {string} text @param {number} most characters, the middle gives way */
function middle(text, most) {
  const letters = Array.from(text);
  if (letters.length <= most) return text;
  const tail = Math.floor((most - 1) / 2);
  return `${letters.slice(0, most - 1 - tail).join("").trimEnd()}…${letters.slice(letters.length - tail).join("")}`;
}

const MOST_IN_A_CELL = 90;
const phone = matchMedia("(max-width: 560px)");

/** A name out of a trace, isolated from the direction of the text around it.
 * @param {string | null | undefined} text @param {number} [most] characters */
function nameOf(text, most = 60) {
  const whole = clean(text);
  const room = phone.matches && most <= MOST_IN_A_CELL ? Math.max(14, Math.round(0.3 * most)) : most;
  const shown = middle(whole, room);
  const title = shown === whole ? null : middle(whole, 400);
  return el("bdi", { class: text == null ? "name none" : "name", title }, shown);
}

/** The full text, to be read and copied. @param {string | null | undefined} text */
const fullName = (text) => el("bdi", { class: "full" }, text == null ? UNNAMED : verbatim(text));

/** The small square that stands for a category or a cause. @param {string} color */
const swatch = (color) => el("span", { class: "swatch", "aria-hidden": "true", style: { "--of": color } });

/** A category or cause with its colour. @param {string} color @param {string} text */
const tag = (color, text) => el("span", { class: "tag" }, swatch(color), text);

/** @param {string} text */
const muted = (text) => el("p", { class: "muted" }, text);

/**
 * A section of the page with its heading.
 * @param {string} id @param {string} title @param {...any} children
 */
function section(id, title, ...children) {
  return el(
    "section", { id, "aria-labelledby": `${id}-title` },
    el("h2", { id: `${id}-title` }, title), ...children,
  );
}

/** Terms with what they are. @param {[any, any][]} rows */
function definitions(rows) {
  return el("dl", null, rows.map(([term, what]) => el("div", null, el("dt", null, term), el("dd", null, what))));
}

/** A button within a table that brings what a row is about into the view of the timeline.
 * @param {string} text @param {(timeline: Timeline) => void} does */
const toTimeline = (text, does) =>
  el("p", { class: "to-timeline" }, el("button", { type: "button", on: { click: () => page?.timeline && does(page.timeline) } }, text));

/** What opens on demand; its content is made when it is opened first.
 * @param {any} summary @param {() => any} content */
function disclosure(summary, content) {
  const node = el("details", null, el("summary", null, summary));
  node.addEventListener("toggle", () => {
    if (node.open && node.childElementCount === 1) append(node, [content()]);
  });
  return node;
}

/** Black or white, whichever is read better on a colour. @param {string} color #RRGGBB */
function inkOn(color) {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const part = parseInt(color.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  const light = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  return light > 0.179 ? "#000" : "#fff";
}
