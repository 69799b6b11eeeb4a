/** The page: reads the address, asks the service, shows the answer. */
import { getJson, ownLink, postFile } from "./api.js";
import { closeComparison, startComparison } from "./compare.js";
import { byId } from "./element.js";
import { startPreferences } from "./preferences.js";
import { clearProblem, showProblem } from "./problem.js";
import { appendAnswer, endWaiting, exportShown, hideResults, nextPage, showAnswer, showWaiting } from "./results.js";
import { callFor, defaultRadiusArcsec, readAddress, writeAddress } from "./route.js";
import { startSearchBox } from "./search.js";
import { learnCatalogue, showGeneration } from "./start.js";
import { cutoutOptions, onCutoutOptions, showProgress, startUploads } from "./upload.js";

const wider = 4;

let current = readAddress();
let running = null;
let shownAddress = null;

function say(text) {
  byId("status").textContent = text;
}

/** Search for something new: a step of history. */
function search(query) {
  current = { k: current.k, where: current.where, ...query };
  writeAddress(current);
  window.scrollTo(0, 0);
  run({ focus: true });
}

/** The same query in another view: no step of history. */
function refine(change) {
  current = { ...current, ...change };
  writeAddress(current, { replace: true });
  run({ keep: true });
}

async function run({ focus = false, keep = false } = {}) {
  running?.abort();
  const mine = (running = new AbortController());
  clearProblem();
  closeComparison();
  showProgress(null);
  shownAddress = location.search;
  writeControls();
  if (asksNothing()) return showStart();
  showSearching();
  try {
    const answer = await ask(callFor(current, cutoutOptions()), mine.signal);
    if (mine.signal.aborted) return;
    say(showAnswer(answer));
    showGeneration(answer.generation);
    nameProperly(answer.query);
    document.title = `${answer.query.source?.source_id ?? "Your cutout"}: twins \u00b7 Twinjet`;
    if (focus) byId("twins-title").focus({ preventScroll: true });
  } catch (error) {
    if (error.name === "AbortError") return;
    endWaiting(keep);
    byId("start").hidden = keep;
    if (!keep) document.title = "Twinjet";
    fail(error);
  } finally {
    if (!mine.signal.aborted) showProgress(null);
  }
}

function asksNothing() {
  return current.kind === "start" || current.kind === "lost";
}

function showSearching() {
  document.body.dataset.view = "answer";
  showWaiting();
  say("Searching");
}

/** The service may know the source by a fuller or cleaner name than was typed: the address takes that one. */
function nameProperly(query) {
  const id = query.source?.source_id;
  if (current.kind !== "source" || !id || id === current.id) return;
  current = { ...current, id };
  writeAddress(current, { replace: true });
  shownAddress = location.search;
  byId("search-box").value = id;
}

function ask(url, signal) {
  if (current.kind !== "upload") return getJson(url, signal);
  showProgress(0);
  return postFile(url, current.file, { signal, onProgress: showProgress });
}

function fail(error) {
  say("");
  const farther = current.kind === "position" && /position/.test(error.type ?? "") ? current.radius * wider : null;
  const remedy = farther && {
    label: `Look within ${farther} arcsec`,
    act: () => search({ kind: "position", ra: current.ra, dec: current.dec, radius: farther }),
  };
  showProblem(error, remedy);
}

function showStart() {
  document.title = "Twinjet: find radio galaxies that look alike";
  document.body.dataset.view = "start";
  hideResults();
  byId("start").hidden = false;
  say(current.kind === "lost" ? "Uploads are not kept. Choose the cutout again to see its twins." : "");
  byId("lost").hidden = current.kind !== "lost";
}

function writeControls() {
  byId("lost").hidden = true;
  byId("where").value = current.where;
  const k = byId("k");
  if (![...k.options].some((option) => option.value === String(current.k))) k.append(new Option(current.k));
  k.value = String(current.k);
  if (current.kind === "source") byId("search-box").value = current.id;
  if (current.kind === "position") byId("search-box").value = `${current.ra} ${current.dec}`;
  if (current.kind === "upload" || current.kind === "start") byId("search-box").value = "";
  byId("radius").value = current.kind === "position" ? current.radius : defaultRadiusArcsec;
}

async function more() {
  byId("more").disabled = true;
  try {
    say(appendAnswer(await ask(ownLink(nextPage()), running.signal)));
  } catch (error) {
    if (error.name !== "AbortError") fail(error);
  } finally {
    byId("more").disabled = false;
    showProgress(null);
  }
}

/** Plain clicks on links to sources stay in the page; with a modifier key they open tabs as ever. */
function onLink(event) {
  const link = event.target.closest("a[data-source], #home");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.button !== 0) return;
  event.preventDefault();
  if (link.id === "home") search({ kind: "start", where: "" });
  else search({ kind: "source", id: link.dataset.source });
}

startPreferences();
startComparison();
startSearchBox({ search, fail, say });
startUploads((file) => search({ kind: "upload", file }));
onCutoutOptions(() => current.kind === "upload" && run({ keep: true }));
document.addEventListener("click", onLink);
window.addEventListener("popstate", () => {
  // The skip link changes nothing but the fragment. Uploads share one address and differ in their state.
  if (location.search === shownAddress && !history.state) return;
  current = readAddress();
  run();
});
byId("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  refine({ where: byId("where").value.trim() });
});
byId("k").addEventListener("change", () => refine({ k: Number(byId("k").value) }));
byId("more").addEventListener("click", more);
byId("export").addEventListener("click", exportShown);
if (!asksNothing()) showSearching();
// The columns' units come with the catalogue, so it is asked first; a search goes on without it.
learnCatalogue().then(
  () => run(),
  (error) => run().then(() => current.kind === "start" && fail(error)),
);
