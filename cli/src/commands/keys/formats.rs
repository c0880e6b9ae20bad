//! Keys as packagers take them: options of their command lines, files, and the lines of manifests.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use keylet::content_key::ContentKey;
use keylet::cpix::speke::{Filled, Request, Signalling, Version};
use keylet::cpix::{
    BlankDocument, BlankKey, HlsKey, PlayReadyHeader, ProtectionSystem, Scheme,
    intended_track_type, mp4_protection,
};
use keylet::id::Kid;
use keylet::packaging::{KeyUrls, SKD_TEMPLATE};
use keylet::public_url;
use keylet::track::Track;
use zeroize::Zeroizing;

use crate::{file, random};

/// The type of a key for all tracks.
const ALL: &str = "ALL";

/// How keys are printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Options of shaka-packager
    Shaka,
    /// Options of ffmpeg, which encrypts with `cenc` and one key
    Ffmpeg,
    /// The file of ffmpeg's `-hls_key_info_file`: HLS AES-128
    FfmpegKeyinfo,
    /// Options of Bento4's mp4dash
    Bento4,
    /// The file of GPAC's `MP4Box -crypt`
    Gpac,
    /// Tags of HLS playlists
    Hls,
    /// Elements of DASH manifests
    Dash,
    /// A CPIX document
    Cpix,
}

/// What a format takes beside the keys.
#[derive(Args)]
pub struct Options {
    /// Print what a packager takes, in place of JSON
    #[arg(long, value_name = "NAME", value_enum, conflicts_with = "periods")]
    format: Option<Format>,
    /// Protection scheme, `cbcs` or `cenc`. FairPlay plays `cbcs` only [default: cbcs, for ffmpeg cenc]
    #[arg(long, value_name = "SCHEME", requires = "format", value_parser = scheme)]
    scheme: Option<Scheme>,
    /// File for the key of `ffmpeg-keyinfo`; it is written for its owner only
    #[arg(long, value_name = "FILE", requires = "format")]
    key_file: Option<PathBuf>,
    /// URL of the key of `ffmpeg-keyinfo` [default: `/aes128/` and the KID, below the variable `public_url`]
    #[arg(long, value_name = "URL", requires = "format")]
    url: Option<String>,
    /// Write the file of --key-file over one that is there
    #[arg(long, requires = "key_file")]
    force: bool,
}

/// A key, and what is said of it.
pub struct MadeKey {
    pub kid: Kid,
    pub key: ContentKey,
}

/// Keys for a format.
pub struct Printed<'a> {
    options: &'a Options,
    /// `None` for a KID that a packager made.
    content_id: Option<&'a str>,
    scheme: Scheme,
    keys: &'a [MadeKey],
    urls: &'a KeyUrls<'a>,
    filled: Vec<Filled>,
}

impl Options {
    /// The text of the format. `None` where none was chosen.
    ///
    /// # Errors
    /// What the format cannot say, and a file that cannot be written.
    pub fn text(
        &self,
        content_id: Option<&str>,
        keys: &[MadeKey],
        urls: &KeyUrls<'_>,
    ) -> Result<Option<Zeroizing<String>>> {
        let Some(format) = self.format else {
            return Ok(None);
        };
        let scheme = match (format, self.scheme) {
            (Format::Ffmpeg, Some(Scheme::Cbcs)) => {
                bail!("--scheme: ffmpeg encrypts with `cenc` only")
            }
            (Format::Ffmpeg, _) => Scheme::Cenc,
            (Format::FfmpegKeyinfo, Some(_)) => {
                bail!("--scheme: HLS AES-128 encrypts whole segments, and has no scheme")
            }
            (_, scheme) => scheme.unwrap_or(Scheme::Cbcs),
        };
        if format != Format::FfmpegKeyinfo {
            for (name, is_given) in [
                ("--key-file", self.key_file.is_some()),
                ("--url", self.url.is_some()),
            ] {
                ensure!(!is_given, "{name} is for --format ffmpeg-keyinfo");
            }
        }
        let filled = keys.iter().map(|MadeKey { kid, key }| Filled {
            fairplay_uri: fairplay_uri(urls, content_id, *kid, key),
            ..urls.filled(content_id.unwrap_or_default(), *kid, key, key.iv)
        });
        let printed = Printed {
            options: self,
            content_id,
            scheme,
            keys,
            urls,
            filled: filled.collect(),
        };
        let text = match format {
            Format::Shaka => printed.shaka()?,
            Format::Ffmpeg => printed.ffmpeg(),
            Format::FfmpegKeyinfo => printed.ffmpeg_keyinfo()?,
            Format::Bento4 => printed.bento4(),
            Format::Gpac => printed.gpac(),
            Format::Hls => printed.hls()?,
            Format::Dash => printed.dash()?,
            Format::Cpix => printed.cpix()?,
        };
        Ok(Some(text))
    }
}

