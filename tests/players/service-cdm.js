// The CDM of Widevine or PlayReady as a page sees it, over messages made beforehand. What the player gives it is kept;
// whether that is right is for whoever made the messages.
//
// `?eme=` of the page says whose: `widevine` or `playready`. Nothing is decrypted.

(() => {
  const { toBase64, fromBase64, KeyStatuses, keepMediaKeys } = window.eme;
  const systemId = {
    widevine: 'edef8ba979d64acea3c827dcd51d21ed',
    playready: '9a04f07998404286ab92e65be0885f95',
  }[new URLSearchParams(location.search).get('eme')];

  // --- The device: messages in, what the player got for each out ---------------------------------

  const device = {};
  window.device = device;

  /** What update() was given, in base64, once there was an answer to every message. */
  device.updates = new Promise((resolve, reject) => {
    device.deliver = resolve;
    device.fail = (reason) => reject(new Error(reason));
  });
  // It may be rejected before anybody waits for it.
  device.updates.catch(() => {});

  /** Its name as a key system, and the messages that it sends, each after an answer to the one before: [{type, message}, …]. */
  device.insert = ({ keySystem, kid, certificate, messages }) => {
    Object.assign(device, { keySystem, kid, certificate, messages });
  };

  const fromHex = (text) => Uint8Array.from(text.match(/../g), (byte) => parseInt(byte, 16));

  /** An error to throw at the player. It ends the exchange, whatever the player makes of it. */
  function refuse(name, message) {
    device.fail(`device: ${message}`);
    return new DOMException(message, name);
  }

  /** Of a 'pssh' box the system counts, and not what the system reads in it. */
  function checkInitData(type, data) {
    const hex = Array.from(fromBase64(toBase64(data)), (byte) => byte.toString(16).padStart(2, '0')).join('');
    const pssh = '70737368';
    if (type !== 'cenc' || hex.slice(8, 16) !== pssh || hex.slice(24, 56) !== systemId) {
      throw refuse('NotSupportedError', `init data of type "${type}": ${hex}`);
    }
  }

  // --- Encrypted Media Extensions ----------------------------------------------------------------

  class Session extends EventTarget {
    sessionId = '';
    expiration = NaN;
    keyStatuses = new KeyStatuses();
    #close;
    closed = new Promise((resolve) => { this.#close = resolve; });
    #left;
    #isLicensed = false;
    #updates = [];

    constructor(hasCertificate) {
      super();
      this.#left = device.messages.filter(({ type }) => type !== 'certificate' || !hasCertificate);
    }

    async generateRequest(initDataType, initData) {
      checkInitData(initDataType, initData);
      if (device.isAsked) throw refuse('InvalidStateError', 'a second licence request');
      device.isAsked = true;
      this.sessionId = 'session-1';
      this.#send();
    }

    #send() {
      const { type, message } = this.#left.shift();
      setTimeout(() => this.dispatchEvent(new MediaKeyMessageEvent('message', {
        messageType: type === 'renewal' ? 'license-renewal' : 'license-request',
        message: fromBase64(message).buffer,
      })));
      this.#isLicensed = type !== 'certificate';
    }

    async update(response) {
      this.#updates.push(toBase64(response));
      if (this.#isLicensed) {
        this.keyStatuses.usable(fromHex(device.kid));
        setTimeout(() => this.dispatchEvent(new Event('keystatuseschange')));
      }
      if (this.#left.length > 0) this.#send();
      else device.deliver(this.#updates);
    }

    async close() { this.#close('closed-by-application'); }
    async remove() {}
  }

  class Keys {
    #hasCertificate = false;
    createSession() { return new Session(this.#hasCertificate); }
    async setServerCertificate(certificate) {
      if (toBase64(certificate) !== device.certificate) {
        throw refuse('InvalidAccessError', 'not the certificate of the service');
      }
      this.#hasCertificate = true;
      return true;
    }
    async getStatusForPolicy() { return 'usable'; }
  }

  const requestAccess = async (keySystem, configurations) => {
    if (keySystem !== device.keySystem) throw new DOMException(keySystem, 'NotSupportedError');
    return {
      keySystem,
      getConfiguration: () => configurations[0],
      createMediaKeys: async () => new Keys(),
    };
  };
  Navigator.prototype.requestMediaKeySystemAccess = requestAccess;

  // Shaka Player asks what can be decrypted here.
  const { decodingInfo } = MediaCapabilities.prototype;
  MediaCapabilities.prototype.decodingInfo = async function ({ keySystemConfiguration, ...media }) {
    const info = await decodingInfo.call(this, media);
    if (!keySystemConfiguration) return info;
    const { keySystem, initDataType, audio, video, ...rest } = keySystemConfiguration;
    const capabilities = (type) => (media[type] ? [{ ...keySystemConfiguration[type], contentType: media[type].contentType }] : []);
    const keySystemAccess = await requestAccess(keySystem, [{
      ...rest,
      initDataTypes: [initDataType],
      audioCapabilities: capabilities('audio'),
      videoCapabilities: capabilities('video'),
    }]).catch(() => null);
    return { ...info, supported: info.supported && keySystemAccess !== null, keySystemAccess };
  };

  keepMediaKeys();
})();
