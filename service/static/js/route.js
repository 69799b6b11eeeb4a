/**
 * What the page shows, as an address: `?id=`, `?ra=&dec=&radius_arcsec=`, with `k` and `where`.
 *
 * An upload has no address, since the service keeps no uploads. It gets a number in this tab's history, so that
 * the back button finds it as long as the tab lives.
 */
import { address } from "./api.js";

export const defaultCount = 20;
export const defaultRadiusArcsec = 30;

const uploads = new Map();

/**
 * @typedef {Object} Query
 * @property {"start"|"source"|"position"|"upload"|"lost"} kind `lost` is an upload of another tab
 * @property {string} [id]
 * @property {number} [ra]
 * @property {number} [dec]
 * @property {number} [radius]
 * @property {File} [file]
 * @property {number} k
 * @property {string} where
 */

/**
 * The query that the address bar spells.
 * @returns {Query}
 */
export function readAddress() {
  const parameters = new URLSearchParams(location.search);
  const view = { k: count(parameters.get("k")), where: parameters.get("where") ?? "" };
  const id = parameters.get("id");
  if (id) return { kind: "source", id, ...view };
  if (parameters.has("ra") && parameters.has("dec")) {
    const radius = parameters.get("radius_arcsec") ?? defaultRadiusArcsec;
    return { kind: "position", ra: parameters.get("ra"), dec: parameters.get("dec"), radius, ...view };
  }
  if (!parameters.has("upload")) return { kind: "start", ...view };
  const file = uploads.get(history.state?.upload);
  return file ? { kind: "upload", file, ...view } : { kind: "lost", ...view };
}

function count(text) {
  const number = Number(text ?? defaultCount);
  return Number.isInteger(number) && number >= 1 && number <= 1000 ? number : defaultCount;
}

/**
 * Put a query into the address bar.
 * @param {Query} query
 * @param {{replace: ?boolean}} [how] `replace` makes no new step of history
 */
export function writeAddress(query, { replace = false } = {}) {
  const view = { k: query.k === defaultCount ? null : query.k, where: query.where };
  const spelled = {
    source: { id: query.id },
    position: { ra: query.ra, dec: query.dec, radius_arcsec: query.radius },
    upload: { upload: 1 },
  }[query.kind];
  let state = null;
  if (query.kind === "upload") {
    const known = [...uploads].find(([, file]) => file === query.file)?.[0];
    state = { upload: known ?? crypto.getRandomValues(new Uint32Array(1))[0] };
    uploads.set(state.upload, query.file);
  }
  const url = address("./", { ...spelled, ...view });
  if (replace) history.replaceState(state, "", url);
  else history.pushState(state, "", url);
}

/**
 * The call of the service that answers a query.
 * @param {Query} query
 * @param {Object} cutout options for uploads
 * @returns {string}
 */
export function callFor(query, cutout) {
  const view = { k: query.k, where: query.where };
  if (query.kind === "source") return address(`similar/${encodeURIComponent(query.id)}`, view);
  if (query.kind === "upload") return address("similar", { ...cutout, ...view });
  return address("similar", { ra: query.ra, dec: query.dec, radius_arcsec: query.radius, ...view });
}
