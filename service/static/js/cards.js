import { address, ownLink } from "./api.js";
import { columnLabel, columnText, columnTitle, isSimulated } from "./columns.js";
import { element } from "./element.js";
import { saveWithKey } from "./key.js";
import { cutoutLink, fieldOf, picture } from "./picture.js";
import { degrees } from "./position.js";
import { similarityMark, similarityText } from "./similarity.js";

// Few enough that cards stay of one height; the comparison shows all.
const columnsOnCard = 4;
const pictureSize = 300;

/**
 * Address of the page that searches on from a source.
 * @param {string} sourceId
 * @returns {string}
 */
export function searchOn(sourceId) {
  return address("./", { id: sourceId });
}

/**
 * One neighbour.
 * @param {Object} neighbour as the service gives it
 * @param {Object[]} columns measured columns, the telling ones first
 * @param {function(number): void} compare called with the rank
 * @returns {HTMLElement}
 */
export function neighbourCard(neighbour, columns, compare) {
  const { rank, similarity, percentile, source, links } = neighbour;
  const link = element(
    "a",
    {
      href: searchOn(source.source_id),
      class: "onward",
      "data-source": source.source_id,
      title: "Find the twins of this one",
    },
    source.source_id,
  );
  return element(
    "li",
    { class: "card", "data-testid": "result-card", "data-source-id": source.source_id },
    element(
      "div",
      { class: "shot" },
      picture(
        { url: cutoutLink(neighbour), field: fieldOf(neighbour) },
        { alt: `Radio picture of ${source.source_id}`, size: pictureSize },
      ),
      element("span", { class: "rank", title: `Rank ${rank}` }, rank),
      isSimulated(source) ? element("span", { class: "badge" }, "simulated") : null,
    ),
    element(
      "div",
      { class: "text" },
      similarityMark(similarity, percentile),
      element("h3", {}, link),
      element("p", { class: "where-on-sky" }, degrees(source.ra, source.dec), surveyText(source)),
      columnList(columns.slice(0, columnsOnCard), source),
      element(
        "p",
        { class: "actions" },
        element(
          "button",
          {
            type: "button",
            "data-testid": "compare-button",
            "aria-label": `Compare ${source.source_id}, similarity ${similarityText(similarity)}, with the query`,
            on: { click: () => compare(rank) },
          },
          "Compare",
        ),
        ...fileLinks(links, source.source_id),
      ),
    ),
  );
}

function surveyText(source) {
  return source.survey ? element("span", { class: "survey" }, source.survey) : null;
}

/**
 * Measured columns as a list of terms.
 * @param {Object[]} columns
 * @param {Object} source
 * @returns {HTMLElement}
 */
export function columnList(columns, source) {
  const rows = columns.map((column) =>
    element(
      "div",
      { title: columnTitle(column) },
      element("dt", {}, columnLabel(column)),
      element("dd", {}, columnText(source[column.name], column)),
    ),
  );
  return element("dl", { class: "measured" }, ...rows);
}

/**
 * Links to the pixels and the record of a source.
 * @param {?Object} links
 * @param {string} sourceId
 * @returns {HTMLElement[]}
 */
export function fileLinks(links, sourceId) {
  const wanted = [
    ["FITS", links?.cutout_fits, true],
    ["PNG", links?.cutout_png, false],
    ["JSON", links?.self, false],
  ];
  return wanted
    .filter(([, link]) => link)
    .map(([label, link, download]) =>
      element("a", { href: ownLink(link), download, on: { click: saveWithKey }, "aria-label": `${label} of ${sourceId}` }, label),
    );
}

/**
 * A small card that starts a search: picture and ID.
 * @param {Object} item a source with its links
 * @returns {HTMLElement}
 */
export function exampleCard(item) {
  const { source } = item;
  return element(
    "li",
    {},
    element(
      "a",
      { href: searchOn(source.source_id), "data-source": source.source_id, "data-testid": "example" },
      picture({ url: cutoutLink(item, source.source_id), field: fieldOf(item) }, { alt: "", size: pictureSize }),
      element("span", {}, source.source_id),
    ),
  );
}
