// The web site with the players. It listens on a port of its own, so a page of it is cross-origin to
// the licence server and its licence requests begin with a preflight.
//
// It is a real site and not Playwright's page.route(): while routes are set, Playwright answers
// preflights itself, and the server's answers to them would go untested. The name ends in
// ".localhost", which browsers resolve to this machine and count as a secure context; EME wants one.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { initSegment, mainPlaylist, manifest, mediaSegment, videoPlaylist } from './media.mjs';

const TYPES = {
  html: 'text/html',
  m3u8: 'application/vnd.apple.mpegurl',
  m4s: 'video/mp4',
  mjs: 'text/javascript',
  js: 'text/javascript',
  mp4: 'video/mp4',
  mpd: 'application/dash+xml',
  ts: 'video/mp2t',
};

/** The CDMs that are not FairPlay's, by `?eme=`. */
const CDM = { widevine: 'service-cdm.js', playready: 'service-cdm.js' };

const MANIFEST = /\.(m3u8|mpd)$/;

const file = (path) => readFile(new URL(path, import.meta.url));

// The device comes first: players look for EME when they are loaded. Without `?eme=` the browser's own EME stays.
const page = (eme, scripts) => `<!DOCTYPE html>
<link rel="icon" href="data:,">
<body>
${[...(eme ? ['/eme.js', `/${CDM[eme] ?? 'cdm.js'}`] : []), ...scripts.map((script) => `/library/${script}`)]
    .map((script) => `<script src="${script}"></script>`)
    .join('\n')}
`;

async function content({ pathname, search, searchParams }, folder) {
  const query = (name) => searchParams.get(name);
  switch (pathname) {
    case '/player.html': return page(query('eme'), searchParams.getAll('script'));
    case '/media/init.mp4': return initSegment;
    case '/media/segment.m4s': return mediaSegment;
    case '/media/main.m3u8': return mainPlaylist(search.slice(1));
    case '/media/video.m3u8': return videoPlaylist(query('skd'), query('system'));
    case '/media/manifest.mpd': return manifest(query('licence'), query('certificate'), query('system'));
  }
  const library = pathname.match(/^\/library\/([a-z][\w./-]*\.js)$/);
  if (library) return file(`node_modules/${library[1]}`);
  const packaged = folder && pathname.match(/^\/packaged\/([\w.:]+)\/([\w-]+(?:\/[\w-]+)*\.\w+)$/);
  if (packaged) {
    const [, server, path] = packaged;
    const bytes = await readFile(join(folder, path));
    return MANIFEST.test(path) ? bytes.toString().replaceAll('{server}', `http://${server}`) : bytes;
  }
  if (/^\/[a-z-]+\.m?js$/.test(pathname)) return file(`.${pathname}`);
  throw new Error(`there is no ${pathname}`);
}

/**
 * Starts the site; gives its URL and a function that stops it. The files of `folder` are under `/packaged/<server>/`,
 * where `{server}` in a manifest becomes the URL of the server with this host and port.
 */
export async function startSite(folder) {
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://player.localhost');
    try {
      const body = await content(url, folder);
      const type = TYPES[url.pathname.split('.').pop()];
      response.writeHead(200, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
    } catch (error) {
      console.error(`site: ${request.url}: ${error.message}`);
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = () => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://player.localhost:${server.address().port}`, stop };
}
