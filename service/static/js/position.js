/** Positions as people write them, ICRS. */

const decimal = /^([+-]?\d+(?:\.\d*)?)(?:\s*,\s*|\s+)([+-]?\d+(?:\.\d*)?)$/;
const sexagesimal = new RegExp(
  "^(\\d{1,2})\\s*[h: ]\\s*(\\d{1,2})\\s*[m: ]\\s*(\\d{1,2}(?:\\.\\d*)?)\\s*s?\\s*,?\\s*" +
    "([+-]?)\\s*(\\d{1,2})\\s*[d°: ]\\s*(\\d{1,2})\\s*[m'′: ]\\s*(\\d{1,2}(?:\\.\\d*)?)\\s*[s\"″]?$",
  "i",
);

/**
 * Right ascension and declination in degrees, from decimal degrees or sexagesimal text.
 * @param {string} text
 * @returns {{ra: number, dec: number}|null} null when the text is no position
 */
export function parsePosition(text) {
  const plain = text.replace(/[\u2010-\u2015\u2212]/g, "-").replace(/\s+/g, " ").trim();
  let found = decimal.exec(plain);
  if (found) return onSky(Number(found[1]), Number(found[2]));
  found = sexagesimal.exec(plain);
  if (!found) return null;
  const [hours, minutes, seconds] = found.slice(1, 4).map(Number);
  const [degrees, arcminutes, arcseconds] = found.slice(5, 8).map(Number);
  if (minutes >= 60 || seconds >= 60 || arcminutes >= 60 || arcseconds >= 60) return null;
  const dec = degrees + arcminutes / 60 + arcseconds / 3600;
  return onSky(15 * (hours + minutes / 60 + seconds / 3600), found[4] === "-" ? -dec : dec);
}

function onSky(ra, dec) {
  if (!(ra >= 0 && ra <= 360 && Math.abs(dec) <= 90)) return null;
  // A milliarcsecond is finer than any of these positions, and keeps addresses short.
  return { ra: Number((ra % 360).toFixed(7)), dec: Number(dec.toFixed(7)) };
}

/**
 * "139.14800 +4.68100": degrees to 0.04 arcsec.
 * @param {number} ra
 * @param {number} dec
 * @returns {string}
 */
export function degrees(ra, dec) {
  const count = Math.round(dec * 1e5);
  return `${((Math.round(ra * 1e5) % 36e6) / 1e5).toFixed(5)} ${sign(count)}${(Math.abs(count) / 1e5).toFixed(5)}`;
}

/**
 * "09:16:35.52 +04:40:51.6". Counted in whole last digits, so that 59.996 s carries.
 * @param {number} ra
 * @param {number} dec
 * @returns {string}
 */
export function clock(ra, dec) {
  const centiseconds = Math.round((ra / 15) * 360000) % 8640000;
  const tenths = Math.round(dec * 36000);
  return `${sixties(centiseconds, 100)} ${sign(tenths)}${sixties(Math.abs(tenths), 10)}`;
}

function sign(count) {
  return count < 0 ? "\u2212" : "+";
}

function sixties(count, parts) {
  const seconds = count % (60 * parts);
  const minutes = Math.floor(count / (60 * parts));
  const digits = String(parts).length - 1;
  const last = (seconds / parts).toFixed(digits).padStart(3 + digits, "0");
  return [Math.floor(minutes / 60), minutes % 60].map((part) => String(part).padStart(2, "0")).join(":") + `:${last}`;
}

/**
 * The same text with a hyphen for the minus sign: what a program can read back.
 * @param {string} text
 * @returns {string}
 */
export function typed(text) {
  return text.replaceAll("\u2212", "-");
}
