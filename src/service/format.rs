//! The forms in which a licence request comes and a licence goes.

/// The query parameter that chooses the form of the reply.
pub const PARAMETER: &str = "format";

/// A form of request and reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The bytes themselves.
    Raw,
    /// Base64 alone.
    Base64,
    /// Base64 in `<ckc>`; the request is a form with `spc=`.
    CkcXml,
    /// A JSON object with one SPC or CKC.
    Json,
    /// `fairplay-streaming-request` and `fairplay-streaming-response`, for several keys.
    Envelope,
    /// `[{"keyID", "payload"}]`, as a content decryption module asks and reads it.
    Array,
}

impl Format {
    /// Each form by its names in the query.
    pub const ALL: [(&str, Self); 7] = [
        ("raw", Self::Raw),
        ("base64", Self::Base64),
        ("ckc-xml", Self::CkcXml),
        ("json", Self::Json),
        ("envelope", Self::Envelope),
        ("apple", Self::Envelope),
        ("array", Self::Array),
    ];

    /// Whether a reply of this form has room for several keys.
    pub fn has_room(self) -> bool {
        match self {
            Self::Envelope | Self::Array => true,
            Self::Raw | Self::Base64 | Self::CkcXml | Self::Json => false,
        }
    }

    /// The media types of `Accept` that ask for it; one of them is its own.
    pub fn media_types(self) -> &'static [&'static str] {
        match self {
            Self::Raw => &["application/octet-stream"],
            Self::Base64 => &["text/plain"],
            Self::CkcXml => &["text/plain", "text/xml"],
            Self::Json | Self::Envelope | Self::Array => &["application/json"],
        }
    }
}
