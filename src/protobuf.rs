//! Messages in Protocol Buffers ("Encoding", Message Structure), field by field.

use crate::reader::Reader;

/// How the value of a field is written.
mod wire_type {
    pub const VARINT: u64 = 0;
    pub const I64: u64 = 1;
    pub const LEN: u64 = 2;
    pub const I32: u64 = 5;
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A number of variable length.
    Number(u64),
    /// Bytes, text, or a message.
    Bytes(&'a [u8]),
    /// Four or eight bytes, little-endian.
    Fixed(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The number; `None` for a field of another kind.
    pub(crate) fn number(self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(number),
            Self::Bytes(_) | Self::Fixed(_) => None,
        }
    }

    /// The bytes; `None` for a field of another kind.
    pub(crate) fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Number(_) | Self::Fixed(_) => None,
        }
    }
}

/// Takes the next field: its number, and its value. The value is `None` for groups and types that there are not.
/// `None` where the message ends within the field.
pub(crate) fn field<'a>(reader: &mut Reader<'a>) -> Option<(u64, Option<Value<'a>>)> {
    let key = read_varint(reader)?;
    let value = match key & 0x07 {
        wire_type::VARINT => Some(Value::Number(read_varint(reader)?)),
        wire_type::I64 => Some(Value::Fixed(reader.bytes(8)?)),
        wire_type::I32 => Some(Value::Fixed(reader.bytes(4)?)),
        wire_type::LEN => {
            let length = usize::try_from(read_varint(reader)?).ok()?;
            Some(Value::Bytes(reader.bytes(length)?))
        }
        _ => None,
    };
    Some((key >> 3, value))
}

/// Writes a field of bytes.
pub(crate) fn write_bytes(message: &mut Vec<u8>, field: u64, value: &[u8]) {
    write_varint(message, field << 3 | wire_type::LEN);
    write_varint(message, u64::try_from(value.len()).unwrap_or(u64::MAX));
    message.extend(value);
}

/// Writes a field that is a number.
pub(crate) fn write_number(message: &mut Vec<u8>, field: u64, value: u64) {
    write_varint(message, field << 3 | wire_type::VARINT);
    write_varint(message, value);
}

/// Seven bits a byte, the lowest first; all bytes but the last have their highest bit set.
fn write_varint(message: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return message.push(low);
        }
        message.push(low | 0x80);
    }
}

/// `None` where it does not end within the ten bytes that 64 bits take, or in the message.
fn read_varint(reader: &mut Reader<'_>) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = *reader.array()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
