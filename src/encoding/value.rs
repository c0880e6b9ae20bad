//! Reads types of a known shape from JSON values.
//!
//! It does what the deserializer of `serde_json` does for the shapes that this server reads. Its errors
//! are data ([`JsonError`]), where those of `serde_json` are sentences that quote the document.

use std::fmt::Display;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Value, map};

use super::json_error::{JsonError, JsonErrorKind, PathStep};

impl Error for JsonError {
    /// The text of a type's own error may quote the document: it is dropped.
    fn custom<T: Display>(_: T) -> Self {
        Self::new(JsonErrorKind::Refused)
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(JsonErrorKind::Unexpected(expected.to_string()))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(JsonErrorKind::Unexpected(expected.to_string()))
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::new(JsonErrorKind::Unexpected(expected.to_string()))
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        Self::new(JsonErrorKind::NotOneOf(known))
    }

    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        Self::new(JsonErrorKind::MemberUnknown(known))
    }

    fn missing_field(name: &'static str) -> Self {
        Self::new(JsonErrorKind::MemberMissing(name))
    }
}

/// A value that is taken apart. Strings move into what is made of it: a secret is not copied.
pub(super) struct ValueDeserializer(pub(super) Value);

impl ValueDeserializer {
    fn whole_number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        let wrong = || JsonError::new(JsonErrorKind::NotAWholeNumber);
        let number = self.0.as_u64().ok_or_else(wrong)?;
        // The visitor refuses a number that its type does not hold.
        visitor.visit_u64(number).map_err(|_: JsonError| wrong())
    }
}

macro_rules! whole_numbers {
    ($($method:ident)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
                self.whole_number(visitor)
            }
        )*
    };
}

impl<'de> Deserializer<'de> for ValueDeserializer {
    type Error = JsonError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => {
                if let Some(number) = number.as_u64() {
                    visitor.visit_u64(number)
                } else if let Some(number) = number.as_i64() {
                    visitor.visit_i64(number)
                } else {
                    visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN))
                }
            }
            Value::String(text) => visitor.visit_string(text),
            list @ Value::Array(_) => Self(list).deserialize_seq(visitor),
            Value::Object(object) => visitor.visit_map(Members::new(object, &[])),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.0 {
            Value::Bool(value) => visitor.visit_bool(value),
            _ => Err(JsonError::new(JsonErrorKind::NotABoolean)),
        }
    }

    whole_numbers! { deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.0 {
            Value::String(text) => visitor.visit_string(text),
            _ => Err(JsonError::new(JsonErrorKind::NotAString)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            value => visitor.visit_some(Self(value)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        let Value::Array(list) = self.0 else {
            return Err(JsonError::new(JsonErrorKind::NotAList));
        };
        let mut entries = Entries {
            values: list.into_iter(),
            index: 0,
        };
        let value = visitor.visit_seq(&mut entries)?;
        // A tuple leaves what it has no place for.
        match entries.values.next() {
            None => Ok(value),
            Some(_) => Err(JsonError::invalid_length(entries.index, &"a shorter list")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_struct("", &[], visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        match self.0 {
            Value::Object(object) => visitor.visit_map(Members::new(object, names)),
            _ => Err(JsonError::new(JsonErrorKind::NotAnObject)),
        }
    }

    /// Enumerations are strings: no shape that is read here has variants with content.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(UnitVariant(text)),
            _ => Err(JsonError::new(JsonErrorKind::NotAString)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple_struct identifier
    }
}

/// The entries of a list.
struct Entries {
    values: std::vec::IntoIter<Value>,
    /// Of the next one.
    index: usize,
}

impl<'de> SeqAccess<'de> for &mut Entries {
    type Error = JsonError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, JsonError> {
        let Some(value) = self.values.next() else {
            return Ok(None);
        };
        let index = self.index;
        self.index += 1;
        let entry = seed.deserialize(ValueDeserializer(value));
        entry
            .map(Some)
            .map_err(|error| error.inside(PathStep::Index(index)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.values.len())
    }
}

/// The members of an object.
struct Members {
    members: map::IntoIter,
    /// Of the member whose name was read last.
    value: Value,
    /// Its name, where it is one of the shape's: a name that only the document has is not kept.
    name: Option<&'static str>,
    names: &'static [&'static str],
}

impl Members {
    fn new(members: map::Map<String, Value>, names: &'static [&'static str]) -> Self {
        Self {
            members: members.into_iter(),
            value: Value::Null,
            name: None,
            names,
        }
    }

    /// The name of the next member, whose value is then at hand.
    fn next_name(&mut self) -> Option<String> {
        let (name, value) = self.members.next()?;
        self.name = self.names.iter().copied().find(|known| *known == name);
        self.value = value;
        Some(name)
    }
}

impl<'de> MapAccess<'de> for Members {
    type Error = JsonError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, JsonError> {
        let Some(name) = self.next_name() else {
            return Ok(None);
        };
        seed.deserialize(ValueDeserializer(Value::String(name)))
            .map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, JsonError> {
        let value = seed.deserialize(ValueDeserializer(self.value.take()));
        value.map_err(|error| match self.name {
            Some(name) => error.inside(PathStep::Member(name)),
            None => error,
        })
    }
}

/// A variant without content, by its name.
struct UnitVariant(String);

impl<'de> EnumAccess<'de> for UnitVariant {
    type Error = JsonError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), JsonError> {
        let name: StrDeserializer<'_, JsonError> = self.0.as_str().into_deserializer();
        let variant = seed.deserialize(name)?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for UnitVariant {
    type Error = JsonError;

    fn unit_variant(self) -> Result<(), JsonError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, JsonError> {
        Err(JsonError::new(JsonErrorKind::Refused))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, JsonError> {
        Err(JsonError::new(JsonErrorKind::Refused))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, JsonError> {
        Err(JsonError::new(JsonErrorKind::Refused))
    }
}
