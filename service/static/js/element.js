/**
 * Make an element. Text goes in as text nodes only: IDs and catalogue values may hold anything.
 * @param {string} tag name of the element
 * @param {Object<string, *>} [attributes] attributes; `class`, `on` ({event: listener}) and booleans are
 *   understood; null and false are left out
 * @param {...(Node|string|number|null)} children
 * @returns {HTMLElement}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    } else {
      made.setAttribute(name, value === true ? "" : String(value));
    }
  }
  fill(made, ...children);
  return made;
}

/**
 * Replace what an element holds.
 * @param {Element} parent
 * @param {...(Node|string|number|null)} children null ones are left out
 */
export function fill(parent, ...children) {
  parent.replaceChildren(...children.filter((child) => child !== null && child !== undefined).map(asNode));
}

// Controls that could reorder or hide the text around them (an ID may hold any): shown as a question mark.
const unprintable = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069]/g;

function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child).replace(unprintable, "\ufffd"));
}

/**
 * The element with this id, which the template promises.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  return document.getElementById(id);
}

const clipboardSettleMs = 1600;

/**
 * A button that copies a text.
 * @param {string} text what is copied
 * @param {string} label what the button says to those who cannot see it
 * @param {string} [face] what it says to those who can
 * @returns {HTMLElement}
 */
export function copyButton(text, label, face = "Copy") {
  const button = element("button", { type: "button", class: "copy", "aria-label": label, title: label }, face);
  button.addEventListener("click", async () => {
    button.textContent = (await copied(text)) ? "Copied" : "Press Ctrl+C";
    setTimeout(() => (button.textContent = face), clipboardSettleMs);
  });
  return button;
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Plain http has no clipboard API: fall back on a selected, invisible field.
    const field = element("textarea", { class: "visually-hidden", readonly: true }, text);
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}
