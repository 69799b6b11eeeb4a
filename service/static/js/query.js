import { sourcePath } from "./api.js";
import { columnList, fileLinks } from "./cards.js";
import { isSimulated, measuredColumns } from "./columns.js";
import { copyButton, element, fill } from "./element.js";
import { cutoutLink, fieldOf, picture } from "./picture.js";
import { clock, degrees, typed } from "./position.js";

const pictureSize = 600;

// Below five times the noise a peak is no detection by the usual count.
const faintSnr = 5;

/**
 * What the query looks like, for its panel and for comparisons.
 * @param {Object} query as the service repeats it
 * @returns {{title: string, view: Object, source: ?Object}}
 */
export function queryView(query) {
  const source = query.source ?? null;
  const title = source?.source_id ?? query.file_name ?? "Uploaded cutout";
  const url = source ? cutoutLink(query.links ? query : null, source.source_id) : null;
  return { title, source, view: { url, data: query.preview_png ?? null, field: fieldOf(query) } };
}

/**
 * Fill the query panel.
 * @param {HTMLElement} panel
 * @param {Object} query
 */
export function showQuery(panel, query) {
  const { title, view, source } = queryView(query);
  const uploaded = query.kind === "upload";
  const ra = source?.ra ?? query.ra;
  const dec = source?.dec ?? query.dec;
  const links = query.links ?? (source && { self: sourcePath(source.source_id) });
  fill(
    panel,
    picture(view, { alt: `Radio picture of the query, ${title}`, size: pictureSize, eager: true }),
    element(
      "div",
      { class: "query-text" },
      element("p", { class: "kicker" }, kicker(query), isSimulated(source) ? element("span", { class: "badge" }, "simulated") : null),
      element("h2", { "data-testid": "query-title" }, title),
      Number.isFinite(ra) && Number.isFinite(dec) ? positionList(ra, dec) : null,
      ...(query.notes ?? []).map((note) => element("p", { class: "note", "data-testid": "note" }, note)),
      Number.isFinite(query.peak_snr) ? element("p", { class: "note", "data-testid": "peak-snr" }, brightness(query.peak_snr)) : null,
      uploaded
        ? element("p", { class: "note quiet" }, "The picture is as the encoder saw it. Uploads are not kept: this page's address cannot be shared.")
        : null,
      source ? columnList(measuredColumns([source]), source) : null,
      source
        ? element("p", { class: "actions" }, copyButton(source.source_id, "Copy ID", "Copy ID"), ...fileLinks(links, source.source_id))
        : null,
    ),
  );
}

function brightness(snr) {
  const fact = `Brightest pixel: ${snr < 100 ? snr.toFixed(1) : Math.round(snr)} times the noise.`;
  return snr < faintSnr ? `${fact} This is faint: the shape that was compared may be noise.` : fact;
}

function kicker(query) {
  if (query.kind === "upload") return "Your cutout";
  if (query.kind !== "position") return "Twins of";
  return `Nearest source within ${query.radius_arcsec}\u2033 of ${degrees(query.ra, query.dec)}`;
}

function positionList(ra, dec) {
  const rows = [
    ["ICRS", clock(ra, dec)],
    ["degrees", degrees(ra, dec)],
  ].map(([name, text]) =>
    element(
      "div",
      {},
      element("dt", {}, name),
      element("dd", {}, text, " ", copyButton(typed(text), `Copy the position in ${name}`)),
    ),
  );
  return element("dl", { class: "position", "data-testid": "query-position" }, ...rows);
}
