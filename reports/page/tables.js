// Tables that sort, search and turn pages; only the rows of one page are in the document.

/**
 * @typedef {object} Column
 * @property {string} label of the header
 * @property {(row: any) => any} value to sort by
 * @property {(row: any) => any} [cell] what is shown, `value` if not given
 * @property {boolean} [number] right-aligned, largest first
 * @property {boolean} [minor] left out where the screen is narrow
 * @property {string} [hint] what the header means
 */

/**
 * @typedef {object} TableOptions
 * @property {string} caption the heading above it
 * @property {boolean} [narrow] few columns, which the eye should not have to travel between
 * @property {number} [sort] column that it is sorted by at first
 * @property {number} [page] rows of a page
 * @property {(row: any) => string} [search] what of a row is searched
 * @property {string} [placeholder] of the search
 * @property {(row: any) => any} [detail] what a row opens to
 */

let tablesMade = 0;

// What scrolls must be reachable by keys, what does not is no stop on the way.
const scrolling = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollWidth > target.clientWidth) target.setAttribute("tabindex", "0");
    else target.removeAttribute("tabindex");
  }
});

class DataTable {
  /** @param {any[]} rows @param {Column[]} columns @param {TableOptions} options */
  constructor(rows, columns, options) {
    this.rows = rows;
    // A column in which nothing stands says nothing.
    const says = (/** @type {Column} */ column) => rows.some((row) => ![null, undefined, ""].includes(column.value(row)));
    this.columns = columns.filter((column, at) => at === 0 || !rows.length || says(column));
    const first = options.sort == null ? -1 : this.columns.indexOf(columns[options.sort]);
    this.options = options;
    this.page = 0;
    this.size = options.page ?? 20;
    this.sorted = first;
    this.descending = true;
    /** @type {string[] | null} */
    this.texts = null;
    this.build();
    this.update();
  }

  build() {
    const { options } = this;
    this.heads = this.columns.map((column, at) => {
      const button = el("button", { type: "button", title: column.hint, on: { click: () => this.sortBy(at) } }, column.label);
      return el("th", { scope: "col", class: classOf(column) }, button);
    });
    this.body = el("tbody", null);
    const title = el("h3", { id: `table-${++tablesMade}` }, options.caption);
    const table = el(
      "table", { "aria-labelledby": title.id },
      el("thead", null, el("tr", null, this.heads)),
      this.body,
    );
    this.status = el("span", { role: "status" });
    const turn = (/** @type {string} */ text, /** @type {number} */ by) =>
      el("button", { type: "button", on: { click: () => this.turn(by) } }, text);
    this.back = turn("Previous", -1);
    this.on = turn("Next", 1);
    this.pager = el("div", { class: "pager" }, this.status, this.back, this.on);
    this.search = options.search && el("input", {
      type: "search", class: "search", "aria-label": options.placeholder ?? "Search", placeholder: options.placeholder ?? "Search",
      on: { input: () => this.update(0) },
    });
    this.element = el(
      "div", { class: options.narrow ? "table narrow" : "table" },
      el("div", { class: "table-head" }, title, this.search),
      el("div", { class: "scroll", role: "region", "aria-labelledby": title.id }, table), this.pager,
    );
    scrolling.observe(this.element.querySelector(".scroll"));
  }

  /** @param {number} at */
  sortBy(at) {
    this.descending = this.sorted === at ? !this.descending : Boolean(this.columns[at].number);
    this.sorted = at;
    this.update(0);
  }

  /** @param {number} by pages */
  turn(by) {
    this.update(this.page + by);
  }

