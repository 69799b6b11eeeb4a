/** The measured columns of a catalogue: which to show, and how. */

const identity = new Set(["source_id", "ra", "dec", "survey", "cutout", "simulated"]);

// What people look at first when they judge a twin; the rest follows in the catalogue's order.
const telling = [/ang.*size|^las|^size/, /flux/, /redshift|^z$/, /class|^type$|morph/];

const shortUnit = { arcsec: "\u2033", arcmin: "\u2032", deg: "°" };

let known = [];

/** @param {Object[]} columns as GET /sources describes them */
export function learnColumns(columns) {
  known = columns ?? [];
}

/** @returns {Object[]} the catalogue's columns, described */
export function catalogueColumns() {
  return known;
}

/**
 * Measured columns of some sources, the telling ones first.
 * @param {Object[]} sources
 * @returns {Object[]} columns that have a value in at least one of them
 */
export function measuredColumns(sources) {
  const described = new Map(known.map((column) => [column.name, column]));
  const names = new Set(known.map((column) => column.name));
  for (const source of sources) Object.keys(source).forEach((name) => names.add(name));
  const weight = (name) => {
    const place = telling.findIndex((pattern) => pattern.test(name));
    return place < 0 ? telling.length : place;
  };
  return [...names]
    .filter((name) => !identity.has(name) && sources.some((source) => isShown(source[name])))
    .map((name) => described.get(name) ?? { name, unit: null, kind: "text", description: null })
    .sort((a, b) => weight(a.name) - weight(b.name));
}

function isShown(value) {
  return value !== null && value !== undefined && value !== "" && typeof value !== "object";
}

/**
 * "angular_size_arcsec" in arcsec reads "angular size".
 * @param {{name: string, unit: ?string}} column
 * @returns {string}
 */
export function columnLabel({ name, unit }) {
  const suffix = unit ? `_${unit.toLowerCase().replace(/[^a-z0-9]+/g, "_")}` : null;
  const bare = suffix && name.endsWith(suffix) ? name.slice(0, -suffix.length) : name;
  return bare.replaceAll("_", " ");
}

/**
 * What the label means: the catalogue's own name, description and unit.
 * @param {Object} column
 * @returns {string}
 */
export function columnTitle({ name, description, unit }) {
  return [name, description, unit && `in ${unit}`].filter(Boolean).join(", ");
}

/**
 * A value with its unit; five significant digits are more than any of these surveys measure.
 * @param {*} value
 * @param {{unit: ?string}} [column]
 * @returns {string}
 */
export function columnText(value, column = {}) {
  if (!isShown(value)) return "\u2013";
  const unit = shortUnit[column.unit] ?? (column.unit ? ` ${column.unit}` : "");
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return `${value}${unit}`;
  const short = Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(5)));
  return `${short.replace("-", "\u2212")}${unit}`;
}

/**
 * Made by the simulator, not observed.
 * @param {?Object} source
 * @returns {boolean}
 */
export function isSimulated(source) {
  return source?.simulated === true || /^sim/i.test(source?.survey ?? "");
}
