// Calls of the API of this daemon: JSON, NDJSON streams, errors in words, the API key.
import { askKey } from "./dialogs.js";

/** Where the API is: beside the folder that this file came from, so that a path prefix works. */
export const BASE = new URL("../", import.meta.url);
const STORED = "tollama.key";
const GONE = { code: "daemon_unreachable" };
let key = sessionStorage.getItem(STORED);

const listeners = [];

/** Call back when there is a key, or another one. */
export const onKey = (listener) => listeners.push(listener);

function keep(given) {
  key = given;
  sessionStorage.setItem(STORED, key);
  listeners.forEach((listener) => listener());
}

/** Ask for another key: this one may not do enough. */
export async function changeKey() {
  const given = await askKey(false);
  if (given !== null) keep(given);
}

/** Whether calls carry a key, for the copied commands. */
export const hasKey = () => Boolean(key);

/** An error of the API: its message, stable code, HTTP status and bad fields. */
export class ApiError extends Error {
  constructor(message, { code = "", status = 0, detail = null } = {}) {
    super(message);
    Object.assign(this, { code, status, detail });
  }

  /** The message about one field of the body, if there is one. */
  about(field) {
    const found = Array.isArray(this.detail) && this.detail.find((one) => one.loc?.[1] === field);
    return found ? found.msg : null;
  }
}

async function send(method, path, body, signal) {
  for (let tries = 0; ; tries++) {
    const headers = {};
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (key) headers.Authorization = `Bearer ${key}`;
    let answer;
    try {
      answer = await fetch(new URL(path, BASE), {
        method,
        headers,
        signal,
        body: body === undefined ? undefined : JSON.stringify(body),
        credentials: "same-origin",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(`the daemon at ${BASE.host} does not answer: is it still running?`, GONE);
    }
    if (answer.ok) return answer;
    const error = await read(answer);
    if (answer.status !== 401 || tries > 5) throw error;
    const given = await askKey(tries > 0 || Boolean(key));
    if (given === null) throw error;
    keep(given);
  }
}

async function read(answer) {
  let value = {};
  try {
    value = await answer.json();
  } catch {
    // A proxy's page, perhaps: the status says more than its text.
  }
  return new ApiError(value.error ?? `the daemon answered ${answer.status} ${answer.statusText}`, { ...value, status: answer.status });
}

/** One request, its JSON answer. */
export async function call(method, path, body, signal) {
  const answer = await send(method, path, body, signal);
  return answer.json();
}

/** One request whose answer is NDJSON: each object is yielded as it comes, an error line is thrown. */
export async function* stream(method, path, body, signal) {
  const answer = await send(method, path, body, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        if (error.name === "AbortError") throw error;
        throw new ApiError(`the daemon at ${BASE.host} went away in the middle of its answer: is it still running?`, GONE);
      });
      rest += value ?? "";
      const lines = rest.split("\n");
      rest = done ? "" : lines.pop();
      for (const line of lines) {
        if (!line) continue;
        const event = JSON.parse(line);
        if (event.error && event.code && !("forecast" in event)) throw new ApiError(event.error, event);
        yield event;
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
