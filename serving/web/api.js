// Talking to the service.

const KEY = "lsr-api-key";

/** What the service refused, and with which key it was asked. */
export class ApiError extends Error {
  constructor(status, error, key) {
    super(error.message);
    Object.assign(this, { status, code: error.code, hint: error.hint, key });
  }
}

export const getKey = () => sessionStorage.getItem(KEY);
export const setKey = (key) => sessionStorage.setItem(KEY, key);

export const indexPath = (index) => `v1/indexes/${encodeURIComponent(index)}`;

/** Ask the service; errors of any kind become an ApiError with a message to show. */
export async function ask(path, body, signal) {
  const key = getKey();
  try {
    return await askWith(key, path, body, signal);
  } catch (error) {
    // A key that has been replaced meanwhile was refused: that says nothing about the new one.
    if (error.status === 401 && key !== getKey()) return ask(path, body, signal);
    throw error;
  }
}

async function askWith(key, path, body, signal) {
  const headers = {};
  if (body) headers["Content-Type"] = "application/json";
  if (key) headers.Authorization = `Bearer ${key}`;
  let response;
  try {
    response = await fetch(path, {
      method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, {
      code: "unreachable", message: "The service does not answer.", hint: "Is it still running?",
    }, key);
  }
  const answer = await response.json().catch(() => null);
  signal?.throwIfAborted();
  if (!response.ok) {
    throw new ApiError(response.status, answer?.error ?? {
      code: "http_error", message: `The service answered ${response.status}.`, hint: "",
    }, key);
  }
  return answer;
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** Return the command that asks the same in a terminal. */
export function curl(path, body) {
  const url = new URL(path, document.baseURI).href;
  const lines = [`curl -s ${quoted(url)}`, "-H 'Content-Type: application/json'"];
  // Never the key itself: commands end up in chats and histories.
  if (getKey()) lines.push('-H "Authorization: Bearer $LSR_KEY"');
  lines.push(`-d ${quoted(JSON.stringify(body))}`);
  return lines.join(" \\\n  ");
}
