// What the page asks of the server. Players use fetch or XMLHttpRequest; both are watched here.

const KEY = /\/aes128(\/[0-9a-f-]{32,36}(\.key|\.bin)?)?$/i;
const LICENCE = /\/(license|clearkey|fairplay(\/certificate(\/[^/]+)?)?)$/i;

const path = (url) => new URL(url, location.href).pathname;

/** Whether a URL is that of an AES-128 key. */
export const isKey = (url) => KEY.test(path(url));

const isOfServer = (url) => isKey(url) || LICENCE.test(path(url));

/** A URL without the token in its query. */
function shown(url) {
  const whole = new URL(url, location.href);
  if (whole.searchParams.has('token')) whole.searchParams.set('token', '…');
  return decodeURI(whole.href);
}

const sentToken = (url, authorization) =>
  authorization?.replace(/^Bearer\s+/i, '') ?? new URL(url, location.href).searchParams.get('token') ?? '';

/** The problem document (RFC 9457) of a refusal, or `undefined` where the answer is something else. */
function problem(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function bodyOf(xhr) {
  const { responseType, response } = xhr;
  if (responseType === 'arraybuffer') return new TextDecoder().decode(response ?? new ArrayBuffer());
  if (responseType === 'blob') return response?.text();
  return responseType === 'json' ? JSON.stringify(response) : response;
}

/**
 * Calls `seen` with each request for a licence, a key or a certificate:
 * `{ method, url, status, code, requestId, milliseconds, token, problem }`. A status of 0 is no answer;
 * `problem` is there for refusals.
 */
export function watchRequests(seen) {
  const ended = async ({ method, url, began, authorization }, status, header, body) => {
    const milliseconds = performance.now() - began;
    const isRefused = status >= 400;
    seen({
      method,
      url: shown(url),
      status,
      code: header('x-keylet-code'),
      requestId: header('x-request-id'),
      milliseconds,
      token: sentToken(url, authorization),
      problem: isRefused ? problem(await body()) : undefined,
    });
  };

  const { fetch } = window;
  window.fetch = async (resource, options) => {
    const request = resource instanceof Request ? resource : undefined;
    const url = request?.url ?? String(resource);
    if (!isOfServer(url)) return fetch(resource, options);
    const headers = new Headers(options?.headers ?? request?.headers);
    const method = options?.method ?? request?.method ?? 'GET';
    const asked = { method, url, began: performance.now(), authorization: headers.get('authorization') };
    try {
      const response = await fetch(resource, options);
      const copy = response.clone();
      ended(asked, response.status, (name) => copy.headers.get(name), () => copy.text());
      return response;
    } catch (error) {
      if (error.name !== 'AbortError') ended(asked, 0, () => null);
      throw error;
    }
  };

  const { open, send, setRequestHeader } = XMLHttpRequest.prototype;
  const asked = new WeakMap();
  XMLHttpRequest.prototype.open = function (method, url, ...rest) {
    asked.set(this, { method, url: String(url) });
    return open.call(this, method, url, ...rest);
  };
  XMLHttpRequest.prototype.setRequestHeader = function (name, value) {
    if (name.toLowerCase() === 'authorization' && asked.has(this)) asked.get(this).authorization = value;
    return setRequestHeader.call(this, name, value);
  };
  XMLHttpRequest.prototype.send = function (body) {
    const request = asked.get(this);
    if (isOfServer(request.url)) {
      request.began = performance.now();
      // Not `load`: the player hears of that first, and video.js then aborts the request, which takes its answer away. A
      // request that a player aborts on its way has not been refused, and is not shown.
      this.addEventListener('readystatechange', () => {
        if (this.readyState !== XMLHttpRequest.DONE || this.status === 0) return;
        ended(request, this.status, (name) => this.getResponseHeader(name), () => bodyOf(this));
      });
      for (const end of ['error', 'timeout']) this.addEventListener(end, () => ended(request, 0, () => null));
    }
    return send.call(this, body);
  };
}
