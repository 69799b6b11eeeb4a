import { address, ownLink, sourcePath } from "./api.js";
import { element } from "./element.js";
import { openAddress } from "./key.js";

// Round lengths for the scale bar, in arcsec; the longest that fits a third of the picture is taken.
const barLengths = [0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600];

// The longest side asked for: a zoomed picture needs more pixels, but cutouts hold only so many.
const largestPicture = 1000;

let stretch = "asinh";
let zoom = 1;

/**
 * Choose the stretch of this and every later picture; pictures already shown are fetched again.
 * @param {string} name asinh, linear, log or sqrt
 */
export function setStretch(name) {
  stretch = name;
  refresh();
}

/**
 * Magnify the middle of every picture; the style sheet scales them, by `data-zoom` of the page.
 * @param {number} factor
 */
export function setZoom(factor) {
  zoom = factor;
  document.documentElement.dataset.zoom = factor;
  refresh();
}

function refresh() {
  for (const image of document.querySelectorAll("img[data-cutout]")) {
    show(image, stretched(image.dataset.cutout, Number(image.dataset.size)));
  }
  for (const frame of document.querySelectorAll(".sky[data-field]")) {
    frame.querySelector(".scale").replaceWith(scaleBar(frame.dataset.field / zoom));
  }
}

// What each picture is to show; the answer to an earlier wish may come later.
const wanted = new WeakMap();

// A service that is busy refuses for a moment: so often, and so many ms later, it is asked again.
const chances = 2;
const pause = 1000;
const failures = new WeakMap();

function failed(image) {
  image.parentElement?.classList.add("blank");
  const times = failures.get(image) ?? 0;
  failures.set(image, times + 1);
  const url = wanted.get(image);
  if (times < chances && url) setTimeout(() => wanted.get(image) === url && show(image, url), pause);
}

function show(image, url) {
  wanted.set(image, url);
  openAddress(url).then(
    (source) => wanted.get(image) === url && (image.src = source),
    () => image.dispatchEvent(new Event("error")),
  );
}

function stretched(url, size) {
  return address(url, { size: Math.min(largestPicture, size * zoom), stretch });
}

/**
 * @param {?Object} item a neighbour or source with `links`
 * @param {?string} [sourceId] used when the item carries no links
 * @returns {?string} address of the picture, without stretch and size; null when there are no pixels
 */
export function cutoutLink(item, sourceId = null) {
  if (item?.links) return item.links.cutout_png ? ownLink(item.links.cutout_png) : null;
  return sourceId === null ? null : `${sourcePath(sourceId)}/cutout.png`;
}

/**
 * A square picture of the sky.
 * @param {{url: ?string, data: ?string, field: ?number}} view `url` of a cutout, or `data` URL of a preview;
 *   `field` is the side in arcsec, when known, and brings a scale bar
 * @param {{alt: string, size: number, eager: ?boolean}} how size in pixels
 * @returns {HTMLElement}
 */
export function picture(view, { alt, size, eager = false }) {
  const frame = element("span", { class: "sky" });
  const source = view.data?.startsWith("data:image/") ? view.data : view.url && stretched(view.url, size);
  if (!source) {
    frame.classList.add("blank");
    return frame;
  }
  const image = element("img", {
    alt,
    width: size,
    height: size,
    decoding: "async",
    loading: eager ? "eager" : "lazy",
    draggable: "false",
    "data-cutout": view.data ? null : view.url,
    "data-size": size,
    on: {
      error: (event) => failed(event.target),
      load: () => frame.classList.remove("blank"),
    },
  });
  show(image, source);
  frame.append(image);
  if (view.field > 0) {
    frame.dataset.field = view.field;
    frame.append(scaleBar(view.field / zoom));
  }
  return frame;
}

function scaleBar(field) {
  const fitting = barLengths.filter((length) => length <= field / 3);
  const length = fitting.at(-1) ?? barLengths[0];
  const text = length < 60 ? `${length}\u2033` : `${length / 60}\u2032`;
  const rule = element("i");
  rule.style.width = `${(100 * length) / field}%`;
  return element("span", { class: "scale", "aria-hidden": "true" }, rule, element("b", {}, text));
}

/**
 * Side of a cutout on the sky in arcsec, if the answer tells.
 * @param {?Object} item
 * @returns {?number}
 */
export function fieldOf(item) {
  const field = item?.field_arcsec ?? null;
  return Array.isArray(field) ? Math.max(...field) : field;
}
