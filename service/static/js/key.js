/** The reader's key, where the service asks for one: kept in this tab, sent with every call. */

const place = "twinjet-key";

// Browsers may refuse storage (private windows, policies): the key then lasts as long as the page.
let held = stored();

function stored() {
  try {
    return sessionStorage.getItem(place) ?? "";
  } catch {
    return "";
  }
}

/** Use another key from now on; an empty one is none. */
export function useKey(key) {
  held = key;
  try {
    sessionStorage.setItem(place, key);
  } catch {
    // Nothing is lost but the memory of it.
  }
}

/** @returns {Object<string, string>} what a call has to send besides */
export function keyHeaders() {
  return held ? { Authorization: `Bearer ${held}` } : {};
}

/**
 * An address that a picture or a link can have: they send no key, so with one the bytes are fetched before.
 * @param {string} url
 * @returns {Promise<string>} the address itself without a key, else a data URL
 */
export async function openAddress(url) {
  if (!held || url.startsWith("data:")) return url;
  const response = await fetch(new URL(url, document.baseURI), { headers: keyHeaders() });
  if (!response.ok) throw new Error(`The service answered ${response.status}`);
  const bytes = await response.blob();
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(bytes);
  });
}

/** Of a click on a link to a file: with a key, fetch it and save it. */
export async function saveWithKey(event) {
  if (!held) return;
  event.preventDefault();
  const link = event.currentTarget;
  const copy = link.cloneNode();
  copy.download = decodeURIComponent(new URL(link.href).pathname.split("/").at(-1));
  copy.href = await openAddress(link.href);
  copy.click();
}
