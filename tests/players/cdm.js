// An Apple device without Apple's CDM: what a page can see of Safari's FairPlay, over an SPC made
// beforehand. It asks for a licence as Safari does and keeps what it is given; whether that opens is
// for whoever made the SPC.
//
// `?eme=` of the page says which Safari this is:
//   modern   Encrypted Media Extensions alone
//   legacy   the prefixed API of Safari before 12.1 alone
//   both     as in today's Safari
//
// Nothing is decrypted, and media with a "skd" key that Safari would play by itself is a second of
// silence here. All of what a player does after the licence is therefore left out.

(() => {
  const { bytesOf, toBase64, fromBase64, KeyStatuses, keepMediaKeys } = window.eme;
  const eme = new URLSearchParams(location.search).get('eme');
  if (!['modern', 'legacy', 'both'].includes(eme)) throw new Error(`there is no EME "${eme}"`);

  // --- The device: one SPC in, one CKC out -------------------------------------------------------

  const device = {};
  window.device = device;

  /** The CKC as base64, once the player has handed it over. */
  device.licence = new Promise((resolve, reject) => {
    device.deliver = (ckc) => resolve(toBase64(ckc));
    device.fail = (reason) => reject(new Error(reason));
  });
  // It may be rejected before anybody waits for it.
  device.licence.catch(() => {});

  /** The SPC that the next request is made of, and the certificate that the device must be given. */
  device.insert = (spc, certificate) => {
    device.spc = fromBase64(spc);
    device.certificate = fromBase64(certificate);
  };

  device.takeSpc = () => {
    const { spc } = device;
    if (!spc) throw refuse('InvalidStateError', 'a second licence request');
    device.spc = null;
    return spc;
  };

  device.checkCertificate = (certificate) => {
    if (!certificate || toBase64(certificate) !== toBase64(device.certificate)) {
      throw refuse('InvalidAccessError', 'not the certificate of the server');
    }
  };

  // --- Bytes -------------------------------------------------------------------------------------

  /** What is in the box of `type`. */
  function findBox(bytes, type) {
    const name = new TextEncoder().encode(type);
    for (let at = 4; at + 4 <= bytes.length; at += 1) {
      if (name.every((byte, index) => bytes[at + index] === byte)) {
        const start = at - 4;
        const size = new DataView(bytes.buffer, bytes.byteOffset + start).getUint32(0);
        return bytes.slice(start + 8, start + size);
      }
    }
    return null;
  }

  /** An error to throw at the player. It ends the exchange, whatever the player makes of it. */
  function refuse(name, message) {
    device.fail(`device: ${message}`);
    return new DOMException(message, name);
  }

  // --- Looking like Safari -----------------------------------------------------------------------
  // The user agent string is set where the browser is started.

  const navigatorProperty = (name, value) =>
    Object.defineProperty(Navigator.prototype, name, { configurable: true, get: () => value });
  navigatorProperty('vendor', 'Apple Computer, Inc.');
  navigatorProperty('platform', 'MacIntel');
  delete Navigator.prototype.userAgentData;
  delete Navigator.prototype.xr;

  // --- Media -------------------------------------------------------------------------------------

  function raise(video, skd, sinf) {
    if (eme !== 'legacy') {
      const [initDataType, initData] = sinf
        ? ['sinf', JSON.stringify({ sinf: [toBase64(sinf)] })]
        : ['skd', skd];
      video.dispatchEvent(new MediaEncryptedEvent('encrypted', {
        initDataType,
        initData: new TextEncoder().encode(initData).buffer,
      }));
    }
    // The prefixed API knows nothing of Media Source Extensions.
    if (eme !== 'modern' && skd) {
      const initData = joinWithLengths([utf16(skd)]);
      video.dispatchEvent(Object.assign(new Event('webkitneedkey'), { initData }));
    }
  }

  // Media Source Extensions: the event comes as an initialization segment is parsed.
  const { appendBuffer } = SourceBuffer.prototype;
  SourceBuffer.prototype.appendBuffer = function (data) {
    const sinf = findBox(bytesOf(data), 'sinf');
    if (sinf) {
      const video = document.querySelector('video');
      this.addEventListener('updateend', () => raise(video, null, sinf), { once: true });
    }
    return appendBuffer.call(this, data);
  };

  // HLS that is played without the page's help: the event comes when the key is met.
  const isHls = (url) => new URL(url, location).pathname.endsWith('.m3u8');
  const { canPlayType } = HTMLMediaElement.prototype;
  HTMLMediaElement.prototype.canPlayType = function (type) {
    return /mpegurl/i.test(type) ? 'maybe' : canPlayType.call(this, type);
  };
  const source = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, 'src');
  Object.defineProperty(HTMLMediaElement.prototype, 'src', {
    ...source,
    set(url) {
      if (!isHls(url)) return source.set.call(this, url);
      this.addEventListener('loadedmetadata', async () => {
        const playlist = await (await fetch(url)).text();
        raise(this, playlist.match(/URI="(skd:[^"]*)"/)[1]);
      }, { once: true });
      return source.set.call(this, silence());
    },
  });

  function silence() {
    const RATE = 8000;
    const wave = new Uint8Array(44 + RATE).fill(128, 44);
    const view = new DataView(wave.buffer);
    const chunk = (at, name, size) => {
      wave.set(new TextEncoder().encode(name), at);
      view.setUint32(at + 4, size, true);
    };
    chunk(0, 'RIFF', 36 + RATE);
    wave.set(new TextEncoder().encode('WAVE'), 8);
    chunk(12, 'fmt ', 16);
    [[20, 1], [22, 1], [32, 1], [34, 8]].forEach(([at, value]) => view.setUint16(at, value, true));
    [[24, RATE], [28, RATE]].forEach(([at, value]) => view.setUint32(at, value, true));
    chunk(36, 'data', RATE);
    return URL.createObjectURL(new Blob([wave], { type: 'audio/wav' }));
  }

  // --- Encrypted Media Extensions ----------------------------------------------------------------

  /** The id under which the key's status is told. */
  function keyIdOf(initDataType, initData) {
    switch (initDataType) {
      case 'sinf': {
        const { sinf } = JSON.parse(new TextDecoder().decode(initData));
        return findBox(fromBase64(sinf[0]), 'tenc').slice(8, 24);
      }
      case 'skd': return initData;
      // A 'pssh' of FairPlay's: in 'fkri' is a version and a key id.
      case 'cenc': return findBox(initData, 'fkri').slice(4);
      default: throw refuse('NotSupportedError', `init data of type "${initDataType}"`);
    }
  }

  class Session extends EventTarget {
    sessionId = '';
    expiration = NaN;
    keyStatuses = new KeyStatuses();
    #close;
    closed = new Promise((resolve) => { this.#close = resolve; });
    #certificate;
    #initDataType;
    #keyId;

    constructor(certificate) {
      super();
      this.#certificate = certificate;
    }

    async generateRequest(initDataType, initData) {
      device.checkCertificate(this.#certificate);
      this.#initDataType = initDataType;
      this.#keyId = keyIdOf(initDataType, bytesOf(initData));
      let message = device.takeSpc();
      // With a 'pssh' there may be many keys, and Safari asks for and takes them in an array.
      if (initDataType === 'cenc') {
        const request = [{ keyID: toBase64(this.#keyId), payload: toBase64(message) }];
        message = new TextEncoder().encode(JSON.stringify(request));
      }
      this.sessionId = 'fairplay';
      setTimeout(() => this.dispatchEvent(new MediaKeyMessageEvent('message', {
        messageType: 'license-request',
        message: message.slice().buffer,
      })));
    }

    async update(response) {
      device.deliver(this.#initDataType === 'cenc' ? this.#pick(response) : bytesOf(response));
      this.keyStatuses.usable(this.#keyId);
      setTimeout(() => this.dispatchEvent(new Event('keystatuseschange')));
    }

    #pick(response) {
      const keys = JSON.parse(new TextDecoder().decode(response));
      const key = keys.find(({ keyID }) => keyID === toBase64(this.#keyId));
      if (!key?.payload) throw refuse('TypeError', `no CKC for the key in ${JSON.stringify(keys)}`);
      return fromBase64(key.payload);
    }

    async close() { this.#close('closed-by-application'); }
    async remove() {}
  }

  class Keys {
    #certificate = null;
    createSession() { return new Session(this.#certificate); }
    async setServerCertificate(certificate) {
      device.checkCertificate(certificate);
      this.#certificate = certificate;
      return true;
    }
    async getStatusForPolicy() { return 'usable'; }
  }

  if (eme !== 'legacy') {
    Navigator.prototype.requestMediaKeySystemAccess = async (keySystem, configurations) => {
      if (keySystem !== 'com.apple.fps') throw new DOMException(keySystem, 'NotSupportedError');
      return {
        keySystem,
        getConfiguration: () => configurations[0],
        createMediaKeys: async () => new Keys(),
      };
    };
    keepMediaKeys();
  } else {
    delete Navigator.prototype.requestMediaKeySystemAccess;
    delete HTMLMediaElement.prototype.setMediaKeys;
    delete HTMLMediaElement.prototype.mediaKeys;
    ['MediaKeys', 'MediaKeySession', 'MediaKeySystemAccess'].forEach((name) => delete window[name]);
  }

  // --- The prefixed API --------------------------------------------------------------------------

  function utf16(string) {
    const bytes = new Uint8Array(2 * string.length);
    const view = new DataView(bytes.buffer);
    Array.from(string).forEach((character, index) =>
      view.setUint16(2 * index, character.charCodeAt(0), true));
    return bytes;
  }

  function joinWithLengths(parts) {
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + 4 + part.length, 0));
    const view = new DataView(bytes.buffer);
    let at = 0;
    parts.forEach((part) => {
      view.setUint32(at, part.length, true);
      bytes.set(part, at + 4);
      at += 4 + part.length;
    });
    return bytes;
  }

  function splitByLengths(bytes) {
    const parts = [];
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at < bytes.length;) {
      const length = view.getUint32(at, true);
      parts.push(bytes.slice(at + 4, at + 4 + length));
      at += 4 + length;
    }
    return parts;
  }

  class PrefixedSession extends EventTarget {
    sessionId = 'fairplay';
    error = null;

    constructor(initData) {
      super();
      // The page composes the init data: the key's URI, the content's id, the certificate.
      const [uri, contentId, certificate, ...rest] = splitByLengths(bytesOf(initData));
      const read = (bytes) => bytes && new TextDecoder('utf-16le').decode(bytes);
      if (!/^skd:\/\//.test(read(uri)) || read(contentId) !== 'movie-1' || rest.length > 0) {
        throw refuse('InvalidAccessError', `init data of ${read(uri)} and ${read(contentId)}`);
      }
      device.checkCertificate(certificate);
      const message = device.takeSpc();
      setTimeout(() => this.dispatchEvent(Object.assign(new Event('webkitkeymessage'), { message })));
    }

    update(response) {
      // Safari takes nothing else here.
      if (!(response instanceof Uint8Array)) throw refuse('TypeError', 'update() without Uint8Array');
      device.deliver(response);
      setTimeout(() => this.dispatchEvent(new Event('webkitkeyadded')));
    }

    close() {}
  }

  if (eme !== 'modern') {
    window.WebKitMediaKeys = class {
      static isTypeSupported(keySystem) { return keySystem.startsWith('com.apple.fps'); }
      constructor(keySystem) {
        if (keySystem !== 'com.apple.fps.1_0') throw refuse('NotSupportedError', keySystem);
      }
      createSession(type, initData) { return new PrefixedSession(initData); }
    };
    HTMLMediaElement.prototype.webkitKeys = null;
    HTMLMediaElement.prototype.webkitSetMediaKeys = function (keys) { this.webkitKeys = keys; };
  }
})();
