import { Problem } from "./api.js";
import { byId, element, fill } from "./element.js";
import { useKey } from "./key.js";

const advice = [
  [/unknown-source/, "Try a part of the name: matching sources appear as you type. A position works too."],
  [/unsupported-media-type/, "Twinjet reads FITS (plain, gzip or tile-compressed), PNG and JPEG."],
  [/no-usable-pixels/, "The cutout must hold finite pixels that are not all alike, with the source in the middle."],
  [/no-generation|index-unavailable/, "Nothing is indexed yet, or the index is away. Whoever runs the service builds one with: twinjet index DIR"],
  [/unauthenticated/, "This service asks for a key. Whoever runs it makes one with: twinjet keys create NAME. It stays in this tab."],
  [/overloaded|too-many-requests/, "Wait some seconds and try again."],
];

/**
 * Show why a search failed, in the words of the service.
 * @param {Error} error
 * @param {{label: string, act: function(): void}} [remedy] a button that may help
 */
export function showProblem(error, remedy) {
  const problem = error instanceof Problem ? error : new Problem({ title: "This page failed", detail: error.message });
  const hint = advice.find(([pattern]) => pattern.test(problem.type))?.[1];
  const small = [
    problem.status ? `HTTP ${problem.status}` : null,
    problem.parameter ? `parameter ${problem.parameter}` : null,
    problem.limit !== null ? `limit ${problem.limit}` : null,
    problem.requestId ? `request ${problem.requestId}` : null,
  ].filter(Boolean);
  fill(
    byId("problem"),
    element("h2", {}, problem.title),
    element("p", { "data-testid": "error-detail" }, problem.detail),
    hint ? element("p", {}, hint) : null,
    problem.status === 401 ? keyForm() : null,
    remedy ? element("button", { type: "button", "data-testid": "remedy", on: { click: remedy.act } }, remedy.label) : null,
    element("small", {}, small.join(" · ")),
  );
  byId("problem").hidden = false;
  byId("where").setAttribute("aria-invalid", String(problem.parameter === "where"));
}

/** A field for a key; with one the page begins anew. */
function keyForm() {
  const field = element("input", { type: "password", "data-testid": "key", autocomplete: "off", maxlength: 200, required: true, "aria-label": "Key" });
  const act = (event) => {
    event.preventDefault();
    useKey(field.value.trim());
    location.reload();
  };
  const button = element("button", { type: "submit", class: "primary" }, "Use this key");
  return element("form", { class: "key", on: { submit: act } }, field, " ", button);
}

/** Take the message away. */
export function clearProblem() {
  byId("problem").hidden = true;
  byId("problem").replaceChildren();
  byId("where").removeAttribute("aria-invalid");
}
