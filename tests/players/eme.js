// What the mocked CDMs share: bytes, the states of keys, and a place for a video's keys.

window.eme = (() => {
  function bytesOf(source) {
    return ArrayBuffer.isView(source)
      ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
      : new Uint8Array(source);
  }

  function toBase64(bytes) {
    return btoa(Array.from(bytesOf(bytes), (byte) => String.fromCharCode(byte)).join(''));
  }

  function fromBase64(string) {
    return Uint8Array.from(atob(string), (character) => character.charCodeAt(0));
  }

  /** MediaKeyStatusMap of one key. */
  class KeyStatuses {
    #entries = [];
    usable(keyId) { this.#entries = [[keyId.slice().buffer, 'usable']]; }
    #find(keyId) { return this.#entries.find(([known]) => toBase64(known) === toBase64(keyId)); }
    get size() { return this.#entries.length; }
    get(keyId) { return this.#find(keyId)?.[1]; }
    has(keyId) { return this.#find(keyId) !== undefined; }
    forEach(callback) { this.#entries.forEach(([keyId, status]) => callback(status, keyId, this)); }
    [Symbol.iterator]() { return this.#entries[Symbol.iterator](); }
  }

  /** Media elements keep the keys that they are given, and do nothing with them. */
  function keepMediaKeys() {
    const attached = new WeakMap();
    HTMLMediaElement.prototype.setMediaKeys = async function (keys) { attached.set(this, keys); };
    Object.defineProperty(HTMLMediaElement.prototype, 'mediaKeys', {
      configurable: true,
      get() { return attached.get(this) ?? null; },
    });
  }

  return { bytesOf, toBase64, fromBase64, KeyStatuses, keepMediaKeys };
})();
