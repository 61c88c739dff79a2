// How the timeline is painted. Every function here costs pixels, whatever the number of rows.

const CAPTION = 17;
const MINIMAP_HEIGHT = 44;

/** @param {string} color #RRGGBB */
const channels = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));

/** A colour as the pixel of an ImageData. @param {number[]} rgb */
const pixelOf = ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;

/** @param {number[]} one @param {number[]} other @param {number} share of the other */
const mixed = (one, other, share) => one.map((part, at) => Math.round(part + (other[at] - part) * share));

/** The colours of the theme that canvases need. */
function canvasTheme() {
  const style = getComputedStyle(document.documentElement);
  const of = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  return {
    paper: of("--paper"), ink: of("--ink"), soft: of("--soft"), faint: of("--faint"),
    line: of("--line"), accent: of("--accent"), font: of("--font-canvas"),
  };
}

/** Pixels of each group; what is not highlighted fades into the background.
 * @param {string[]} colors @param {string} background @param {number | null} highlight */
function palettePixels(colors, background, highlight) {
  const ground = channels(background);
  return Uint32Array.from(colors, (color, group) =>
    pixelOf(highlight == null || highlight === group ? channels(color) : mixed(channels(color), ground, 0.82)));
}

/**
 * Paint a track as columns of stacked times: full where all of a pixel's time is taken.
 * @param {CanvasRenderingContext2D} context
 * @param {Track} track @param {{from: number, to: number}} view
 * @param {{x: number, y: number, width: number, height: number}} box in device pixels
 * @param {Uint32Array} palette @param {string} background
 */
function paintTrack(context, track, view, box, palette, background) {
  const image = context.createImageData(box.width, box.height);
  const pixels = new Uint32Array(image.data.buffer);
  pixels.fill(pixelOf(channels(background)));
  const span = (view.to - view.from) / box.width;
  eachColumn(track, view, box.width, (x, times) => {
    let filled = 0;
    let bottom = box.height;
    let largest = -1;
    for (let group = 0; group < times.length; group++) {
      if (times[group] <= 0) continue;
      if (largest < 0 || times[group] > times[largest]) largest = group;
      filled += times[group];
      const top = Math.max(0, box.height - Math.round((filled / span) * box.height));
      for (let y = top; y < bottom; y++) pixels[y * box.width + x] = palette[group];
      bottom = Math.min(bottom, top);
    }
    // What is shorter than a pixel is high is there all the same.
    if (largest >= 0 && bottom === box.height) pixels[(box.height - 1) * box.width + x] = palette[largest];
  });
  context.putImageData(image, box.x, box.y);
}

/**
 * Part and name the intervals that are wide enough.
 * @param {CanvasRenderingContext2D} context scaled to CSS pixels
 * @param {Track} track @param {{from: number, to: number}} view
 * @param {{y: number, width: number, height: number}} box in CSS pixels
 * @param {{labelOf: (row: number) => string, colorOf: (row: number) => string, line: string}} look
 */
function paintIntervals(context, track, view, box, look) {
  const scale = box.width / (view.to - view.from);
  const end = track.rowFrom(view.to);
  const first = Math.max(0, track.rowFrom(view.from) - 1);
  if (end - first > box.width) return;
  context.textBaseline = "middle";
  for (let row = first; row < end; row++) {
    const left = (track.start[row] - view.from) * scale;
    const width = track.dur[row] * scale;
    if (width < 4 || left + width < 0) continue;
    context.fillStyle = look.line;
    context.fillRect(left, box.y, 1, box.height);
    if (box.height < 14) continue;
    const from = Math.max(left, 0);
    label(context, look.labelOf(row), from, left + width - from, box, inkOn(look.colorOf(row)));
  }
}

/** @param {string} text @param {number} most characters, the end gives way */
const cut = (text, most) => (text.length <= most ? text : `${text.slice(0, Math.max(0, most - 1))}…`);

/** Write a text into a box if there is room for some of it.
 * @param {CanvasRenderingContext2D} context @param {string} text @param {number} left @param {number} width
 * @param {{y: number, height: number}} box @param {string} ink */
function label(context, text, left, width, box, ink) {
  const room = width - 8;
  let written = cut(text, Math.floor(room / 5));
  const wide = context.measureText(written).width;
  if (wide > room) written = cut(text, Math.floor((written.length * room) / wide));
  if (written.length < Math.min(3, text.length)) return;
  context.fillStyle = ink;
  context.fillText(written, left + 4, box.y + box.height / 2, room + 4);
}

