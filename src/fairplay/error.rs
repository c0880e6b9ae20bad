//! What is wrong with an SPC, or with what is asked for it.

use crate::drm;
use crate::error::Code;
use crate::fairplay::mistake::Mistake;
use crate::fairplay::tag::Tag;

/// Status numbers of the FairPlay server SDK (specification section 13).
pub mod status {
    /// The container version is not known.
    pub const SPC_VERSION: i32 = -42580;
    /// A core TLLV has the wrong size.
    pub const PARSER: i32 = -42581;
    /// A required or requested tag is absent.
    pub const MISSING_REQUIRED_TAG: i32 = -42583;
    /// Lengths out of range, or rules in conflict.
    pub const PARAM: i32 = -42585;
    /// \[SK..R1\] integrity or the version 3 CMAC.
    pub const INTEGRITY: i32 = -42589;
    /// Protocol version, or the version 3 transport.
    pub const VERSION: i32 = -42590;
    /// A tag occurs twice.
    pub const DUPLICATE_TAG: i32 = -42591;
    /// More sync records than a server takes.
    pub const INTERNAL: i32 = -42601;
    /// The device is not sufficient.
    pub const CLIENT_SECURITY_LEVEL: i32 = -42604;
    /// Unknown certificate, or the SPC key does not decrypt.
    pub const INVALID_CERTIFICATE: i32 = -42605;
    /// What needs the vendor's closed library.
    pub const NOT_IMPLEMENTED: i32 = -42612;
}

/// The member of audit records and problem documents with the status number.
pub const FPS_STATUS: &str = "fps_status";

/// That no credential is configured.
pub fn off() -> drm::Error {
    drm::Error::Refused {
        code: Code::FAIRPLAY_OFF,
        reason: "no FairPlay credential is configured".to_owned(),
        is_public: false,
        details: drm::Details::new(),
    }
}

/// Why an SPC gets no CKC. Offsets count bytes from the start of the message, or of the decrypted
/// payload for what was found there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is something else.
    #[error("{}", .0.advice())]
    NotAnSpc(Mistake),
    /// The container's header is incomplete.
    #[error("the SPC ends at byte {actual}, before its header of {expected} bytes does")]
    Truncated {
        /// Bytes that the header has.
        expected: usize,
        /// Bytes that the message has.
        actual: usize,
    },
    /// The container version is not 1, 2 or 3.
    #[error("the SPC container version at byte 0 is {0}, not 1, 2 or 3")]
    ContainerVersion(u32),
    /// The payload length does not fit the message.
    #[error(
        "the SPC payload length at byte {offset} is {declared}, and {available} bytes follow the header"
    )]
    PayloadLength {
        /// Where the length stands.
        offset: usize,
        /// What it says.
        declared: u32,
        /// How many payload bytes there are.
        available: usize,
    },
    /// The version 3 container has another transport UUID.
    #[error("the transport UUID at byte 8 is not the one that is known")]
    Transport,
    /// The SPC names a certificate that is not configured. The hash is public.
    #[error("the SPC was made for the certificate with hash {requested}; this server holds {}. Let the player fetch its certificate from this server", .known.join(", "))]
    UnknownCertificate {
        /// The hash in the SPC, in hexadecimal.
        requested: String,
        /// The hashes of the certificates that are configured, of the same kind, in hexadecimal.
        known: Vec<String>,
    },
    /// The SPC key does not decrypt, or is not 16 bytes: one answer.
    #[error("the SPC key does not decrypt")]
    SpcKey,
    /// The CMAC of a version 3 container does not match.
    #[error("the integrity tag of the version 3 container does not match")]
    ContainerIntegrity,
    /// A TLLV block does not fit.
    #[error("the TLLV block at byte {offset} of the payload does not fit")]
    Tllv {
        /// Where the block starts.
        offset: usize,
    },
    /// A tag occurs twice.
    #[error("tag {tag:?} occurs again at byte {offset} of the payload")]
    DuplicateTag {
        /// The tag.
        tag: Tag,
        /// Where it occurs again.
        offset: usize,
    },
    /// A required tag, or one named by the return request, is absent.
    #[error("tag {0:?} is missing")]
    MissingTag(Tag),
    /// A value has the wrong size.
    #[error("the value of {tag:?} at byte {offset} of the payload has {actual} bytes")]
    ValueSize {
        /// The tag.
        tag: Tag,
        /// Where its block starts.
        offset: usize,
        /// The size found.
        actual: usize,
        /// The status that the specification gives this tag.
        status: i32,
    },
    /// A value is of the right size and makes no sense.
    #[error("the value of {tag:?} at byte {offset} of the payload is not valid")]
    Value {
        /// The tag.
        tag: Tag,
        /// Where its block starts.
        offset: usize,
        /// The status that the specification gives.
        status: i32,
    },
    /// The return request names a tag that only the server may write.
    #[error("the return request names {0:?}, which only a server writes")]
    ReturnRequest(Tag),
    /// The protocol version used is not 1, or not among those supported.
    #[error("protocol version {0} is used, not 1")]
    ProtocolVersion(u32),
    /// [SK..R1] does not carry the integrity value of the SPC.
    #[error("the integrity values do not match")]
    Integrity,
    /// The device offers no key format that is public.
    #[error("the device takes no key format that is public")]
    KeyFormat,
    /// The key record has no IV.
    #[error("the key record has no IV")]
    IvMissing,
    /// The credential has no application secret key.
    #[error("credential `{0}` has no application secret key")]
    AskMissing(String),
    /// A duration is asked for a device that sent no media playback state.
    #[error("a duration needs the media playback state, which the SPC does not have")]
    DurationUnsupported,
    /// Dual expiry is asked for a device without offline keys.
    #[error("the device has no offline key, which a playback duration needs")]
    OfflineKeyUnsupported,
    /// HDCP type 1 is asked for a device that cannot enforce it.
    #[error("the device cannot enforce HDCP type 1")]
    HdcpUnsupported,
    /// The device does not reach the security level, or does not report one.
    #[error("the device does not reach the security level")]
    SecurityLevel,
    /// The Key Delivery Library is older than required, or was not reported.
    #[error("the device's Key Delivery Library is too old")]
    KdlVersion,
    /// The operating system is older than required, or was not reported.
    #[error("the device's operating system is too old, or was not reported")]
    OsVersion,
    /// The device's class is not allowed.
    #[error("devices of this class are not allowed")]
    DeviceClass,
    /// The device is not one of those that are allowed.
    #[error("the device is none of those that are allowed")]
    DeviceId,
    /// The client is a virtual machine.
    #[error("virtual machines are not allowed")]
    VirtualMachine,
    /// A check-in whose SPC reports nothing.
    #[error("the SPC has no offline sync block that reports anything")]
    NoReport,
    /// Playback goes to AirPlay or to an adapter.
    #[error("playback to this output is not allowed")]
    Output,
}

