//! What a PlayReady licence alone says of outputs.

/// The output protection of a PlayReady play right that no other term states (PlayReady Compliance Rules, "Output
/// Controls"). Only a policy's configuration of PlayReady sets it. `None`: nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlayRight {
    /// Output protection level of uncompressed digital video: 100 (none), 250 (HDCP is tried), 270 (HDCP, or a lower
    /// resolution) or 300 (HDCP). The term `hdcp` states it too, in fewer steps.
    pub uncompressed_digital_video: Option<u16>,
    /// Output protection level of compressed digital video: 400 or 500.
    pub compressed_digital_video: Option<u16>,
    /// Output protection level of analogue video: 100, 150 or 200.
    pub analog_video: Option<u16>,
    /// Output protection level of compressed digital audio: 100, 150, 200, 250 or 300.
    pub compressed_digital_audio: Option<u16>,
    /// Output protection level of uncompressed digital audio: 100, 150, 200, 250 or 300.
    pub uncompressed_digital_audio: Option<u16>,
    /// Automatic gain control and colour stripe on analogue outputs: 0 to 3.
    pub agc_and_color_stripe: Option<u8>,
    /// Serial copy management on digital audio outputs: 0 to 3.
    pub scms: Option<u8>,
    /// Explicit protection of analogue television outputs: 0 to 3.
    pub analog_television: Option<u8>,
    /// Video on outputs that the device does not know.
    pub unknown_output: Option<UnknownOutput>,
}

/// Whether video may leave on an output of which the device does not know how it is protected, from weak to strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnknownOutput {
    /// It may.
    Allowed,
    /// In a lower resolution.
    Constricted,
    /// It may not, as if nothing were said.
    NotAllowed,
}

impl PlayRight {
    /// The stricter of both, number by number.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            uncompressed_digital_video: (self.uncompressed_digital_video)
                .max(other.uncompressed_digital_video),
            compressed_digital_video: (self.compressed_digital_video)
                .max(other.compressed_digital_video),
            analog_video: self.analog_video.max(other.analog_video),
            compressed_digital_audio: (self.compressed_digital_audio)
                .max(other.compressed_digital_audio),
            uncompressed_digital_audio: (self.uncompressed_digital_audio)
                .max(other.uncompressed_digital_audio),
            agc_and_color_stripe: self.agc_and_color_stripe.max(other.agc_and_color_stripe),
            scms: self.scms.max(other.scms),
            analog_television: self.analog_television.max(other.analog_television),
            unknown_output: self.unknown_output.max(other.unknown_output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_play_rights_the_stricter_number_holds() {
        let one = PlayRight {
            analog_video: Some(150),
            scms: Some(1),
            unknown_output: Some(UnknownOutput::Allowed),
            ..PlayRight::default()
        };
        let another = PlayRight {
            analog_video: Some(200),
            compressed_digital_video: Some(400),
            unknown_output: Some(UnknownOutput::Constricted),
            ..PlayRight::default()
        };
        let both = PlayRight {
            analog_video: Some(200),
            compressed_digital_video: Some(400),
            scms: Some(1),
            unknown_output: Some(UnknownOutput::Constricted),
            ..PlayRight::default()
        };
        assert_eq!(one.and(another), both);
        assert_eq!(another.and(one), both);
    }
}
