/** Calls of the HTTP interface. Addresses are relative to the page, so a path prefix does no harm. */

import { keyHeaders } from "./key.js";

/** A refusal, in the terms of RFC 9457, or no answer at all (status 0). */
export class Problem extends Error {
  constructor(members) {
    super(members.detail ?? members.title);
    this.title = members.title ?? "The search failed";
    this.detail = members.detail ?? "";
    this.status = members.status ?? 0;
    this.type = members.type ?? "about:blank";
    this.parameter = members.parameter ?? null;
    this.limit = members.limit ?? null;
    this.actual = members.actual ?? null;
    this.requestId = members.request_id ?? null;
  }
}

/**
 * An address with its query; `+` becomes %2B and a space %20, which no server reads two ways.
 * @param {string} path relative path
 * @param {Object<string, *>} [parameters] null, false and empty ones are left out
 * @returns {string}
 */
export function address(path, parameters = {}) {
  const pairs = Object.entries(parameters)
    .filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false)
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(String(value))}`);
  const joint = path.includes("?") ? "&" : "?";
  return pairs.length ? `${path}${joint}${pairs.join("&")}` : path;
}

/**
 * A link out of an answer, kept on this origin (behind a proxy the service may not know its own host).
 * @param {string} link
 * @returns {string}
 */
export function ownLink(link) {
  const { pathname, search } = new URL(link, document.baseURI);
  return `${location.origin}${pathname}${search}`;
}

/** Path of a catalogued source; its ID is one path segment whatever it holds. */
export function sourcePath(sourceId) {
  return `sources/${encodeURIComponent(sourceId)}`;
}

/**
 * @param {string} url
 * @param {AbortSignal} [signal]
 * @returns {Promise<Object>}
 * @throws {Problem}
 */
export async function getJson(url, signal) {
  let response;
  try {
    response = await fetch(new URL(url, document.baseURI), { signal, headers: { Accept: "application/json", ...keyHeaders() } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw silence();
  }
  return understood(response.status, await response.text(), response.headers.get("Server-Timing"));
}

/**
 * Send a cutout. XMLHttpRequest, because fetch does not tell how far an upload has come.
 * @param {string} url
 * @param {File} file
 * @param {{onProgress: function(number): void, signal: AbortSignal}} watch progress runs from 0 to 1
 * @returns {Promise<Object>}
 * @throws {Problem}
 */
export function postFile(url, file, { onProgress, signal }) {
  const body = new FormData();
  body.append("file", file, file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", new URL(url, document.baseURI));
    const sent = { Accept: "application/json", ...keyHeaders() };
    for (const [name, value] of Object.entries(sent)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onerror = () => reject(silence(file));
    request.onabort = () => reject(new DOMException("Aborted", "AbortError"));
    request.onload = () => {
      try {
        resolve(understood(request.status, request.responseText, request.getResponseHeader("Server-Timing")));
      } catch (problem) {
        reject(problem);
      }
    };
    signal.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

function understood(status, text, timing) {
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // Something between us and the service answered: judged by its status alone, below.
  }
  if (status >= 200 && status < 300 && body !== null) return { ...body, tookMs: Number(/total;dur=([\d.]+)/.exec(timing)?.[1]) };
  throw new Problem({ title: `The service answered ${status}`, ...body, status });
}

function silence(file) {
  const size = file ? ` The file has ${(file.size / 1e6).toFixed(1)} MB; it may be more than the service takes.` : "";
  return new Problem({ title: "No answer", detail: `The service did not answer. Is it still running?${size}` });
}