impl Error {
    /// The status number of the FairPlay server SDK.
    pub fn fps_status(&self) -> i32 {
        match self {
            Self::NotAnSpc(_) | Self::ContainerVersion(_) => status::SPC_VERSION,
            Self::Truncated { .. }
            | Self::PayloadLength { .. }
            | Self::Tllv { .. }
            | Self::ReturnRequest(_)
            | Self::NoReport
            | Self::IvMissing
            | Self::DurationUnsupported => status::PARAM,
            Self::UnknownCertificate { .. } | Self::SpcKey => status::INVALID_CERTIFICATE,
            Self::ContainerIntegrity | Self::Integrity => status::INTEGRITY,
            Self::Transport | Self::ProtocolVersion(_) => status::VERSION,
            Self::DuplicateTag { .. } => status::DUPLICATE_TAG,
            Self::MissingTag(_) => status::MISSING_REQUIRED_TAG,
            Self::ValueSize { status, .. } | Self::Value { status, .. } => *status,
            Self::KeyFormat | Self::AskMissing(_) => status::NOT_IMPLEMENTED,
            Self::OfflineKeyUnsupported
            | Self::HdcpUnsupported
            | Self::SecurityLevel
            | Self::KdlVersion
            | Self::OsVersion
            | Self::DeviceClass
            | Self::DeviceId
            | Self::VirtualMachine
            | Self::Output => status::CLIENT_SECURITY_LEVEL,
        }
    }

    /// The code of this error.
    pub fn code(&self) -> Code {
        match self {
            Self::NotAnSpc(mistake) => mistake.code(),
            Self::Truncated { .. } => Code::SPC_TRUNCATED,
            Self::ContainerVersion(_) => Code::SPC_VERSION,
            Self::PayloadLength { .. } => Code::SPC_LENGTH,
            Self::Transport => Code::SPC_TRANSPORT,
            Self::UnknownCertificate { .. } => Code::SPC_CERTIFICATE_UNKNOWN,
            Self::SpcKey => Code::SPC_UNDECRYPTABLE,
            Self::ContainerIntegrity | Self::Integrity => Code::SPC_INTEGRITY,
            Self::Tllv { .. } => Code::SPC_TLLV,
            Self::DuplicateTag { .. } => Code::SPC_DUPLICATE_TAG,
            Self::MissingTag(_) => Code::SPC_MISSING_TAG,
            Self::ValueSize { .. } | Self::Value { .. } | Self::ReturnRequest(_) => {
                Code::SPC_TAG_VALUE
            }
            Self::ProtocolVersion(_) => Code::SPC_PROTOCOL_VERSION,
            Self::KeyFormat => Code::SPC_KEY_FORMAT,
            Self::IvMissing => Code::IV_MISSING,
            Self::AskMissing(_) => Code::ASK_MISSING,
            Self::DurationUnsupported => Code::DURATION_UNSUPPORTED,
            Self::OfflineKeyUnsupported => Code::DEVICE_OFFLINE_UNSUPPORTED,
            Self::HdcpUnsupported => Code::DEVICE_HDCP_UNSUPPORTED,
            Self::SecurityLevel => Code::DEVICE_SECURITY_LEVEL,
            Self::KdlVersion => Code::DEVICE_KDL_TOO_OLD,
            Self::OsVersion => Code::DEVICE_OS_TOO_OLD,
            Self::DeviceClass => Code::DEVICE_CLASS_NOT_ALLOWED,
            Self::DeviceId => Code::DEVICE_NOT_ALLOWED,
            Self::VirtualMachine => Code::DEVICE_VIRTUAL,
            Self::Output => Code::OUTPUT_NOT_ALLOWED,
            Self::NoReport => Code::SYNC_MISSING,
        }
    }

    /// Whether the client may read what this error says beyond its code: only what was found
    /// before anything was decrypted, since an offset into a plaintext would make an oracle.
    pub fn is_public(&self) -> bool {
        matches!(
            self,
            Self::NotAnSpc(_)
                | Self::Truncated { .. }
                | Self::ContainerVersion(_)
                | Self::PayloadLength { .. }
                | Self::Transport
                | Self::UnknownCertificate { .. }
        )
    }
}

impl From<Error> for drm::Error {
    fn from(error: Error) -> Self {
        Self::Refused {
            code: error.code(),
            reason: error.to_string(),
            is_public: error.is_public(),
            details: vec![(FPS_STATUS, error.fps_status().into())],
        }
    }
}