  /** The rows that the search leaves, in order. */
  visible() {
    const words = (this.search?.value ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    let rows = this.rows;
    if (words.length) {
      const { search } = this.options;
      this.texts ??= this.rows.map((row) => search?.(row).toLowerCase() ?? "");
      const texts = this.texts;
      rows = rows.filter((_, at) => words.every((/** @type {string} */ word) => texts[at].includes(word)));
    }
    if (this.sorted < 0) return rows;
    const { value } = this.columns[this.sorted];
    const keyed = rows.map((row) => ({ row, key: value(row) }));
    keyed.sort((one, other) => compared(one.key, other.key, this.descending));
    return keyed.map(({ row }) => row);
  }

  /** @param {number} [page] */
  update(page = this.page) {
    const rows = this.visible();
    const pages = Math.max(1, Math.ceil(rows.length / this.size));
    this.page = Math.min(Math.max(0, page), pages - 1);
    const first = this.page * this.size;
    const shown = rows.slice(first, first + this.size);
    this.body.replaceChildren(...shown.flatMap((row) => this.rowOf(row)));
    this.heads?.forEach((head, at) => {
      if (at === this.sorted) head.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    const of = rows.length === this.rows.length ? "" : ` (${formatCount(this.rows.length)} in all)`;
    this.status.textContent = rows.length
      ? `${formatCount(first + 1)}–${formatCount(first + shown.length)} of ${formatCount(rows.length)}${of}`
      : `Nothing matches${of}`;
    this.back.disabled = this.page === 0;
    this.on.disabled = this.page === pages - 1;
    this.pager.hidden = pages === 1 && rows.length === this.rows.length;
  }

  /** @param {any} row @returns {HTMLElement[]} */
  rowOf(row) {
    const { detail } = this.options;
    const cells = this.columns.map((column, at) =>
      el(at ? "td" : "th", { scope: at ? null : "row", class: classOf(column) }, (column.cell ?? column.value)(row) ?? MISSING));
    const line = el("tr", null, cells);
    if (!detail) return [line];
    /** @type {any} */
    let opened = null;
    const button = el("button", {
      type: "button", class: "more", "aria-expanded": "false", "aria-label": "Details",
      on: {
        click: () => {
          if (opened) opened.remove();
          opened = opened ? null : el("tr", { class: "opened" }, el("td", { colspan: this.columns.length }, detail(row)));
          if (opened) line.after(opened);
          button.setAttribute("aria-expanded", String(Boolean(opened)));
        },
      },
    });
    cells[0].prepend(button);
    cells[0].classList.add("opens");
    return [line];
  }
}

/** @param {Column} column */
const classOf = (column) => [column.number && "number", column.minor && "minor"].filter(Boolean).join(" ") || null;

/** What is missing stands last, whichever way it is sorted.
 * @param {any} one @param {any} other @param {boolean} descending */
function compared(one, other, descending) {
  if (one == null || other == null) return Number(one == null) - Number(other == null);
  const order = typeof one === "string" ? one.localeCompare(other) : one - other;
  return descending ? -order : order;
}

/** @param {any[]} rows @param {Column[]} columns @param {TableOptions} options */
const table = (rows, columns, options) => new DataTable(rows, columns, options).element;

/** A number in front of a bar that shows it beside the largest. @param {string} text @param {number | null} share @param {string} [color] */
function barCell(text, share, color) {
  const width = `${Math.max(0, Math.min(1, share ?? 0)) * 100}%`;
  const bar = el("span", { class: "cellbar", "aria-hidden": "true", style: { "--width": width, "--of": color ?? "var(--bar)" } });
  return el("span", { class: "barred" }, bar, el("span", null, text));
}

/** @param {(row: any) => number | null} of ns @returns {Pick<Column, "value" | "cell" | "number">} */
const timeColumn = (of) => ({ value: of, cell: (row) => formatNs(of(row)), number: true });

/** @param {(row: any) => number | null} of @returns {Pick<Column, "value" | "cell" | "number">} */
const countColumn = (of) => ({ value: of, cell: (row) => formatCount(of(row)), number: true });

/** @param {(row: any) => number | null} of @returns {Pick<Column, "value" | "cell" | "number">} */
const shareColumn = (of) => ({ value: of, cell: (row) => formatShare(of(row)), number: true });