/** @param {number} spanNs @param {number} most ticks @returns {number} ns between ticks: 1, 2 or 5 times a power of ten */
function tickStep(spanNs, most) {
  const least = spanNs / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(Math.max(1, least)));
  return [1, 2, 5, 10].map((times) => times * power).find((step) => step >= least) ?? 10 * power;
}

/** @param {number} timeNs @param {number} stepNs between ticks: tells the decimals @param {number} mostNs of all ticks */
function tickLabel(timeNs, stepNs, mostNs) {
  const [size, unit] = stepNs >= 1e8 && mostNs >= 1e9 ? [1e9, "s"] : stepNs >= 1e4 && mostNs >= 1e6 ? [1e6, "ms"] : stepNs >= 10 ? [1e3, "µs"] : [1, "ns"];
  const decimals = Math.max(0, -Math.floor(Math.log10(stepNs / size) + 1e-9));
  return `${(timeNs / size).toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals })} ${unit}`;
}

/** @param {CanvasRenderingContext2D} context @param {{from: number, to: number}} view
 * @param {{width: number, y: number, height: number, bottom: number}} box @param {any} theme */
function paintRuler(context, view, box, theme) {
  const step = tickStep(view.to - view.from, box.width / 96);
  const scale = box.width / (view.to - view.from);
  context.textBaseline = "middle";
  for (let time = Math.ceil(view.from / step) * step; time < view.to; time += step) {
    const x = Math.round((time - view.from) * scale);
    context.fillStyle = theme.line;
    context.fillRect(x, box.y, 1, box.bottom - box.y);
    context.fillStyle = theme.soft;
    const text = tickLabel(time, step, view.to);
    if (x + 4 + context.measureText(text).width > box.width) continue;
    context.fillText(text, x + 4, box.y + box.height / 2);
  }
}

/**
 * Bands of stages or steps.
 * @param {CanvasRenderingContext2D} context
 * @param {{start: number, end: number, text: string, odd: boolean}[]} bands in start order
 * @param {{from: number, to: number}} view @param {{y: number, width: number, height: number}} box @param {any} theme
 */
function paintBands(context, bands, view, box, theme) {
  const scale = box.width / (view.to - view.from);
  context.textBaseline = "middle";
  let painted = -1;
  for (const band of bands) {
    const left = Math.max(0, (band.start - view.from) * scale);
    const right = Math.min(box.width, (band.end - view.from) * scale);
    // Bands closer than half a pixel to what is painted would only repeat it.
    if (right < 0 || left > box.width || right < painted + 0.5) continue;
    painted = right;
    const width = Math.max(1, right - left - 1);
    context.fillStyle = band.odd ? theme.faint : theme.line;
    context.fillRect(left, box.y, width, box.height);
    label(context, band.text, left, width, box, theme.ink);
  }
}

/** Where a length stands between the shortest and the longest, by its logarithm.
 * @param {number} length @param {{low: number, high: number}} range */
function lengthHeight(length, range) {
  if (range.high <= range.low) return 0.5;
  return (Math.log2(length) - Math.log2(range.low)) / (Math.log2(range.high) - Math.log2(range.low));
}

/**
 * A tick for each attention call, as high as its sequence is long.
 * @param {CanvasRenderingContext2D} context
 * @param {any} attention decoded @param {{from: number, to: number}} view
 * @param {{x: number, y: number, width: number, height: number}} box in device pixels
 * @param {{range: {low: number, high: number}, pixelOfRow: (row: number) => number, background: string, thick: number}} look
 */
function paintLengths(context, attention, view, box, look) {
  const image = context.createImageData(box.width, box.height);
  const pixels = new Uint32Array(image.data.buffer);
  pixels.fill(pixelOf(channels(look.background)));
  const { track, queryLength } = attention;
  const scale = box.width / (view.to - view.from);
  const end = track.rowFrom(view.to);
  for (let row = Math.max(0, track.rowFrom(view.from) - 1); row < end; row++) {
    if (!queryLength[row]) continue;
    const left = Math.max(0, Math.floor((track.start[row] - view.from) * scale));
    const right = Math.min(box.width, Math.max(left + look.thick, Math.ceil((track.start[row] + track.dur[row] - view.from) * scale)));
    const room = box.height - 3 * look.thick;
    const y = Math.round(look.thick + (1 - lengthHeight(queryLength[row], look.range)) * room);
    const pixel = look.pixelOfRow(row);
    for (let line = y; line < Math.min(box.height, y + look.thick); line++) {
      pixels.fill(pixel, line * box.width + left, line * box.width + right);
    }
  }
  context.putImageData(image, box.x, box.y);
}
