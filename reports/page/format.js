// Numbers as text: the rules of tracekit.units, so that every report writes a number alike.

const MISSING = "–";

/** As `toFixed`, but halves go to the even digit, as Python has it. @param {number} value @param {number} digits */
function fixed(value, digits) {
  const exact = value.toFixed(digits + 30);
  const kept = exact.length - 30;
  if (!/^50*$/.test(exact.slice(kept))) return value.toFixed(digits);
  const down = exact.slice(0, kept).replace(/\.$/, "");
  return Number(down.at(-1)) % 2 ? value.toFixed(digits) : down;
}

/** @param {number} value three significant digits, without an exponent */
function threeDigits(value) {
  const magnitude = Math.abs(value);
  if (magnitude >= 99.95) return fixed(value, 0);
  return fixed(value, magnitude >= 9.995 ? 1 : 2);
}

/**
 * @param {number} value
 * @param {[number, string][]} steps sizes with their units, largest first
 * @param {string} unit of what is smaller than all of them
 */
function scaled(value, steps, unit) {
  for (const [size, name] of steps) {
    const magnitude = Math.abs(value);
    if (magnitude >= size || (size > 1000 && magnitude >= 0.9995 * size)) {
      return `${threeDigits(value / size)} ${name}`;
    }
  }
  return `${Math.round(value)} ${unit}`;
}

/** @param {number | null | undefined} timeNs */
function formatNs(timeNs) {
  if (timeNs == null) return MISSING;
  return scaled(timeNs, [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]], "ns");
}

/** @param {number | null | undefined} sizeBytes */
function formatBytes(sizeBytes) {
  if (sizeBytes == null) return MISSING;
  return scaled(sizeBytes, [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"]], "B");
}

/** @param {number} timeNs */
const exactNs = (timeNs) => (timeNs < 1000 ? formatNs(timeNs) : `${formatNs(timeNs)} (${formatCount(timeNs)} ns)`);

/** @param {string} unit @returns {[number, string][]} */
const prefixed = (unit) => [
  [1e15, `P${unit}`], [1e12, `T${unit}`], [1e9, `G${unit}`], [1e6, `M${unit}`], [1e3, `k${unit}`],
];

/** @param {number | null | undefined} perSecond @param {string} unit */
function formatRate(perSecond, unit) {
  return perSecond == null ? MISSING : scaled(perSecond, prefixed(`${unit}/s`), `${unit}/s`);
}

/** @param {number | null | undefined} flops */
function formatFlops(flops) {
  return flops == null ? MISSING : scaled(flops, prefixed("FLOP"), "FLOP");
}

/** @param {number | null | undefined} share between 0 and 1 */
function formatShare(share) {
  return share == null ? MISSING : `${fixed(100 * share, 1)}%`;
}

/** @param {number | null | undefined} count */
function formatCount(count) {
  return count == null ? MISSING : count.toLocaleString("en-US");
}

/** @param {number | null | undefined} intensity FLOPs a byte */
function formatIntensity(intensity) {
  if (intensity == null) return MISSING;
  return intensity >= 99.95 ? formatCount(Math.round(intensity)) : threeDigits(intensity);
}

/** @param {number | null | undefined} factor */
function formatTimes(factor) {
  if (factor == null) return MISSING;
  return factor && Math.abs(factor) < 0.1 ? `${Number(factor.toPrecision(2))}×` : `${threeDigits(factor)}×`;
}

/** The same within a sentence: 4×, not 4.00×. @param {number | null | undefined} factor */
function sayTimes(factor) {
  return factor == null ? MISSING : `${Number(factor.toPrecision(factor < 0.1 ? 2 : 3)).toLocaleString("en-US", { maximumSignificantDigits: 3 })}×`;
}

/** A difference of times with its sign. @param {number | null} deltaNs */
function formatDelta(deltaNs) {
  if (deltaNs == null) return MISSING;
  if (!deltaNs) return "0 ns";
  return `${deltaNs > 0 ? "+" : "−"}${formatNs(Math.abs(deltaNs))}`;
}

/** @param {number} part @param {number} whole */
const shareOf = (part, whole) => (whole ? part / whole : null);

/** @param {number} count @param {string} word */
const counted = (count, word) => `${formatCount(count)} ${count === 1 ? word : `${word}s`}`;

/** @param {string} slug "host_late" as "Host late" */
function humanized(slug) {
  const words = slug.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
