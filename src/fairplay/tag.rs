//! Tags of the TLLV blocks in SPC and CKC.

/// The 8-byte tag of a TLLV block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u64);

macro_rules! tags {
    ($($(#[$doc:meta])* $constant:ident = $value:literal $name:literal;)*) => {
        impl Tag {
            $($(#[$doc])* pub const $constant: Tag = Tag($value);)*

            /// The name of a tag that this library knows.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$constant => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

tags! {
    /// \[SK..R1\]: IV (16) ‖ ciphertext (96).
    SESSION_KEY_R1 = 0x3d1a_10b8_bffa_c2ec "[SK..R1]";
    /// \[SK..R1\] integrity: 16 bytes.
    SESSION_KEY_R1_INTEGRITY = 0xb349_d480_9e91_0687 "[SK..R1] integrity";
    /// Anti-replay seed: 16 bytes.
    ANTI_REPLAY_SEED = 0x89c9_0f12_2041_06b2 "anti-replay seed";
    /// R2: 21 bytes, input of the D function.
    R2 = 0x71b5_595a_c152_1133 "R2";
    /// Tag return request: tags of 8 bytes.
    RETURN_REQUEST = 0x19f9_d4e5_ab76_09cb "return request";
    /// Asset id: 2 to 200 bytes.
    ASSET_ID = 0x1bf7_f53f_5d5d_5a1f "asset id";
    /// Transaction id: 8 bytes.
    TRANSACTION_ID = 0x47aa_7ad3_4405_77de "transaction id";
    /// Protocol versions supported: u32 each.
    PROTOCOL_VERSIONS_SUPPORTED = 0x67b8_fb79_ecce_1a13 "protocol versions supported";
    /// Protocol version used: u32.
    PROTOCOL_VERSION_USED = 0x5d81_bcbc_c7f6_1703 "protocol version used";
    /// Streaming indicator: u64.
    STREAMING_INDICATOR = 0xabb0_256a_3184_3974 "streaming indicator";
    /// Media playback state: date u32 ‖ state u32 ‖ playback session id u64.
    MEDIA_PLAYBACK_STATE = 0xeb8e_fdf2_b25a_b3a0 "media playback state";
    /// Capabilities: high u64 ‖ low u64.
    CAPABILITIES = 0x9c02_af32_53c0_7fb2 "capabilities";
    /// Offline sync, versions 1 and 2.
    OFFLINE_SYNC = 0x7796_6de1_dc10_83ad "offline sync";
    /// Supported key formats: version u32 ‖ reserved u32 ‖ count u32 ‖ u64 each.
    SUPPORTED_KEY_FORMATS = 0x8d8e_84fa_6cc3_5eb7 "supported key formats";
    /// Security level report: version u32 ‖ reserved u32 ‖ level u64 ‖ KDL version u32.
    SECURITY_LEVEL_REPORT = 0xb18e_e16e_a50f_6c02 "security level report";
    /// KDL version report: u32.
    KDL_VERSION_REPORT = 0x70ec_a657_3388_e329 "KDL version report";
    /// Device info of older systems: type u64 ‖ OS version u32 ‖ version u32.
    DEVICE_INFO = 0xd43f_c6ab_c596_aae7 "device info";
    /// Device identity.
    DEVICE_IDENTITY = 0x94c1_7cd6_76c6_9b59 "device identity";
    /// Virtual machine device info.
    VM_DEVICE_INFO = 0x7564_40e2_4049_9f70 "VM device info";
    /// Session key R1 of the "video" session key; its format is not public.
    VIDEO_SESSION_KEY_R1 = 0x697a_f621_3858_562f "session key R1 v3";
    /// R2 of the "video" session key; its format is not public.
    VIDEO_R2 = 0xdb30_b89d_cb58_34b3 "R2 v3";
    /// Content key (CKC): CK-IV (16) ‖ wrapped CK (16). Also the name of the 16-byte key format.
    CONTENT_KEY = 0x58b3_8165_af0e_3d5a "content key";
    /// R1 (CKC): 44 bytes.
    R1 = 0xea74_c464_5d5e_fee9 "R1";
    /// Key duration (CKC).
    KEY_DURATION = 0x47ac_f6a4_18cd_091a "key duration";
    /// Offline key (CKC).
    OFFLINE_KEY = 0x6375_d972_7060_218c "offline key";
    /// HDCP requirement (CKC): u64 ‖ 8 random bytes.
    HDCP = 0x2e52_f153_0d8d_db4a "HDCP";
    /// Security level (CKC).
    SECURITY_LEVEL = 0x644c_b1da_c031_3250 "security level";
    /// Session key version used (CKC).
    SESSION_KEY_VERSION_USED = 0x42ca_089e_8e9f_a924 "session key version used";
    /// "Encryption mode" (CKC), seen in published CKCs and never sent here.
    ENCRYPTION_MODE = 0xe6d0_a3e7_2c92_a4ef "encryption mode";
}

impl Tag {
    /// Tags that only the server sets in a CKC: no return request may name one.
    pub const CKC: [Tag; 8] = [
        Self::CONTENT_KEY,
        Self::R1,
        Self::KEY_DURATION,
        Self::OFFLINE_KEY,
        Self::HDCP,
        Self::SECURITY_LEVEL,
        Self::SESSION_KEY_VERSION_USED,
        Self::ENCRYPTION_MODE,
    ];
}

/// A tag that occurs twice. 64 KiB hold up to 4,096 blocks: sorted, each is compared with one other.
pub fn repeated(mut tags: Vec<Tag>) -> Option<Tag> {
    tags.sort_unstable();
    let repeated = tags.array_windows().find(|[a, b]| a == b);
    repeated.map(|[tag, _]| *tag)
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::fmt::Debug for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{self} ({name})"),
            None => write!(f, "{self}"),
        }
    }
}
