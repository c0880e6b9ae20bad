// Streams to play: playlists, an MPD and a fragmented MP4 of one "encrypted" frame, all made here.
// The frame holds no picture. Players ask for a licence before they decode, so none is needed.

const KEY_ID = '339c45b5fb6d4bd9994ceabd9d41c95b';
const TIMESCALE = 1000;
const WIDTH = 16;
const HEIGHT = 16;

const text = (string) => Buffer.from(string, 'latin1');
const hex = (string) => Buffer.from(string, 'hex');
const zeros = (count) => Buffer.alloc(count);
const base64 = (bytes) => bytes.toString('base64');

function number(bytes, value) {
  const buffer = Buffer.alloc(bytes);
  buffer.writeUIntBE(value, 0, bytes);
  return buffer;
}
const u8 = (value) => number(1, value);
const u16 = (value) => number(2, value);
const u32 = (value) => number(4, value);

function box(type, ...parts) {
  const body = Buffer.concat(parts);
  return Buffer.concat([u32(8 + body.length), text(type), body]);
}

const fullBox = (type, version, flags, ...parts) => box(type, u8(version), number(3, flags), ...parts);

const MATRIX = Buffer.concat([0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000].map(u32));

// Baseline H.264, level 1.0, 16 × 16: written out as there is nothing to vary.
const SPS = hex('6742c00adde4');
const PPS = hex('68ce3880');
const avcConfiguration = box(
  'avcC', hex('0142c00aff'), u8(0xe1), u16(SPS.length), SPS, u8(1), u16(PPS.length), PPS);

// FairPlay takes 'cbcs' alone, which the others take too: pattern 1:9 and one IV for all samples. Apple's device reads the key
// id from here and gives the whole box to the page in its 'encrypted' event. There is no 'pssh':
// with one, Chromium would raise an 'encrypted' event of its own.
const protection = box('sinf',
  box('frma', text('avc1')),
  fullBox('schm', 0, 0, text('cbcs'), u32(0x10000)),
  box('schi', fullBox('tenc', 1, 0, hex('00190100'), hex(KEY_ID), u8(16), zeros(16))));

const sampleEntry = box('encv',
  zeros(6), u16(1), zeros(16), u16(WIDTH), u16(HEIGHT), u32(0x480000), u32(0x480000), u32(0), u16(1),
  zeros(32), u16(24), u16(0xffff), avcConfiguration, protection);

export const initSegment = Buffer.concat([
  box('ftyp', text('iso6'), u32(0), text('iso6cmfc')),
  box('moov',
    fullBox('mvhd', 0, 0, zeros(8), u32(TIMESCALE), u32(0), u32(0x10000), u16(0x100), zeros(10), MATRIX,
      zeros(24), u32(2)),
    box('trak',
      fullBox('tkhd', 0, 3, zeros(8), u32(1), zeros(8), zeros(8), zeros(8), MATRIX,
        u32(WIDTH << 16), u32(HEIGHT << 16)),
      box('mdia',
        fullBox('mdhd', 0, 0, zeros(8), u32(TIMESCALE), u32(0), u16(0x55c4), u16(0)),
        fullBox('hdlr', 0, 0, u32(0), text('vide'), zeros(12), text('video\0')),
        box('minf',
          fullBox('vmhd', 0, 1, zeros(8)),
          box('dinf', fullBox('dref', 0, 0, u32(1), fullBox('url ', 0, 1))),
          box('stbl',
            fullBox('stsd', 0, 0, u32(1), sampleEntry),
            fullBox('stts', 0, 0, u32(0)),
            fullBox('stsc', 0, 0, u32(0)),
            fullBox('stsz', 0, 0, u32(0), u32(0)),
            fullBox('stco', 0, 0, u32(0)))))),
    box('mvex', fullBox('trex', 0, 0, u32(1), u32(1), u32(0), u32(0), u32(0)))),
]);

// One frame of a second: a NAL unit of which the last 16 bytes count as encrypted.
const sample = Buffer.concat([u32(28), u8(0x65), zeros(27)]);

function movieFragment(dataOffset) {
  return box('moof',
    fullBox('mfhd', 0, 0, u32(1)),
    box('traf',
      fullBox('tfhd', 0, 0x20000, u32(1)),
      fullBox('tfdt', 1, 0, zeros(8)),
      fullBox('trun', 0, 0x705, u32(1), u32(dataOffset), u32(0x2000000), u32(TIMESCALE),
        u32(sample.length), u32(0)),
      fullBox('senc', 0, 2, u32(1), u16(1), u16(16), u32(16))));
}

export const mediaSegment = Buffer.concat([
  movieFragment(movieFragment(0).length + 8), box('mdat', sample)]);

const CODEC = 'avc1.42c00a';

