// What the page asks of the server. Players use fetch or XMLHttpRequest; both are watched here.

const ROUTES = /\/(license|clearkey|fairplay|aes128\/[0-9a-f-]{32,36})$/i;
const isOfServer = (url) => ROUTES.test(new URL(url, location.href).pathname);

/** Calls `seen` with each request for a licence or a key: `{ method, url, status, code, requestId, milliseconds }`. */
export function watchRequests(seen) {
  const ended = (method, url, began, status, header) =>
    seen({
      method,
      url: new URL(url, location.href).href,
      status,
      code: header('x-keylet-code'),
      requestId: header('x-request-id'),
      milliseconds: performance.now() - began,
    });

  const { fetch } = window;
  window.fetch = async (resource, options) => {
    const request = resource instanceof Request ? resource : undefined;
    const url = request?.url ?? String(resource);
    const method = options?.method ?? request?.method ?? 'GET';
    const began = performance.now();
    try {
      const response = await fetch(resource, options);
      if (isOfServer(url)) ended(method, url, began, response.status, (name) => response.headers.get(name));
      return response;
    } catch (error) {
      if (isOfServer(url) && error.name !== 'AbortError') ended(method, url, began, 0, () => null);
      throw error;
    }
  };

  const { open, send } = XMLHttpRequest.prototype;
  const asked = new WeakMap();
  XMLHttpRequest.prototype.open = function (method, url, ...rest) {
    asked.set(this, [method, String(url)]);
    return open.call(this, method, url, ...rest);
  };
  XMLHttpRequest.prototype.send = function (body) {
    const [method, url] = asked.get(this);
    if (isOfServer(url)) {
      const began = performance.now();
      // A player that ends a request itself has not been refused.
      for (const end of ['load', 'error', 'timeout']) {
        const done = () => ended(method, url, began, this.status, (name) => this.getResponseHeader(name));
        this.addEventListener(end, done, { once: true });
      }
    }
    return send.call(this, body);
  };
}
