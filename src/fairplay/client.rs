//! What an SPC says of the device and of what it is doing (specification sections 5 and 9 to 11).
//!
//! In SPCs of version 1 and 2 nothing here is authenticated by the protocol.

use crate::fairplay::error::Error;
use crate::fairplay::error::status::{INTERNAL, PARAM, PARSER};
use crate::fairplay::tag::Tag;
use crate::fairplay::tllv::{Tllv, Tllvs};
use crate::reader::Reader;

/// The optional tags of an SPC as typed values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// Where playback goes to.
    pub streaming: Option<Streaming>,
    /// What the player is doing. Without it the device keeps to no duration.
    pub playback: Option<MediaPlaybackState>,
    /// What the device can do; `None` when it does not report that.
    pub capabilities: Option<Capabilities>,
    /// The key formats that it takes; `None` when it reports none, which means the 16-byte key.
    pub key_formats: Option<Vec<u64>>,
    /// Security level, as a number whose order is that of strength.
    pub security_level: Option<u64>,
    /// Version of the Key Delivery Library.
    pub kdl_version: Option<u32>,
    /// Device info of older systems.
    pub device_info: Option<DeviceInfo>,
    /// Device identity of newer systems.
    pub device_identity: Option<DeviceIdentity>,
    /// What a virtual machine says of its host and itself.
    pub vm_device_info: Option<VmDeviceInfo>,
    /// The report of an offline key.
    pub offline_sync: Option<OfflineSync>,
}

impl Client {
    /// Reads the optional tags.
    ///
    /// # Errors
    /// [`Error::ValueSize`] or [`Error::Value`] for a tag whose value breaks its rules.
    pub fn read(tllvs: &Tllvs) -> Result<Self, Error> {
        let mut client = Self::default();
        for tllv in tllvs.iter() {
            match tllv.tag {
                Tag::STREAMING_INDICATOR => client.streaming = Some(Streaming::read(&tllv)?),
                Tag::MEDIA_PLAYBACK_STATE => {
                    client.playback = Some(MediaPlaybackState::read(&tllv)?);
                }
                Tag::CAPABILITIES => client.capabilities = Some(Capabilities::read(&tllv)?),
                Tag::SUPPORTED_KEY_FORMATS => client.key_formats = key_formats(&tllv)?,
                Tag::SECURITY_LEVEL_REPORT => {
                    if let Some((level, kdl)) = security_level_report(&tllv)? {
                        client.security_level = Some(level);
                        // The tag of its own always wins.
                        client.kdl_version = client.kdl_version.or(Some(kdl));
                    }
                }
                Tag::DEVICE_INFO => client.device_info = Some(DeviceInfo::read(&tllv)?),
                Tag::DEVICE_IDENTITY => client.device_identity = Some(DeviceIdentity::read(&tllv)?),
                Tag::VM_DEVICE_INFO => client.vm_device_info = VmDeviceInfo::read(&tllv)?,
                Tag::OFFLINE_SYNC => client.offline_sync = OfflineSync::read(&tllv)?,
                // Their format is not public: they are echoed when asked for, and otherwise ignored.
                Tag::VIDEO_SESSION_KEY_R1 if tllv.value.len() > 256 => {
                    return Err(tllv.wrong_size(PARSER));
                }
                Tag::VIDEO_R2 if tllv.value.len() > 64 => return Err(tllv.wrong_size(PARSER)),
                _ => {}
            }
        }
        if let Some(tllv) = tllvs.find(Tag::KDL_VERSION_REPORT) {
            client.kdl_version = Some(u32::from_be_bytes(*tllv.exactly(PARSER)?));
        }
        Ok(client)
    }
}

/// Where playback goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streaming {
    /// The device's own screen: any value that is not one of the others, random ones included.
    Local,
    /// AirPlay to an Apple TV.
    AirPlay,
    /// Apple's digital AV adapter.
    AvAdapter,
}

impl Streaming {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::AirPlay => "airplay",
            Self::AvAdapter => "av_adapter",
        }
    }

    const AIRPLAY: u64 = 0xabb0_256a_3184_3974;
    const AV_ADAPTER: u64 = 0x5f9c_8132_b59f_2fde;

    fn read(tllv: &Tllv<'_>) -> Result<Self, Error> {
        Ok(match u64::from_be_bytes(*tllv.exactly(PARSER)?) {
            Self::AIRPLAY => Self::AirPlay,
            Self::AV_ADAPTER => Self::AvAdapter,
            _ => Self::Local,
        })
    }
}

/// Media playback state: `[4] date, seconds since 1970 | [4] state | [8] playback session id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaPlaybackState {
    /// When the SPC was made, by the clock of the device, in seconds since 1970.
    pub date: u32,
    /// What the player is doing.
    pub state: PlaybackState,
    /// The same over all renewals of one playback.
    pub session_id: u64,
}

/// What the player is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaybackState {
    /// Ready to start.
    First,
    /// Playing, the lease is about to expire, the key is needed.
    Renewal,
    /// Playing or paused, the key is not needed.
    KeyNotRequired,
    /// Stopped: no CKC is expected.
    Stopped,
}

