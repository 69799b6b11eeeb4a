import { measuredColumns } from "./columns.js";

/**
 * The shown neighbours as CSV text.
 * @param {Object[]} neighbours
 * @returns {string}
 */
export function toCsv(neighbours) {
  const sources = neighbours.map((neighbour) => neighbour.source);
  const columns = measuredColumns(sources).map((column) => column.name);
  const head = ["rank", "id", "ra", "dec", "similarity", "percentile", "survey", ...columns];
  const rows = neighbours.map(({ rank, similarity, percentile, source }) => [
    rank,
    source.source_id,
    source.ra,
    source.dec,
    similarity,
    percentile,
    source.survey,
    ...columns.map((name) => source[name]),
  ]);
  return [head, ...rows].map((row) => row.map(cell).join(",") + "\r\n").join("");
}

function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  // A text that begins so would be run as a formula by spreadsheets.
  const text = /^[=+\-@\t\r]/.test(value) && Number.isNaN(Number(value)) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * Hand a text to the reader as a file.
 * @param {string} text
 * @param {string} name
 */
export function saveText(text, name) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name.replace(/[^\w.+-]+/g, "_");
  link.click();
  // The download has taken its own hold of the blob by the next turn of the loop.
  setTimeout(() => URL.revokeObjectURL(url), 0);
}
