import { neighbourCard } from "./cards.js";
import { measuredColumns } from "./columns.js";
import { compare } from "./compare.js";
import { saveText, toCsv } from "./csv.js";
import { byId, element, fill } from "./element.js";
import { queryView, showQuery } from "./query.js";

// Enough to fill a screen while the answer is under way.
const skeletonCount = 8;

let answer = null;
let shown = [];

/** Grey cards while the service is at work. */
export function showWaiting() {
  byId("start").hidden = true;
  byId("answer").hidden = false;
  byId("answer").setAttribute("aria-busy", "true");
  byId("found").textContent = "Searching\u2026";
  byId("empty").hidden = true;
  byId("more").hidden = true;
  byId("export").disabled = true;
  const ghosts = Array.from({ length: skeletonCount }, () =>
    element("li", { class: "card ghost", "aria-hidden": "true" }, element("div", { class: "shot" }, element("span", { class: "sky" })), element("div", { class: "text" })),
  );
  fill(byId("grid"), ...ghosts);
}

/** Take the results away. */
export function hideResults() {
  answer = null;
  shown = [];
  byId("answer").hidden = true;
}

/**
 * Take the waiting state away, with what was shown before it if it is still the answer to the same query.
 * @param {boolean} keep show the last answer again
 */
export function endWaiting(keep) {
  byId("answer").removeAttribute("aria-busy");
  if (!keep || !answer) return hideResults();
  const more = { ...answer, neighbours: shown };
  shown = [];
  showAnswer(more);
}

/**
 * @param {Object} received an answer of /similar
 * @returns {string} one sentence on it, to be announced
 */
export function showAnswer(received) {
  answer = received;
  byId("answer").hidden = false;
  byId("answer").removeAttribute("aria-busy");
  showQuery(byId("query"), received.query);
  fill(byId("grid"));
  shown = [];
  append(received);
  const none = received.neighbours.length === 0;
  byId("empty").hidden = !none;
  byId("empty").textContent = none ? "No source passes the filter. Loosen it, or take it away." : "";
  byId("export").disabled = none;
  return `${shown.length} neighbours of ${queryView(received.query).title}`;
}

/**
 * Add the next page of the same answer.
 * @param {Object} received
 * @returns {string}
 */
export function appendAnswer(received) {
  const before = shown.length;
  append(received);
  byId("grid").children[before]?.querySelector("a.onward").focus({ preventScroll: true });
  return `${shown.length - before} more neighbours, ${shown.length} in all`;
}

/** @returns {?string} address of the next page */
export function nextPage() {
  return answer?.next ?? null;
}

function append(received) {
  answer = { ...answer, next: received.next ?? null };
  shown = [...shown, ...received.neighbours];
  const columns = measuredColumns(shown.map((neighbour) => neighbour.source));
  const cards = received.neighbours.map((neighbour) =>
    neighbourCard(neighbour, columns, (rank) => compare(answer.query, shown, rank)),
  );
  byId("grid").append(...cards);
  byId("more").hidden = !answer.next;
  byId("found").textContent = summary(received);
}

function summary({ generation, tookMs: spent }) {
  const among = generation?.sources ? ` of ${generation.sources.toLocaleString("en")} sources` : "";
  const how = generation?.exact === true ? ", every one compared exactly" : "";
  const time = spent > 0 ? `, in ${spent < 10 ? spent.toFixed(1) : Math.round(spent)} ms` : "";
  return `${shown.length}${among}${how}${time}`;
}

/** Save what is shown as CSV; its name tells query and generation. */
export function exportShown() {
  const name = `twinjet_${queryView(answer.query).title}_generation${answer.generation?.number ?? ""}.csv`;
  saveText(toCsv(shown), name);
}
