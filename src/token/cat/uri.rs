//! The claims `catu` and `cath`: what a URI or a header has to be, and the variable that says whose URI.

use http::Uri;
use http::header::HOST;
use sha2::{Digest, Sha256, Sha512_256};

use super::cbor::Value;
use super::place::{Asked, PARAMETER};
use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::encoding;
use crate::id::Id;
use crate::platform::Platform;
use crate::public_url::PublicUrl;
use crate::token::dialect::Error;

/// The variable that says what `catu` is held against: `content` (default), behind which templates of the content's
/// paths may stand, or `request`.
pub const VARIABLE: &str = "cat_uri";

/// The place of a content's id in a template.
const CONTENT_ID: &str = "{content_id}";

/// What `catu` is held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UriRule {
    /// The paths of contents. The token is one for the content delivery network, and its path names a content.
    Content(Vec<PathTemplate>),
    /// The URL that the player asks, with the deployment's [`PublicUrl`] where it is set.
    Request(Option<PublicUrl>),
}

/// The path of a content, such as `/vod/{content_id}/`. An id ends at the next slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {
    before: String,
    after: String,
}

impl UriRule {
    /// Reads [`VARIABLE`].
    ///
    /// # Errors
    /// A word that is none of those, and a template that does not begin with a slash or has not one place for the id.
    pub async fn load(platform: &impl Platform) -> Result<Self, SettingsError> {
        let setting = platform.variable(VARIABLE).await?;
        let text = setting.as_deref().map_or("content", String::as_str);
        let words = encoding::words(text).unwrap_or_default();
        if words.iter().any(|word| word == "request") && words.len() == 1 {
            return Ok(Self::Request(PublicUrl::load(platform).await?));
        }
        let templates = words.iter().filter(|word| *word != "content");
        let templates: Option<Vec<PathTemplate>> =
            templates.map(|t| PathTemplate::read(t)).collect();
        match templates {
            Some(templates) if !words.is_empty() => Ok(Self::Content(templates)),
            _ => {
                let reason = "it is neither `request` nor `content` with templates such as `/vod/{content_id}/`";
                Err(SettingError::new(VARIABLE, SettingErrorKind::Malformed, reason).into())
            }
        }
    }

    /// Holds a claim `catu` against the request, or finds the content that it names; `None`: it is not about one.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what is not understood, and where it names a path that no template has.
    /// [`Error::Request`] for another request than the token is for.
    pub(super) fn check(
        &self,
        claim: &Value<'_>,
        asked: Option<&Asked>,
    ) -> Result<Option<Id>, Error> {
        let parts = claim.as_map().ok_or(Error::Malformed(CATU))?;
        let mut content = None;
        for (part, matches) in parts {
            let part = Part::read(part)?;
            let matches = Match::read_all(matches, CATU)?;
            match self {
                Self::Request(public) => {
                    let asked = asked.ok_or(Error::Request(CATU))?;
                    let value = part
                        .of_request(asked, public.as_ref())
                        .ok_or(Error::Request(CATU))?;
                    if !matches.iter().all(|one| one.holds(&value)) {
                        return Err(Error::Request(CATU));
                    }
                }
                Self::Content(templates) => {
                    for one in &matches {
                        let named = part.content(one, templates)?;
                        match (&content, named) {
                            (Some(known), Some(named)) if *known != named => {
                                return Err(Error::Malformed(CATU));
                            }
                            (None, named) => content = named,
                            _ => {}
                        }
                    }
                }
            }
        }
        Ok(content)
    }
}

const CATU: &str = "catu";

impl PathTemplate {
    fn read(text: &str) -> Option<Self> {
        let (before, after) = text.split_once(CONTENT_ID)?;
        let is_literal = |text: &str| !text.contains(['{', '}', '?', '#']);
        let is_whole = before.starts_with('/')
            && is_literal(before)
            && is_literal(after)
            && (after.is_empty() || after.starts_with('/'));
        is_whole.then(|| Self {
            before: before.to_owned(),
            after: after.to_owned(),
        })
    }

    /// The id in a path of which the beginning is known, or all of it. One whose end is not known is none: `/movie-4`
    /// also begins the paths of `/movie-42`.
    fn id<'p>(&self, path: &'p str, is_whole: bool) -> Option<&'p str> {
        let rest = path.strip_prefix(self.before.as_str())?;
        let (id, rest) = match rest.find('/') {
            Some(end) => rest.split_at_checked(end)?,
            None if is_whole => (rest, ""),
            None => return None,
        };
        (!id.is_empty() && rest.starts_with(&self.after)).then_some(id)
    }
}

/// A part of a URI (CTA-5007, `catu`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Scheme,
    Host,
    Port,
    Path,
    Query,
    ParentPath,
    Filename,
    Stem,
    Extension,
}

impl Part {
    fn read(key: &Value<'_>) -> Result<Self, Error> {
        Ok(match key.as_int() {
            Some(0) => Self::Scheme,
            Some(1) => Self::Host,
            Some(2) => Self::Port,
            Some(3) => Self::Path,
            Some(4) => Self::Query,
            Some(5) => Self::ParentPath,
            Some(6) => Self::Filename,
            Some(7) => Self::Stem,
            Some(8) => Self::Extension,
            _ => return Err(Error::Unsupported(CATU.to_owned())),
        })
    }

