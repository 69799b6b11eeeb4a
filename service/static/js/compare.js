import { fileLinks, searchOn } from "./cards.js";
import { columnLabel, columnText, columnTitle, measuredColumns } from "./columns.js";
import { byId, element, fill } from "./element.js";
import { cutoutLink, fieldOf, picture } from "./picture.js";
import { degrees } from "./position.js";
import { queryView } from "./query.js";
import { similarityMark } from "./similarity.js";

const pictureSize = 600;

let query = null;
let neighbours = [];
let at = 0;

/** Wire the comparison's keys: arrows walk along the list. */
export function startComparison() {
  byId("compare").addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && event.target.type !== "range") walk(step);
  });
  // A click on the backdrop is a click on the dialog itself.
  byId("compare").addEventListener("click", (event) => event.target === byId("compare") && byId("compare").close());
}

/**
 * Show the query and one neighbour side by side.
 * @param {Object} asked the query as the service repeats it
 * @param {Object[]} shown all neighbours on the page
 * @param {number} rank of the neighbour to begin with
 */
export function compare(asked, shown, rank) {
  query = asked;
  neighbours = shown;
  at = shown.findIndex((neighbour) => neighbour.rank === rank);
  draw();
  byId("compare").showModal();
}

/** Close the comparison, if it is open. */
export function closeComparison() {
  if (byId("compare").open) byId("compare").close();
}

function walk(step) {
  const next = at + step;
  if (next < 0 || next >= neighbours.length) return;
  at = next;
  const held = document.activeElement?.dataset.hold;
  draw();
  const again = held && byId("compare").querySelector(`[data-hold="${held}"]`);
  (again && !again.disabled ? again : byId("compare").querySelector("[data-hold=close]")).focus();
}

function draw() {
  const neighbour = neighbours[at];
  const { source, rank } = neighbour;
  const asked = queryView(query);
  const twin = picture(
    { url: cutoutLink(neighbour), field: fieldOf(neighbour) },
    { alt: `Radio picture of ${source.source_id}`, size: pictureSize, eager: true },
  );
  fill(
    byId("compare"),
    element(
      "div",
      { class: "compare-head" },
      element("h2", {}, "Side by side"),
      step("previous", -1, "\u2190", at === 0),
      element("span", { role: "status" }, `Rank ${rank}`),
      step("next", 1, "\u2192", at === neighbours.length - 1),
      element("button", { type: "button", "data-hold": "close", "data-testid": "compare-close", on: { click: closeComparison } }, "Close"),
    ),
    element(
      "div",
      { class: "pair" },
      element(
        "figure",
        {},
        picture(asked.view, { alt: `Radio picture of the query, ${asked.title}`, size: pictureSize, eager: true }),
        element("figcaption", {}, element("span", {}, "Query"), element("b", {}, asked.title)),
      ),
      element(
        "figure",
        {},
        twin,
        element("figcaption", {}, element("span", {}, `Rank ${rank}`), element("b", {}, source.source_id)),
        turning(twin),
      ),
    ),
    element(
      "div",
      { class: "side" },
      similarityMark(neighbour.similarity, neighbour.percentile),
      table(asked, source),
      element(
        "p",
        { class: "actions" },
        element("a", { href: searchOn(source.source_id), "data-source": source.source_id }, "Find the twins of this one"),
        ...fileLinks(neighbour.links, source.source_id),
      ),
    ),
  );
}

function step(name, by, sign, disabled) {
  return element("button", { type: "button", "data-hold": name, "aria-label": `${name} neighbour`, disabled, on: { click: () => walk(by) } }, sign);
}

/** Controls that turn and mirror the twin, since the sky does not care which way a source lies. */
function turning(twin) {
  const angle = element("input", { type: "range", min: -180, max: 180, step: 5, value: 0, "data-testid": "turn" });
  const mirror = element("input", { type: "checkbox", "data-testid": "mirror" });
  const shown = element("output", {}, "0°");
  const turn = () => {
    const image = twin.querySelector("img");
    if (image) image.style.transform = `rotate(${angle.value}deg) scaleX(${mirror.checked ? -1 : 1})`;
    twin.classList.toggle("turned", angle.value !== "0" || mirror.checked);
    shown.textContent = `${angle.value}°`.replace("-", "\u2212");
  };
  angle.addEventListener("input", turn);
  mirror.addEventListener("change", turn);
  return element(
    "div",
    { class: "turning" },
    element("label", {}, "Turn ", angle, shown),
    element("label", { class: "check" }, mirror, " Mirror"),
  );
}

function table(asked, source) {
  const both = [asked.source, source].filter(Boolean);
  const rows = measuredColumns(both).map((column) =>
    element(
      "tr",
      {},
      element("th", { scope: "row", title: columnTitle(column) }, columnLabel(column)),
      element("td", {}, columnText(asked.source?.[column.name], column)),
      element("td", {}, columnText(source[column.name], column)),
    ),
  );
  const where = (one) => (one ? degrees(one.ra, one.dec) : "\u2013");
  return element(
    "table",
    {},
    element("thead", {}, element("tr", {}, element("td"), element("th", { scope: "col" }, "Query"), element("th", { scope: "col" }, "Twin"))),
    element(
      "tbody",
      {},
      element("tr", {}, element("th", { scope: "row" }, "position"), element("td", {}, where(asked.source)), element("td", {}, where(source))),
      ...rows,
    ),
  );
}