// What Widevine reads in its 'pssh', in Protocol Buffers: field 2 is a key id, field 9 the scheme 'cbcs'.
const widevineData = Buffer.concat([hex('1210'), hex(KEY_ID), hex('48f3c6899b06')]);

// What PlayReady reads in its own: an object with one record, which is a header. Sizes and counts are little-endian.
//
//   [4 bytes] size of the object, [2] number of records, [2] type of the record, [2] its size, header in UTF-16LE
function playReadyObject() {
  const [time, mid, high] = [[0, 8], [8, 12], [12, 16]].map((part) => hex(KEY_ID.slice(...part)).reverse());
  const guid = base64(Buffer.concat([time, mid, high, hex(KEY_ID.slice(16))]));
  const header = Buffer.from(
    '<WRMHEADER xmlns="http://schemas.microsoft.com/DRM/2007/03/PlayReadyHeader" version="4.3.0.0"><DATA><PROTECTINFO>'
      + `<KIDS><KID ALGID="AESCBC" VALUE="${guid}"></KID></KIDS></PROTECTINFO></DATA></WRMHEADER>`,
    'utf16le');
  const object = Buffer.alloc(10);
  object.writeUInt32LE(10 + header.length, 0);
  [1, 1, header.length].forEach((value, index) => object.writeUInt16LE(value, 4 + 2 * index));
  return Buffer.concat([object, header]);
}

const pssh = (system, data) => base64(fullBox('pssh', 0, 0, hex(system.replaceAll('-', '')), u32(data.length), data));

const WIDEVINE = 'edef8ba9-79d6-4ace-a3c8-27dcd51d21ed';
const PLAYREADY = '9a04f079-9840-4286-ab92-e65be0885f95';

/** What a playlist and an MPD say of the systems that have a licence service. */
const SYSTEMS = {
  widevine: {
    key: `URI="data:text/plain;base64,${pssh(WIDEVINE, widevineData)}",KEYID=0x${KEY_ID},KEYFORMAT="urn:uuid:${WIDEVINE}"`,
    id: WIDEVINE,
    pssh: pssh(WIDEVINE, widevineData),
  },
  playready: {
    key: `URI="data:text/plain;charset=UTF-16;base64,${base64(playReadyObject())}",KEYFORMAT="com.microsoft.playready"`,
    id: PLAYREADY,
    pssh: pssh(PLAYREADY, playReadyObject()),
  },
};

const fairPlayKey = (skd) => `URI="${skd}",KEYFORMAT="com.apple.streamingkeydelivery"`;

/** `query` is the query of the playlist with the key. */
export const mainPlaylist = (query) => `#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=1000,CODECS="${CODEC}",RESOLUTION=${WIDTH}x${HEIGHT}
video.m3u8?${query}
`;

export const videoPlaylist = (skd, system) => `#EXTM3U
#EXT-X-VERSION:6
#EXT-X-PLAYLIST-TYPE:VOD
#EXT-X-TARGETDURATION:1
#EXT-X-KEY:METHOD=SAMPLE-AES,${SYSTEMS[system]?.key ?? fairPlayKey(skd)},KEYFORMATVERSIONS="1"
#EXT-X-MAP:URI="init.mp4"
#EXTINF:1,
segment.m4s
#EXT-X-ENDLIST
`;

const escapeXml = (string) => string.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

function uuid(digits) {
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

const FAIRPLAY = '94ce86fb-07ff-4f43-adb8-93d2fa968ca2';

// With URLs of a server, the MPD names them itself (DASH-IF IOP, part 6).
export function manifest(licenceUrl, certificateUrl, system) {
  const url = (name, value) => (value ? `<dashif:${name}>${escapeXml(value)}</dashif:${name}>` : '');
  const { id, pssh: box } = SYSTEMS[system] ?? { id: FAIRPLAY };
  return `<?xml version="1.0" encoding="UTF-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:cenc="urn:mpeg:cenc:2013"
    xmlns:dashif="https://dashif.org/CPS" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="static"
    mediaPresentationDuration="PT1S" minBufferTime="PT1S">
  <Period>
    <AdaptationSet contentType="video" mimeType="video/mp4" segmentAlignment="true">
      <ContentProtection schemeIdUri="urn:mpeg:dash:mp4protection:2011" value="cbcs"
          cenc:default_KID="${uuid(KEY_ID)}"/>
      <ContentProtection schemeIdUri="urn:uuid:${id}">
          ${url('Laurl', licenceUrl)}
          ${url('Certurl', certificateUrl)}
          ${box ? `<cenc:pssh>${box}</cenc:pssh>` : ''}
      </ContentProtection>
      <SegmentTemplate timescale="1" duration="1" initialization="init.mp4" media="segment.m4s"/>
      <Representation id="video" codecs="${CODEC}" bandwidth="1000" width="${WIDTH}" height="${HEIGHT}"/>
    </AdaptationSet>
  </Period>
</MPD>
`;
}