    /// The content that a match on the path names. Other parts say where and in which file the content is, which a key
    /// is not about.
    fn content(self, one: &Match<'_>, templates: &[PathTemplate]) -> Result<Option<Id>, Error> {
        if !matches!(self, Self::Path | Self::ParentPath) {
            return Ok(None);
        }
        let unsupported = || Error::Unsupported(CATU.to_owned());
        let (path, is_whole) = match (self, one) {
            (Self::Path, Match::Exact(path)) => ((*path).to_owned(), true),
            // A file in this directory.
            (_, Match::Exact(path)) => (format!("{}/", path.trim_end_matches('/')), false),
            (_, Match::Prefix(path)) => {
                // The whole site: it is not about one content.
                let begins = |template: &PathTemplate| template.before.starts_with(path);
                let has_all = !templates.is_empty() && templates.iter().all(begins);
                if has_all || path.len() <= 1 {
                    return Ok(None);
                }
                ((*path).to_owned(), false)
            }
            _ => return Err(unsupported()),
        };
        let mut ids = templates
            .iter()
            .filter_map(|template| template.id(&path, is_whole));
        let id = ids.next().and_then(Id::from_text);
        id.map(Some).ok_or_else(unsupported)
    }

    /// What the part is in a request; `None` where the host does not say it.
    fn of_request(self, asked: &Asked, public: Option<&PublicUrl>) -> Option<String> {
        let own = asked.uri.path();
        let uri = match public {
            Some(public) => public.with(own).parse::<Uri>().ok()?,
            None => asked.uri.clone(),
        };
        let authority = uri.authority().cloned().or_else(|| {
            let host = asked.headers.get(HOST)?.to_str().ok()?;
            host.parse().ok()
        });
        let path = uri.path();
        let (parent, file) = path.rsplit_once('/')?;
        let (stem, extension) = match file.find('.') {
            None => (file, ""),
            Some(dot) => file.split_at_checked(dot)?,
        };
        Some(match self {
            Self::Scheme => uri.scheme_str()?.to_ascii_lowercase(),
            Self::Host => authority?.host().to_ascii_lowercase(),
            Self::Port => match (authority.and_then(|a| a.port_u16()), uri.scheme_str()) {
                (Some(port), _) => port.to_string(),
                (None, Some("https")) => "443".to_owned(),
                (None, Some("http")) => "80".to_owned(),
                (None, _) => return None,
            },
            Self::Path => path.to_owned(),
            Self::Query => sorted_query(asked.uri.query().unwrap_or_default()),
            Self::ParentPath => parent.to_owned(),
            Self::Filename => file.to_owned(),
            Self::Stem => stem.to_owned(),
            Self::Extension => extension.to_owned(),
        })
    }
}

/// The parameters in order, without that of the token.
fn sorted_query(query: &str) -> String {
    let is_token = |pair: &&str| {
        let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
        name.eq_ignore_ascii_case(PARAMETER)
    };
    let mut pairs: Vec<&str> = query.split('&').filter(|pair| !is_token(pair)).collect();
    pairs.sort_unstable();
    pairs.join("&")
}

/// How a value has to match (CTA-5007, `catu` and `cath`).
#[derive(Debug)]
pub(super) enum Match<'a> {
    Exact(&'a str),
    Prefix(&'a str),
    Suffix(&'a str),
    Contains(&'a str),
    Sha256(Vec<u8>),
    Sha512_256(Vec<u8>),
}

impl<'a> Match<'a> {
    /// Reads a map of matches, each of which has to hold.
    ///
    /// # Errors
    /// [`Error::Malformed`], and [`Error::Unsupported`] for regular expressions and what is not known.
    pub(super) fn read_all(value: &Value<'a>, claim: &'static str) -> Result<Vec<Self>, Error> {
        let matches = value.as_map().ok_or(Error::Malformed(claim))?;
        let read = matches.iter().map(|(kind, value)| {
            let text = || value.as_text().ok_or(Error::Malformed(claim));
            let digest = || match value {
                Value::Bytes(bytes) => Ok(bytes.to_vec()),
                value => value
                    .as_text()
                    .and_then(|text| hex::decode(text).ok())
                    .ok_or(Error::Malformed(claim)),
            };
            Ok(match kind.as_int() {
                Some(0) => Self::Exact(text()?),
                Some(1) => Self::Prefix(text()?),
                Some(2) => Self::Suffix(text()?),
                Some(3) => Self::Contains(text()?),
                Some(-1) => Self::Sha256(digest()?),
                Some(-2) => Self::Sha512_256(digest()?),
                _ => return Err(Error::Unsupported(claim.to_owned())),
            })
        });
        read.collect()
    }

    pub(super) fn holds(&self, value: &str) -> bool {
        match self {
            Self::Exact(wanted) => value == *wanted,
            Self::Prefix(wanted) => value.starts_with(wanted),
            Self::Suffix(wanted) => value.ends_with(wanted),
            Self::Contains(wanted) => value.contains(wanted),
            Self::Sha256(wanted) => Sha256::digest(value).as_slice() == wanted,
            Self::Sha512_256(wanted) => Sha512_256::digest(value).as_slice() == wanted,
        }
    }
}