/// The URI by which FairPlay's tags name a key. Where the content is not known, the KID is all of it.
pub fn fairplay_uri(
    urls: &KeyUrls<'_>,
    content_id: Option<&str>,
    kid: Kid,
    key: &ContentKey,
) -> String {
    match content_id {
        Some(content_id) => urls.skd_template.uri(content_id, kid, key.iv.as_ref()),
        None => format!("skd://{kid}"),
    }
}

impl Printed<'_> {
    fn all(&self) -> impl Iterator<Item = (&MadeKey, &Filled)> {
        self.keys.iter().zip(&self.filled)
    }

    /// The IV where the scheme has one for all samples. With `cenc` two tracks of one key must not begin with the same,
    /// so packagers draw it.
    fn constant_iv(&self, key: &ContentKey) -> Option<String> {
        let iv = key.iv.filter(|_| self.scheme == Scheme::Cbcs);
        iv.map(hex::encode)
    }

    fn shaka(&self) -> Result<Zeroizing<String>> {
        let mut keys = Zeroizing::new(String::new());
        for (MadeKey { kid, key }, _) in self.all() {
            let value = Zeroizing::new(hex::encode(key.key.expose()));
            let iv = self.constant_iv(key);
            let iv = iv.map(|iv| format!(":iv={iv}")).unwrap_or_default();
            for label in labels(key.track) {
                let comma = if keys.is_empty() { "" } else { "," };
                let kid = digits(*kid);
                keys.push_str(&format!("{comma}label={label}:key_id={kid}:key="));
                keys.push_str(&value);
                keys.push_str(&iv);
            }
        }
        let systems = match self.scheme {
            Scheme::Cbcs => "Widevine,PlayReady,FairPlay,CommonSystem",
            _ => "Widevine,PlayReady,CommonSystem",
        };
        let scheme = self.scheme.name();
        let mut text = Zeroizing::new(format!(
            "--enable_raw_key_encryption --keys {} --protection_scheme {scheme} --protection_systems {systems}",
            *keys
        ));
        match self.filled.as_slice() {
            _ if self.scheme != Scheme::Cbcs => {}
            [one] => {
                let uri = shlex::try_quote(&one.fairplay_uri).context(SKD_TEMPLATE)?;
                text.push_str(&format!(" --hls_key_uri {uri}"));
            }
            _ => eprintln!(
                "shaka-packager has one --hls_key_uri for all keys, so it is left out: the packager then writes skd:// and \
                 each key's own KID in base64, whatever {SKD_TEMPLATE} says. Such a URI finds its key, too."
            ),
        }
        text.push_str(" --clear_lead 0\n");
        Ok(text)
    }

    fn ffmpeg(&self) -> Zeroizing<String> {
        self.options_of_tracks(|kid, key| {
            let value = Zeroizing::new(hex::encode(key.key.expose()));
            let kid = digits(kid);
            format!(
                "-encryption_scheme cenc-aes-ctr -encryption_key {} -encryption_kid {kid}",
                *value
            )
        })
    }

    fn bento4(&self) -> Zeroizing<String> {
        let scheme = self.scheme.name();
        self.options_of_tracks(|kid, key| {
            let value = Zeroizing::new(hex::encode(key.key.expose()));
            let iv = self.constant_iv(key);
            let iv = iv.map(|iv| format!(":{iv}")).unwrap_or_default();
            let kid = digits(kid);
            format!(
                "--encryption-cenc-scheme={scheme} --encryption-key={kid}:{}{iv}",
                *value
            )
        })
    }

    /// A line for each key. Where there are several, a comment of the shell says what each is for.
    fn options_of_tracks(&self, options: impl Fn(Kid, &ContentKey) -> String) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
        for MadeKey { kid, key } in self.keys {
            if self.keys.len() > 1 {
                text.push_str(&format!("# {}\n", track_type(key)));
            }
            let line = Zeroizing::new(options(*kid, key));
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    fn ffmpeg_keyinfo(&self) -> Result<Zeroizing<String>> {
        let [MadeKey { kid, key }] = self.keys else {
            bail!("ffmpeg-keyinfo has one key: give one of --tracks, or none");
        };
        let own = self.urls.aes128(*kid);
        let url = self.options.url.as_ref().or(own.as_ref());
        let url = url.with_context(|| {
            let name = public_url::VARIABLE;
            format!("ffmpeg-keyinfo needs the URL of the key: give --url, or set {name}")
        })?;
        let unwritten = PathBuf::from(format!("{kid}.key"));
        let path = self.options.key_file.as_ref().unwrap_or(&unwritten);
        for (what, text) in [("--url", url.as_str()), ("--key-file", path_text(path)?)] {
            let is_line = !text.is_empty() && !text.contains(char::is_control);
            ensure!(is_line, "{what}: it does not fit into one line");
        }
        match &self.options.key_file {
            Some(path) => {
                ensure!(
                    self.options.force || !path.exists(),
                    "{}: this file is there already. --force writes over it",
                    path.display()
                );
                file::write_secret(path, key.key.expose())?;
                eprintln!("{}: the key, 16 bytes", path.display());
            }
            None => eprintln!(
                "{}: this file is not written. --key-file FILE writes the key",
                path.display()
            ),
        }
        if self.options.url.is_none() {
            eprintln!(
                "The server hands this key out at its URL only if a key record with this KID has \"aes128\" in `systems`."
            );
        }
        let mut text = format!("{url}\n{}\n", path_text(path)?);
        // Without an IV, ffmpeg takes the number of the segment.
        if let Some(iv) = key.iv {
            text.push_str(&format!("{}\n", hex::encode(iv)));
        }
        Ok(Zeroizing::new(text))
    }

    fn gpac(&self) -> Zeroizing<String> {
        let scheme = self.scheme.name();
        let mut text = Zeroizing::new(format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<GPACDRM type=\"{scheme}\">\n"
        ));
        for (number, MadeKey { kid, key }) in (1..).zip(self.keys) {
            // One key is for every track.
            let track: u32 = number;
            let track = match self.keys.len() {
                1 => String::new(),
                _ => format!(r#" trackID="{track}""#),
            };
            let iv = match self.constant_iv(key) {
                Some(iv) => format!(r#"constant_IV_size="16" constant_IV="0x{iv}""#),
                None => {
                    let iv = hex::encode(random::bytes::<8>());
                    format!(r#"IV_size="8" first_IV="0x{iv}""#)
                }
            };
            let (name, kid) = (track_type(key), digits(*kid));
            let value = Zeroizing::new(hex::encode(key.key.expose()));
            text.push_str(&format!(
                "  <!-- {name} -->\n  <CrypTrack{track} IsEncrypted=\"1\" {iv} saiSavedBox=\"senc\">\n    <key KID=\"0x{kid}\" value=\"0x"
            ));
            text.push_str(&value);
            text.push_str("\"/>\n  </CrypTrack>\n");
        }
        text.push_str("</GPACDRM>\n");
        if self.keys.len() > 1 {
            eprintln!("trackID: put the numbers of your file's tracks; here they only count.");
        }
        if self.scheme == Scheme::Cenc {
            eprintln!(
                "first_IV is random: print another file for each further file that you encrypt with the same keys."
            );
        }
        text
    }

    fn hls(&self) -> Result<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::new());
        let mut session = Vec::new();
        for (made, filled) in self.all() {
            text.push_str(&format!("# media playlists, {}\n", track_type(&made.key)));
            for system in ProtectionSystem::usual(self.scheme) {
                let signalling = self.signalling(system, made, filled);
                let line = signalling.media_tag().with_context(|| no_tag(system))?;
                text.push_str(&format!("{line}\n"));
                // One line of PlayReady has all keys.
                if system != ProtectionSystem::PlayReady {
                    session.push(signalling.session_tag().with_context(|| no_tag(system))?);
                }
            }
        }
        // Players of PlayReady choose their licences before they choose a playlist.
        let keys = self.keys.iter().map(|made| (made.kid, &made.key.key));
        let keys: Vec<_> = keys.collect();
        let header = PlayReadyHeader {
            keys: &keys,
            scheme: self.scheme,
            license_url: self.urls.of_licences().playready,
        };
        let object = header.to_object();
        let line = object.and_then(|object| {
            let (scheme, object) = (self.scheme, object.as_slice());
            HlsKey::PlayReady { scheme, object }.session_tag()
        });
        session.push(line.with_context(|| no_tag(ProtectionSystem::PlayReady))?);
        text.push_str(&format!(
            "# multivariant playlist\n{}\n",
            session.join("\n")
        ));
        Ok(text)
    }

    fn dash(&self) -> Result<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::new());
        for (made, filled) in self.all() {
            text.push_str(&format!("<!-- {} -->\n", track_type(&made.key)));
            text.push_str(&mp4_protection(made.kid, self.scheme));
            text.push('\n');
            for system in ProtectionSystem::usual(self.scheme) {
                let element = self.signalling(system, made, filled).protection_element();
                let element = element.with_context(|| no_tag(system))?;
                text.push_str(&format!("{element}\n"));
            }
        }
        Ok(text)
    }

    fn cpix(&self) -> Result<Zeroizing<String>> {
        let content_id = self.content_id;
        let content_id =
            content_id.context("a CPIX document names a content: give --content-id")?;
        let keys = self.keys.iter().map(|MadeKey { kid, key }| BlankKey {
            kid: *kid,
            track_type: track_type(key),
        });
        let keys: Vec<_> = keys.collect();
        let blank = BlankDocument {
            content_id,
            version: Version::V2_1,
            scheme: self.scheme,
            keys: &keys,
            systems: &ProtectionSystem::usual(self.scheme),
            certificate: None,
        };
        let blank = blank.to_xml();
        let blank = blank.context("--content-id: it holds a character that XML does not have")?;
        let request = Request::read(blank.as_bytes(), Version::V2_1)?;
        Ok(request.answer(&self.filled, self.urls.of_licences(), &mut random::system())?)
    }

    fn signalling<'a>(
        &'a self,
        system: ProtectionSystem,
        made: &MadeKey,
        filled: &'a Filled,
    ) -> Signalling<'a> {
        Signalling {
            system,
            kid: made.kid,
            scheme: Some(self.scheme),
            iv: None,
            is_clear: false,
            filled,
            urls: self.urls.of_licences(),
        }
    }
}

