import { element } from "./element.js";

/**
 * "0.9731"; a cosine, so at most 1.
 * @param {number} similarity
 * @returns {string}
 */
export function similarityText(similarity) {
  return similarity.toFixed(4).replace("-", "\u2212");
}

/**
 * What a percentile among random pairs means, cut (not rounded) so that it never claims more than was measured.
 * @param {?number} percentile 0 to 100
 * @returns {string}
 */
export function percentileText(percentile) {
  if (percentile === null || percentile === undefined) return "";
  if (percentile >= 100) return "more similar than every random pair sampled";
  const digits = percentile > 99 ? 2 : percentile > 90 ? 1 : 0;
  const cut = Math.floor(percentile * 10 ** digits) / 10 ** digits;
  return `more similar than ${cut.toFixed(digits)} % of random pairs`;
}

/**
 * The figure with a thin bar from 0 to 1, never stretched to make poor matches look good.
 * @param {number} similarity
 * @param {?number} percentile
 * @returns {HTMLElement}
 */
export function similarityMark(similarity, percentile) {
  const fill = element("i");
  fill.style.width = `${100 * Math.min(1, Math.max(0, similarity))}%`;
  return element(
    "div",
    { class: "similarity", title: "Cosine similarity of the embeddings: 1 is the same picture" },
    element("b", { "data-testid": "similarity" }, similarityText(similarity)),
    element("span", {}, "similarity"),
    element("span", { class: "bar", "aria-hidden": "true" }, fill),
    element("small", { "data-testid": "percentile" }, percentileText(percentile)),
  );
}
