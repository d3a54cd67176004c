//! From ProtoJSON to protobuf, without anything in between. What is read is what our own dialect has written.

use super::schema::{Field, Kind, Schema};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use jiff::Timestamp;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::{borrow::Cow, fmt};

/// Base64 with padding or without, as callers may send it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The bytes of base64 in either alphabet. What is none (Python Bindu takes anything, and its tasks can be imported) stands
/// for itself.
fn bytes_of(text: &str) -> Vec<u8> {
    let standard = text.replace('-', "+").replace('_', "/");
    LENIENT.decode(standard).unwrap_or_else(|_| text.as_bytes().to_vec())
}

/// JSON as a message.
pub(super) fn message(schema: &'static Schema, json: &str) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(json.len());
    let mut reader = serde_json::Deserializer::from_str(json);
    Fields { schema, out: &mut out }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(out)
}

/// A `google.rpc.Status`.
pub(super) fn status(code: u32, message: &str, details: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    tag(1, 0, &mut out);
    varint(u64::from(code), &mut out);
    delimited(2, message.as_bytes(), &mut out);
    for (kind, value) in details {
        nested(3, &mut out, |out| {
            delimited(1, kind.as_bytes(), out);
            delimited(2, value, out);
        });
    }
    out
}

fn tag(number: u32, wire: u64, out: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | wire, out);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn delimited(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    tag(number, 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A message in a message. Its length comes before it, and is known behind it: what is longer than a byte's worth is moved.
fn nested<T>(number: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    tag(number, 2, out);
    let begin = out.len();
    let written = write(out);
    let mut length = Vec::with_capacity(5);
    varint((out.len() - begin) as u64, &mut length);
    out.splice(begin..begin, length);
    written
}

/// Writes a message's fields.
struct Fields<'o> {
    schema: &'static Schema,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<Cow<'de, str>>()? {
            match self.schema.0.iter().find(|field| field.name == name) {
                Some(field) => members.next_value_seed(OneField { field, out: self.out })?,
                None => _ = members.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

/// Writes one field.
struct OneField<'o> {
    field: &'static Field,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for OneField<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        let Field { number, kind, is_list, .. } = *self.field;
        match kind {
            _ if is_list => reader.deserialize_seq(All { number, kind, out: self.out }),
            Kind::Map(kind) => reader.deserialize_map(All { number, kind: *kind, out: self.out }),
            kind => One { number, kind, out: self.out }.deserialize(reader),
        }
    }
}

/// Writes a list, or a map.
struct All<'o> {
    number: u32,
    kind: Kind,
    out: &'o mut Vec<u8>,
}

impl<'de> Visitor<'de> for All<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { number, kind, out } = self;
        while items.next_element_seed(One { number, kind, out: &mut *out })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(key) = members.next_key::<Cow<'de, str>>()? {
            nested(self.number, self.out, |out| {
                delimited(1, key.as_bytes(), out);
                members.next_value_seed(One { number: 2, kind: self.kind, out })
            })?;
        }
        Ok(())
    }
}

/// Writes one value under its tag.
struct One<'o> {
    number: u32,
    kind: Kind,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        let Self { number, kind, out } = self;
        match kind {
            Kind::Message(schema) => nested(number, out, |out| Fields { schema, out }.deserialize(reader)),
            Kind::Struct => {
                nested(number, out, |out| reader.deserialize_map(All { number: 1, kind: Kind::Value, out }))
            }
            Kind::Value => nested(number, out, |out| reader.deserialize_any(JsonValue(out))),
            _ => reader.deserialize_any(Self { number, kind, out }),
        }
    }
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value of kind {:?}", self.kind)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match self.kind {
            Kind::Text => delimited(self.number, text.as_bytes(), self.out),
            Kind::Bytes => delimited(self.number, &bytes_of(text), self.out),
            Kind::Enum(names) => {
                let number = names.iter().zip(0_u64..).find(|(name, _)| **name == text);
                let (_, number) = number.ok_or_else(|| E::custom("an unknown name of an enum"))?;
                tag(self.number, 0, self.out);
                varint(number, self.out);
            }
            Kind::Time => {
                let time: Timestamp = text.parse().map_err(E::custom)?;
                nested(self.number, self.out, |out| {
                    tag(1, 0, out);
                    varint(time.as_second().cast_unsigned(), out);
                    tag(2, 0, out);
                    varint(i64::from(time.subsec_nanosecond()).cast_unsigned(), out);
                });
            }
            Kind::Duration => {
                let seconds: u64 = text.trim_end_matches('s').parse().map_err(E::custom)?;
                nested(self.number, self.out, |out| {
                    tag(1, 0, out);
                    varint(seconds, out);
                });
            }
            _ => return Err(E::custom("a text where there is none")),
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<(), E> {
        tag(self.number, 0, self.out);
        varint(u64::from(flag), self.out);
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        tag(self.number, 0, self.out);
        varint(number, self.out);
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.visit_u64(number.cast_unsigned())
    }
}

/// Writes any JSON as the one field of a `google.protobuf.Value`.
struct JsonValue<'o>(&'o mut Vec<u8>);

impl<'de> Visitor<'de> for JsonValue<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        tag(1, 0, self.0);
        varint(0, self.0);
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        tag(2, 1, self.0);
        self.0.extend(number.to_le_bytes());
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of protobuf's JSON are doubles")]
    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.visit_f64(number as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of protobuf's JSON are doubles")]
    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.visit_f64(number as f64)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        delimited(3, text.as_bytes(), self.0);
        Ok(())
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<(), E> {
        tag(4, 0, self.0);
        varint(u64::from(flag), self.0);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        nested(5, self.0, |out| All { number: 1, kind: Kind::Value, out }.visit_map(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        nested(6, self.0, |out| All { number: 1, kind: Kind::Value, out }.visit_seq(items))
    }
}
