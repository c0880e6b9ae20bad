//! The protection schemes of Common Encryption.

/// A protection scheme (ISO/IEC 23001-7 section 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// AES-CTR of whole samples, or of subsamples.
    Cenc,
    /// AES-CTR of a pattern of blocks.
    Cens,
    /// AES-CBC of whole samples, or of subsamples.
    Cbc1,
    /// AES-CBC of a pattern of blocks, with one IV for all samples.
    Cbcs,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 4] = [Self::Cenc, Self::Cens, Self::Cbc1, Self::Cbcs];

    /// The scheme with this name. Names are in lower case, as in the `schm` box.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.name() == name)
    }

    /// The scheme with this name in any case. Widevine's key requests have names in upper case.
    pub fn from_any_case(name: &str) -> Option<Self> {
        let mut schemes = Self::ALL.into_iter();
        schemes.find(|scheme| scheme.name().eq_ignore_ascii_case(name))
    }

    /// Its name, as `commonEncryptionScheme` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cenc => "cenc",
            Self::Cens => "cens",
            Self::Cbc1 => "cbc1",
            Self::Cbcs => "cbcs",
        }
    }

    /// Its name as four bytes, big-endian: `scheme_type` of the `schm` box.
    pub const fn fourcc(self) -> u32 {
        u32::from_be_bytes(*match self {
            Self::Cenc => b"cenc",
            Self::Cens => b"cens",
            Self::Cbc1 => b"cbc1",
            Self::Cbcs => b"cbcs",
        })
    }

    /// `METHOD` in HLS (draft-pantos-hls-rfc8216bis section 4.4.4.4).
    pub const fn hls_method(self) -> &'static str {
        match self {
            Self::Cenc | Self::Cens => "SAMPLE-AES-CTR",
            Self::Cbc1 | Self::Cbcs => "SAMPLE-AES",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_is_known_by_its_name_and_has_it_as_four_bytes() {
        for (name, fourcc, method) in [
            ("cenc", 0x6365_6e63, "SAMPLE-AES-CTR"),
            ("cens", 0x6365_6e73, "SAMPLE-AES-CTR"),
            ("cbc1", 0x6362_6331, "SAMPLE-AES"),
            ("cbcs", 0x6362_6373, "SAMPLE-AES"),
        ] {
            let scheme = Scheme::from_name(name).unwrap();
            let found = (scheme.name(), scheme.fourcc(), scheme.hls_method());
            assert_eq!(found, (name, fourcc, method));
            let upper = name.to_ascii_uppercase();
            assert_eq!(Scheme::from_any_case(&upper), Some(scheme));
            assert_eq!(Scheme::from_name(&upper), None);
        }
        for name in ["", "cbc2", "SAMPLE-AES", "UNSPECIFIED"] {
            assert_eq!(Scheme::from_any_case(name), None, "{name}");
        }
    }
}