/// The labels of shaka-packager, which tells two kinds of UHD apart. That of a key for all tracks is empty.
const fn labels(track: Option<Track>) -> &'static [&'static str] {
    match track {
        None => &[""],
        Some(Track::Audio) => &["AUDIO"],
        Some(Track::Sd) => &["SD"],
        Some(Track::Hd) => &["HD"],
        Some(Track::Uhd) => &["UHD1", "UHD2"],
    }
}

fn track_type(key: &ContentKey) -> &'static str {
    key.track.map_or(ALL, intended_track_type)
}

/// A KID as 32 digits.
fn digits(kid: Kid) -> String {
    hex::encode(kid.as_bytes())
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str().context("--key-file: the path is not text")
}

fn no_tag(system: ProtectionSystem) -> String {
    let name = system.name();
    format!("{name}: nothing can be said of this key. Look at {SKD_TEMPLATE}")
}

fn scheme(name: &str) -> Result<Scheme, String> {
    match Scheme::from_name(name) {
        Some(scheme @ (Scheme::Cbcs | Scheme::Cenc)) => Ok(scheme),
        _ => Err("it is neither cbcs nor cenc".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use keylet::content_key::KeyQuery;
    use keylet::id::Id;

    use super::*;

    /// shaka-packager 3.4.2 and 3.8.0 without `--hls_key_uri`.
    #[test]
    fn the_uri_that_shaka_packager_makes_itself_leads_to_the_kid() {
        let kid = Kid::from_u128(0x00112233_4455_6677_8899_aabbccddeeff);
        let query = KeyQuery::from_id(Id::from_bytes(b"skd://ABEiM0RVZneImaq7zN3u/w=="));
        assert!(query.kids().chain(query.bytes()).any(|found| found == kid));
    }
}
