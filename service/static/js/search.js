import { address, getJson } from "./api.js";
import { byId, element, fill } from "./element.js";
import { cutoutLink, picture } from "./picture.js";
import { degrees, parsePosition } from "./position.js";

const pauseMs = 160;
const suggestionCount = 8;
const thumbnailSize = 96;

let items = [];
let active = -1;
let asked = null;
let timer = 0;

/**
 * The search box: a combobox (ARIA 1.2, list autocomplete) over GET /sources?name=.
 * @param {Object} act
 * @param {function(Object): void} act.search gets {kind: "source", id} or {kind: "position", ra, dec, radius}
 * @param {function(Error): void} act.fail
 * @param {function(string): void} act.say announces a text
 */
export function startSearchBox({ search, fail, say }) {
  const box = byId("search-box");
  box.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => suggest(box.value, say), pauseMs);
  });
  box.addEventListener("keydown", (event) => onKey(event, box, search));
  box.addEventListener("blur", close);
  byId("search-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    clearTimeout(timer);
    close();
    const text = box.value.trim();
    if (!text) return box.focus();
    try {
      const query = await understand(text, Number(byId("radius").value), say);
      if (query) search(query);
    } catch (error) {
      if (error.name !== "AbortError") fail(error);
    }
  });
  byId("suggestions").addEventListener("pointerdown", (event) => event.preventDefault());
  byId("suggestions").addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) choose(items[Number(option.dataset.index)], box, search);
  });
}

/** What a typed text asks for; null when several sources fit and the reader is shown them instead. */
async function understand(text, radius, say) {
  const found = await matches(text);
  const named = found.filter((item) => item.match !== "position");
  if (named.length === 1 || named[0]?.match === "id" || sameName(named[0], text)) {
    return { kind: "source", id: named[0].source.source_id };
  }
  const position = parsePosition(text);
  if (position) return { kind: "position", ...position, radius };
  if (named.length > 1) {
    open(named);
    say(`${named.length} sources contain this text. Choose one with the arrow keys.`);
    return null;
  }
  // Unknown as it stands: the service refuses it in its own words, or knows better than we do.
  return { kind: "source", id: found[0]?.source.source_id ?? text };
}

function sameName(item, text) {
  const bare = (name) => name.toLowerCase().replace(/[\s+\u2010-\u2015\u2212-]+/g, "");
  return item !== undefined && bare(item.source.source_id) === bare(text);
}

async function matches(text) {
  asked?.abort();
  asked = new AbortController();
  const answer = await getJson(address("sources", { name: text, limit: suggestionCount }), asked.signal);
  return answer.sources ?? [];
}

async function suggest(text, say) {
  if (text.trim().length < 2) return close();
  try {
    const found = await matches(text.trim());
    if (document.activeElement !== byId("search-box")) return;
    open(found);
    say(found.length ? `${found.length} suggestions` : "No suggestions");
  } catch {
    // Suggestions are a convenience: a failure is told when the search itself is sent.
    close();
  }
}

function open(found) {
  items = found;
  active = -1;
  const options = found.map((item, index) => suggestion(item, index));
  fill(byId("suggestions"), ...options);
  byId("suggestions").hidden = !found.length;
  byId("search-box").setAttribute("aria-expanded", String(found.length > 0));
  byId("search-box").removeAttribute("aria-activedescendant");
}

function close() {
  asked?.abort();
  open([]);
}

function suggestion(item, index) {
  const { source, match, separation_arcsec: separation } = item;
  const near = match === "position" && Number.isFinite(separation) ? `${separation.toFixed(1)}\u2033 away, ` : "";
  return element(
    "li",
    { role: "option", id: `suggestion-${index}`, "data-index": index, "aria-selected": "false", "data-testid": "suggestion" },
    picture({ url: cutoutLink(item, source.source_id) }, { alt: "", size: thumbnailSize, eager: true }),
    element("span", {}, element("b", {}, source.source_id), element("small", {}, near + degrees(source.ra, source.dec))),
  );
}

function onKey(event, box, search) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && items.length) {
    event.preventDefault();
    mark((active + step + items.length + (active < 0 && step < 0 ? 1 : 0)) % items.length);
  } else if (step === 1 && box.value.trim()) {
    box.dispatchEvent(new Event("input"));
  } else if (event.key === "Enter" && active >= 0) {
    event.preventDefault();
    choose(items[active], box, search);
  } else if (event.key === "Escape" && items.length) {
    event.preventDefault();
    close();
  }
}

function mark(index) {
  active = index;
  [...byId("suggestions").children].forEach((option, at) => {
    option.setAttribute("aria-selected", String(at === index));
    if (at === index) option.scrollIntoView({ block: "nearest" });
  });
  byId("search-box").setAttribute("aria-activedescendant", `suggestion-${index}`);
}

function choose(item, box, search) {
  clearTimeout(timer);
  box.value = item.source.source_id;
  close();
  search({ kind: "source", id: item.source.source_id });
}
