import { byId } from "./element.js";
import { setStretch, setZoom } from "./picture.js";

/** Stretch, zoom and colours of the pictures: kept in this browser, no part of the address. */
export function startPreferences() {
  keep("stretch", setStretch);
  keep("zoom", (factor) => setZoom(Number(factor)));
  keep("colour", (name) => (document.documentElement.dataset.colour = name));
}

function keep(id, apply) {
  const select = byId(id);
  const stored = recall(id);
  if ([...select.options].some((option) => option.value === stored)) select.value = stored;
  apply(select.value);
  select.addEventListener("change", () => {
    apply(select.value);
    remember(id, select.value);
  });
}

// Browsers may refuse storage (private windows, policies): the choice then lasts as long as the page.
function recall(id) {
  try {
    return localStorage.getItem(`twinjet-${id}`);
  } catch {
    return null;
  }
}

function remember(id, value) {
  try {
    localStorage.setItem(`twinjet-${id}`, value);
  } catch {
    // Nothing is lost but the memory of a preference.
  }
}
