import { byId } from "./element.js";

let depth = 0;

/**
 * Take cutouts by choosing, by dropping anywhere on the page, and from the clipboard.
 * @param {function(File): void} take
 */
export function startUploads(take) {
  const input = byId("file");
  input.addEventListener("change", () => {
    if (input.files.length) take(input.files[0]);
    // So that the same file, changed on disk, can be chosen again.
    input.value = "";
  });
  document.addEventListener("dragenter", (event) => {
    if (!bringsFiles(event.dataTransfer)) return;
    depth += 1;
    byId("veil").hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!bringsFiles(event.dataTransfer)) return;
    depth = Math.max(0, depth - 1);
    byId("veil").hidden = depth > 0 ? false : true;
  });
  document.addEventListener("dragover", (event) => {
    if (bringsFiles(event.dataTransfer)) event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    if (!bringsFiles(event.dataTransfer)) return;
    event.preventDefault();
    depth = 0;
    byId("veil").hidden = true;
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    const [file] = event.clipboardData?.files ?? [];
    if (!file) return;
    event.preventDefault();
    take(file);
  });
}

function bringsFiles(transfer) {
  return [...(transfer?.types ?? [])].includes("Files");
}

/**
 * The options under the drop zone, as parameters of the call.
 * @returns {{pixel_scale_arcsec: string, invariant: boolean}}
 */
export function cutoutOptions() {
  return { pixel_scale_arcsec: byId("pixel-scale").value, invariant: byId("invariant").checked };
}

/**
 * @param {function(): void} changed called when an option has a new, valid value
 */
export function onCutoutOptions(changed) {
  for (const id of ["pixel-scale", "invariant"]) {
    byId(id).addEventListener("change", () => byId(id).reportValidity() && changed());
  }
}

/**
 * How far an upload has come.
 * @param {?number} part 0 to 1 while sending, 1 when the service is at work, null when all is over
 */
export function showProgress(part) {
  const box = byId("progress");
  const [bar, text] = box.children;
  box.hidden = part === null;
  if (part !== null && part < 1) bar.value = part;
  else bar.removeAttribute("value");
  text.textContent = part !== null && part < 1 ? `Sending, ${Math.round(100 * part)} %` : "Reading the cutout and searching";
}
