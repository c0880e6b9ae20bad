// Makes the clip that the page plays: the same six seconds for Clear Key (cenc and cbcs), FairPlay and HLS AES-128.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { arch, platform } from 'node:os';
import { join } from 'node:path';

const here = import.meta.dirname;
const folder = join(here, 'public', 'clip');
const unfinished = `${folder}.unfinished`;
const { fragments, segments, fairplay } = JSON.parse(readFileSync(join(here, 'keys.json'), 'utf8'));
const SERVER = 'http://127.0.0.1:3000';

const run = (program, options, needs) => {
  try {
    execFileSync(program, options, { stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (error) {
    const why = error.code === 'ENOENT' ? `${program} is not there: ${needs}` : String(error.stderr ?? error);
    console.error(`The clip cannot be made. ${why}`);
    process.exit(1);
  }
};
const ffmpeg = (...options) =>
  run('ffmpeg', ['-v', 'error', '-nostdin', '-y', ...options], 'install ffmpeg and start again');

const system = { linux: 'linux', darwin: 'osx', win32: 'win' }[platform()];
const suffix = platform() === 'win32' ? '.exe' : '';
const packager = join(here, 'node_modules', 'shaka-packager', 'bin', `packager-${system}-${arch()}${suffix}`);

const digits = (kid) => kid.replaceAll('-', '');

/** Clear Key for Shaka and dash.js: an element without a PSSH box. */
const forDash = (manifest) =>
  manifest.replace(
    /<ContentProtection schemeIdUri="urn:uuid:1077efec[\s\S]*?<\/ContentProtection>/g,
    '<ContentProtection schemeIdUri="urn:uuid:e2719d58-a985-b3c9-781a-b030af78d30e" value="ClearKey1.0"/>',
  );

/** Clear Key for hls.js: its own key format in place of the packager's tag. */
const forHls = (playlist, scheme) => {
  const kid = digits(fragments.kid);
  const method = scheme === 'cenc' ? 'SAMPLE-AES-CTR' : 'SAMPLE-AES';
  const data = Buffer.from(kid, 'hex').toString('base64');
  const tag = `#EXT-X-KEY:METHOD=${method},URI="data:text/plain;base64,${data}",KEYFORMAT="org.w3.clearkey",KEYFORMATVERSIONS="1",KEYID=0x${kid}`;
  return playlist.replace(/^#EXT-X-KEY:.*$/gm, tag);
};

const rewrite = (file, change) => writeFileSync(file, change(readFileSync(file, 'utf8')));

/** Fragmented MP4, a file for each segment, with playlists and what `options` asks for. Gives its folder. */
function fragmented(name, scheme, source, { kid, key, iv }, options) {
  const out = join(unfinished, name);
  mkdirSync(out, { recursive: true });
  const track = (kind) =>
    `in=${source},stream=${kind},init_segment=${join(out, `${kind}.mp4`)},segment_template=${join(out, `${kind}-$Number$.m4s`)},playlist_name=${kind}.m3u8`;
  run(packager, [
    track('video'), track('audio'),
    '--enable_raw_key_encryption', '--keys', `label=:key_id=${digits(kid)}:key=${key}`,
    ...(iv ? ['--iv', iv] : []),
    '--protection_scheme', scheme, '--clear_lead', '0', '--segment_duration', '2',
    '--hls_master_playlist_output', join(out, 'main.m3u8'),
    ...options(out),
  ], 'shaka-packager has no program for this machine');
  return out;
}

function forClearKey(scheme, source) {
  const out = fragmented(scheme, scheme, source, fragments, (folder) => [
    '--protection_systems', 'CommonSystem',
    '--generate_static_live_mpd', '--mpd_output', join(folder, 'manifest.mpd'),
  ]);
  rewrite(join(out, 'manifest.mpd'), forDash);
  for (const kind of ['video', 'audio']) {
    rewrite(join(out, `${kind}.m3u8`), (playlist) => forHls(playlist, scheme));
  }
}

function forFairPlay(source) {
  fragmented('fairplay', 'cbcs', source, fairplay, () => [
    '--protection_systems', 'FairPlay', '--hls_key_uri', `skd://${fairplay.kid}`,
  ]);
}

function segmented(source) {
  const out = join(unfinished, 'aes128');
  mkdirSync(out, { recursive: true });
  const [key, information] = ['key', 'information'].map((name) => join(unfinished, name));
  writeFileSync(key, Buffer.from(segments.key, 'hex'));
  writeFileSync(information, `${SERVER}/aes128/${segments.kid}\n${key}\n${'0'.repeat(31)}1\n`);
  ffmpeg('-i', source, '-c', 'copy', '-f', 'hls', '-hls_time', '2', '-hls_playlist_type', 'vod',
    '-hls_key_info_file', information, '-hls_segment_filename', join(out, '%d.ts'), join(out, 'main.m3u8'));
}

if (!existsSync(folder)) {
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true });
  const source = join(unfinished, 'clip.mp4');
  ffmpeg('-f', 'lavfi', '-i', 'testsrc2=size=640x360:rate=25:duration=6',
    '-f', 'lavfi', '-i', 'sine=frequency=330:duration=6',
    '-c:v', 'libx264', '-profile:v', 'main', '-preset', 'slow', '-b:v', '140k', '-g', '50', '-pix_fmt', 'yuv420p',
    '-c:a', 'aac', '-b:a', '32k',
    '-shortest', source);
  for (const scheme of ['cenc', 'cbcs']) forClearKey(scheme, source);
  forFairPlay(source);
  segmented(source);
  for (const name of ['clip.mp4', 'key', 'information']) rmSync(join(unfinished, name));
  renameSync(unfinished, folder);
  console.log('The clip is made: public/clip');
}