impl PlaybackState {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Renewal => "renewal",
            Self::KeyNotRequired => "key_not_required",
            Self::Stopped => "stopped",
        }
    }

    /// `f4dee5a2`
    pub const FIRST: u32 = 0xf4de_e5a2;
    /// `4f834330`
    pub const RENEWAL: u32 = 0x4f83_4330;
    /// `a5d6739e`
    pub const KEY_NOT_REQUIRED: u32 = 0xa5d6_739e;
    /// `5991bf20`
    pub const STOPPED: u32 = 0x5991_bf20;
}

impl MediaPlaybackState {
    fn read(tllv: &Tllv<'_>) -> Result<Self, Error> {
        let mut reader = Reader(tllv.exactly::<16>(PARAM)?);
        let fields = (reader.u32(), reader.u32(), reader.u64());
        let (Some(date), Some(state), Some(session_id)) = fields else {
            return Err(tllv.wrong_size(PARAM));
        };
        let state = match state {
            PlaybackState::FIRST => PlaybackState::First,
            PlaybackState::RENEWAL => PlaybackState::Renewal,
            PlaybackState::KEY_NOT_REQUIRED => PlaybackState::KeyNotRequired,
            PlaybackState::STOPPED => PlaybackState::Stopped,
            _ => return Err(tllv.invalid(PARAM)),
        };
        Ok(Self {
            date,
            state,
            session_id,
        })
    }
}

/// Capabilities: `[8] high word, nothing defined | [8] low word`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// Can enforce HDCP type 1.
    pub fn hdcp_type1(self) -> bool {
        self.bit(0)
    }

    /// Has the offline key of version 1 (dual expiry).
    pub fn offline_key(self) -> bool {
        self.bit(1)
    }

    /// Has check-in and secure invalidation.
    pub fn check_in(self) -> bool {
        self.bit(2)
    }

    /// Has the offline key of version 2.
    pub fn offline_key_v2(self) -> bool {
        self.bit(3)
    }

    /// Reaches security level baseline.
    pub fn security_level_baseline(self) -> bool {
        self.bit(4)
    }

    /// Reaches security level main.
    pub fn security_level_main(self) -> bool {
        self.bit(5)
    }

    /// What is there, by name.
    pub fn names(self) -> Vec<&'static str> {
        [
            ("hdcp_type1", self.hdcp_type1()),
            ("offline_key", self.offline_key()),
            ("check_in", self.check_in()),
            ("offline_key_v2", self.offline_key_v2()),
            ("security_level_baseline", self.security_level_baseline()),
            ("security_level_main", self.security_level_main()),
        ]
        .into_iter()
        .filter_map(|(name, is_there)| is_there.then_some(name))
        .collect()
    }

    fn bit(self, bit: u32) -> bool {
        self.0 >> bit & 1 == 1
    }

    fn read(tllv: &Tllv<'_>) -> Result<Self, Error> {
        let words = tllv.exactly::<16>(PARAM)?;
        let (_, low) = words.split_last_chunk().ok_or(tllv.wrong_size(PARAM))?;
        Ok(Self(u64::from_be_bytes(*low)))
    }
}

/// `[4] version | [4] reserved | [4] count | [8] format, each`; other versions are ignored.
fn key_formats(tllv: &Tllv<'_>) -> Result<Option<Vec<u64>>, Error> {
    const MOST: u32 = 64;
    let mut reader = Reader(tllv.value);
    let short = || tllv.wrong_size(PARAM);
    if reader.u32().ok_or_else(short)? != 1 {
        return Ok(None);
    }
    reader.u32().ok_or_else(short)?;
    let count = reader.u32().ok_or_else(short)?;
    if count > MOST {
        return Err(tllv.invalid(PARAM));
    }
    (0..count)
        .map(|_| reader.u64().ok_or_else(short))
        .collect::<Result<_, _>>()
        .map(Some)
}

/// `[4] version | [4] reserved, 0 | [8] level | [4] KDL version`; other versions are ignored, and so
/// is a value of 32 bytes, which is encrypted.
fn security_level_report(tllv: &Tllv<'_>) -> Result<Option<(u64, u32)>, Error> {
    const ENCRYPTED: usize = 32;
    if tllv.value.len() == ENCRYPTED {
        return Ok(None);
    }
    let mut reader = Reader(tllv.value);
    let short = || tllv.wrong_size(PARAM);
    if reader.u32().ok_or_else(short)? != 1 {
        return Ok(None);
    }
    if reader.u32().ok_or_else(short)? != 0 {
        return Err(tllv.invalid(PARAM));
    }
    Ok(Some((
        reader.u64().ok_or_else(short)?,
        reader.u32().ok_or_else(short)?,
    )))
}

/// `[8] device type | [4] OS version: 0, major, minor, patch | [4] version`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Mac, Apple TV, iOS device, watch: one of four numbers.
    pub device_type: u64,
    /// `00`, major, minor, patch.
    pub os_version: u32,
}

