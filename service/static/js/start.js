import { address, getJson } from "./api.js";
import { exampleCard } from "./cards.js";
import { catalogueColumns, columnTitle, isSimulated, learnColumns } from "./columns.js";
import { byId, element, fill } from "./element.js";

const exampleCount = 12;

let simulated = false;

/**
 * Ask once for some sources: they are the examples, and bring the columns and the generation along.
 * @returns {Promise<void>}
 * @throws {Problem}
 */
export async function learnCatalogue() {
  const { sources, columns, generation } = await getJson(address("sources", { limit: exampleCount }));
  simulated = sources.some(({ source }) => isSimulated(source));
  learnColumns(columns);
  fill(byId("examples"), ...sources.map(exampleCard));
  showGeneration(generation);
  showColumns();
}

/**
 * What is being searched, in the head of the page.
 * @param {?Object} generation
 */
export function showGeneration(generation) {
  byId("generation").hidden = !generation;
  if (!generation) return;
  const { number, sources, encoder, catalogue } = generation;
  const encoderName = encoder?.id ?? encoder ?? "";
  const facts = [
    ["generation", number],
    ["sources", sources?.toLocaleString("en")],
    ["catalogue", catalogue?.name ?? catalogue],
    ["encoder", encoderName && element("a", { href: `encoders/${encodeURIComponent(encoderName)}`, title: `Card of encoder ${encoderName}` }, encoderName.slice(0, 8))],
  ].filter(([, value]) => value);
  fill(
    byId("generation"),
    simulated ? element("span", { class: "badge", "data-testid": "simulated" }, "simulated sky") : null,
    element("dl", {}, ...facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)))),
  );
}

/** The columns a filter may name: a click writes the name into the filter. */
function showColumns() {
  const columns = catalogueColumns();
  byId("where-columns").hidden = !columns.length;
  const numeric = columns.find((column) => column.kind === "number");
  byId("where").placeholder = numeric ? `${numeric.name} > ${/redshift|^z$/.test(numeric.name) ? 0.1 : 30}` : "dec > 0";
  const buttons = columns.map((column) =>
    element(
      "li",
      {},
      element("button", { type: "button", title: columnTitle(column), on: { click: () => write(column.name) } }, column.name),
      column.unit ? ` ${column.unit}` : null,
    ),
  );
  fill(byId("where-columns").querySelector("ul"), ...buttons);
}

function write(name) {
  const field = byId("where");
  field.value = field.value.trim() ? `${field.value.trimEnd()} ${name}` : name;
  field.focus();
}