impl DeviceInfo {
    fn read(tllv: &Tllv<'_>) -> Result<Self, Error> {
        let mut reader = Reader(tllv.value);
        let fields = (reader.u64(), reader.u32(), reader.u32());
        let (Some(device_type), Some(os_version), Some(_)) = fields else {
            return Err(tllv.wrong_size(PARAM));
        };
        Ok(Self {
            device_type,
            os_version,
        })
    }
}

/// `[4] version | [4] class | [8] vendor hash | [8] product hash | [4] FPS REE version |
/// [4] FPS TEE version | [4] OS version`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceIdentity {
    /// Version of this structure.
    pub version: u32,
    /// Device class.
    pub class: u32,
    /// Hash of the vendor's name.
    pub vendor_hash: u64,
    /// Hash of the product's name.
    pub product_hash: u64,
    /// FairPlay version in the rich execution environment.
    pub fps_ree_version: u32,
    /// FairPlay version in the trusted execution environment.
    pub fps_tee_version: u32,
    /// `00`, major, minor, patch.
    pub os_version: u32,
}

impl DeviceIdentity {
    fn read(tllv: &Tllv<'_>) -> Result<Self, Error> {
        let mut reader = Reader(tllv.value);
        let mut read = || -> Option<Self> {
            Some(Self {
                version: reader.u32()?,
                class: reader.u32()?,
                vendor_hash: reader.u64()?,
                product_hash: reader.u64()?,
                fps_ree_version: reader.u32()?,
                fps_tee_version: reader.u32()?,
                os_version: reader.u32()?,
            })
        };
        read().ok_or_else(|| tllv.wrong_size(PARAM))
    }
}

/// `[4] version | [4] class, [4] OS, [4] protocol of the host | the same of the guest`; other
/// versions are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmDeviceInfo {
    /// The machine that runs the virtual one.
    pub host: VmSide,
    /// The virtual machine.
    pub guest: VmSide,
}

/// One side of a virtual machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmSide {
    /// Device class.
    pub class: u32,
    /// `00`, major, minor, patch.
    pub os_version: u32,
    /// Version of the protocol between the two.
    pub protocol_version: u32,
}

impl VmDeviceInfo {
    fn read(tllv: &Tllv<'_>) -> Result<Option<Self>, Error> {
        fn side(reader: &mut Reader<'_>) -> Option<VmSide> {
            Some(VmSide {
                class: reader.u32()?,
                os_version: reader.u32()?,
                protocol_version: reader.u32()?,
            })
        }
        let mut reader = Reader(tllv.value);
        let short = || tllv.wrong_size(PARAM);
        if reader.u32().ok_or_else(short)? != 1 {
            return Ok(None);
        }
        let host = side(&mut reader).ok_or_else(short)?;
        let guest = side(&mut reader).ok_or_else(short)?;
        Ok(Some(Self { host, guest }))
    }
}

/// The report of an offline key (specification section 10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfflineSync {
    /// `[4] version 1 | [4] reserved, 0 | [16] content id | [4] seconds to expiry`
    V1 {
        /// Content id of the key.
        content_id: [u8; 16],
        /// 0: expired; `u32::MAX`: no expiry.
        seconds_to_expiry: u32,
    },
    /// `[4] version 2 | [4] reserved | [8] server challenge | [8] flags | [16] title id |
    /// [4] seconds to expiry | [4] count | [16] invalidated id, each`
    V2 {
        /// The challenge that the server gave out.
        server_challenge: u64,
        /// What is reported.
        flags: u64,
        /// Title id, meaningful with flag 3.
        title_id: [u8; 16],
        /// 0: expired; `u32::MAX`: no expiry.
        seconds_to_expiry: u32,
        /// Stream ids of the keys that were invalidated.
        invalidated: Vec<[u8; 16]>,
    },
}

impl OfflineSync {
    /// Reads a report. Version 0 holds nothing and unknown versions are ignored.
    fn read(tllv: &Tllv<'_>) -> Result<Option<Self>, Error> {
        const MOST: u32 = 250;
        let mut reader = Reader(tllv.value);
        let short = || tllv.wrong_size(PARAM);
        let version = reader.u32().ok_or_else(short)?;
        let reserved = reader.u32().ok_or_else(short)?;
        match version {
            1 if reserved != 0 => Err(tllv.invalid(PARAM)),
            1 => Ok(Some(Self::V1 {
                content_id: *reader.array().ok_or_else(short)?,
                seconds_to_expiry: reader.u32().ok_or_else(short)?,
            })),
            2 => {
                let server_challenge = reader.u64().ok_or_else(short)?;
                let flags = reader.u64().ok_or_else(short)?;
                let title_id = *reader.array().ok_or_else(short)?;
                let seconds_to_expiry = reader.u32().ok_or_else(short)?;
                let count = reader.u32().ok_or_else(short)?;
                if count > MOST {
                    return Err(tllv.invalid(INTERNAL));
                }
                let invalidated = (0..count)
                    .map(|_| reader.array().copied().ok_or_else(short))
                    .collect::<Result<_, _>>()?;
                Ok(Some(Self::V2 {
                    server_challenge,
                    flags,
                    title_id,
                    seconds_to_expiry,
                    invalidated,
                }))
            }
            _ => Ok(None),
        }
    }
}
