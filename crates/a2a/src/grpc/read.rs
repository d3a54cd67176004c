//! From protobuf to ProtoJSON, without anything in between.
//!
//! Fields of one list may lie apart in a message; so it is gone through once for each field of its table, which costs a look
//! at each tag and keeps nothing.

use super::schema::{Field, Kind, Schema};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;

/// How deeply messages may lie in one another, as in the official decoders.
const MAX_DEPTH: usize = 100;

type Read<T> = Result<T, &'static str>;

const BROKEN: &str = "the message is not protobuf, or breaks off";

/// A message as JSON.
pub(super) fn message(schema: &Schema, bytes: &[u8]) -> Read<String> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 4);
    write_message(schema, bytes, &mut out, 0)?;
    String::from_utf8(out).map_err(|_| BROKEN)
}

/// A value as it lies in a message.
#[derive(Debug, Clone, Copy)]
enum Wire<'a> {
    Number(u64),
    Eight([u8; 8]),
    Bytes(&'a [u8]),
    Four,
}

/// The fields of a message, as they come.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Read<Option<(u32, Wire<'a>)>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| BROKEN)?;
        let value = match tag & 7 {
            0 => Wire::Number(self.varint()?),
            1 => Wire::Eight(self.take(8)?.try_into().map_err(|_| BROKEN)?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| BROKEN)?;
                Wire::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Wire::Four
            }
            // Groups were given up before A2A was begun.
            _ => return Err(BROKEN),
        };
        Ok(Some((number, value)))
    }

    fn varint(&mut self) -> Read<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(BROKEN)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(BROKEN)
    }

    fn take(&mut self, length: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(BROKEN)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The last value of a field.
    fn last(mut self, wanted: u32) -> Read<Option<Wire<'a>>> {
        let mut last = None;
        while let Some((number, value)) = self.next()? {
            if number == wanted {
                last = Some(value);
            }
        }
        Ok(last)
    }
}

fn write_message(schema: &Schema, bytes: &[u8], out: &mut Vec<u8>, depth: usize) -> Read<()> {
    if depth > MAX_DEPTH {
        return Err("messages lie too deeply in one another");
    }
    out.push(b'{');
    let begin = out.len();
    for field in schema.0 {
        let mut comma = |out: &mut Vec<u8>| {
            if out.len() > begin {
                out.push(b',');
            }
            quoted(field.name, out);
            out.push(b':');
        };
        if field.is_list || matches!(field.kind, Kind::Map(_)) {
            write_all(field, bytes, out, depth, &mut comma)?;
        } else if let Some(value) = Fields(bytes).last(field.number)? {
            comma(out);
            write_value(field.kind, value, out, depth)?;
        }
    }
    out.push(b'}');
    Ok(())
}

/// A list or a map.
fn write_all(
    field: &Field,
    bytes: &[u8],
    out: &mut Vec<u8>,
    depth: usize,
    begin: &mut impl FnMut(&mut Vec<u8>),
) -> Read<()> {
    let (open, close) = if field.is_list { (b'[', b']') } else { (b'{', b'}') };
    let mut has_begun = false;
    let mut fields = Fields(bytes);
    while let Some((number, value)) = fields.next()? {
        if number != field.number {
            continue;
        }
        if has_begun {
            out.push(b',');
        } else {
            begin(out);
            out.push(open);
            has_begun = true;
        }
        match field.kind {
            Kind::Map(kind) => write_entry(*kind, value, out, depth)?,
            kind => write_value(kind, value, out, depth)?,
        }
    }
    if has_begun {
        out.push(close);
    }
    Ok(())
}

/// An entry of a map.
fn write_entry(kind: Kind, entry: Wire<'_>, out: &mut Vec<u8>, depth: usize) -> Read<()> {
    let Wire::Bytes(entry) = entry else { return Err(BROKEN) };
    let key = Fields(entry).last(1)?.unwrap_or(Wire::Bytes(&[]));
    write_value(Kind::Text, key, out, depth)?;
    out.push(b':');
    let value = Fields(entry).last(2)?.unwrap_or(Wire::Bytes(&[]));
    write_value(kind, value, out, depth + 1)
}

fn write_value(kind: Kind, value: Wire<'_>, out: &mut Vec<u8>, depth: usize) -> Read<()> {
    match (kind, value) {
        (Kind::Text, Wire::Bytes(text)) => {
            quoted(std::str::from_utf8(text).map_err(|_| "a text is not UTF-8")?, out);
        }
        (Kind::Bytes, Wire::Bytes(bytes)) => quoted(&STANDARD.encode(bytes), out),
        (Kind::Flag, Wire::Number(flag)) => out.extend(if flag == 0 { &b"false"[..] } else { b"true" }),
        // An int32 is written as 64 bits.
        (Kind::Number, Wire::Number(number)) => out.extend(int32(number)?.to_string().into_bytes()),
        (Kind::Enum(names), Wire::Number(number)) => {
            match usize::try_from(number).ok().and_then(|number| names.get(number)) {
                Some(name) => quoted(name, out),
                None => out.extend(int32(number)?.to_string().into_bytes()),
            }
        }
        (Kind::Message(schema), Wire::Bytes(bytes)) => write_message(schema, bytes, out, depth + 1)?,
        (Kind::Time, Wire::Bytes(bytes)) => {
            let (seconds, nanos) = (Fields(bytes).last(1)?, Fields(bytes).last(2)?);
            let number = |value| match value {
                None => Ok(0),
                Some(Wire::Number(number)) => Ok(number.cast_signed()),
                Some(_) => Err(BROKEN),
            };
            let nanos = i32::try_from(number(nanos)?).map_err(|_| BROKEN)?;
            let time = Timestamp::new(number(seconds)?, nanos).map_err(|_| "a time is out of range")?;
            quoted(&time.to_string(), out);
        }
        (Kind::Struct, Wire::Bytes(bytes)) => write_struct(bytes, out, depth + 1)?,
        (Kind::Value, Wire::Bytes(bytes)) => write_json(bytes, out, depth + 1)?,
        // Only answers have them.
        (Kind::Duration | Kind::Map(_), _) => return Err(BROKEN),
        (_, Wire::Number(_) | Wire::Eight(_) | Wire::Bytes(_) | Wire::Four) => {
            return Err("a field has another type than in a2a.proto");
        }
    }
    Ok(())
}

/// `google.protobuf.Struct`.
fn write_struct(bytes: &[u8], out: &mut Vec<u8>, depth: usize) -> Read<()> {
    out.push(b'{');
    let begin = out.len();
    let mut fields = Fields(bytes);
    while let Some((number, entry)) = fields.next()? {
        if number == 1 {
            if out.len() > begin {
                out.push(b',');
            }
            write_entry(Kind::Value, entry, out, depth)?;
        }
    }
    out.push(b'}');
    Ok(())
}

/// `google.protobuf.Value`: of its one field the last one counts.
fn write_json(bytes: &[u8], out: &mut Vec<u8>, depth: usize) -> Read<()> {
    if depth > MAX_DEPTH {
        return Err("values lie too deeply in one another");
    }
    let (mut fields, mut last) = (Fields(bytes), None);
    while let Some((number, value)) = fields.next()? {
        if (1..=6).contains(&number) {
            last = Some((number, value));
        }
    }
    match last {
        None | Some((1, Wire::Number(_))) => out.extend(b"null"),
        Some((2, Wire::Eight(bytes))) => write_double(f64::from_le_bytes(bytes), out)?,
        Some((3, text)) => write_value(Kind::Text, text, out, depth)?,
        Some((4, flag)) => write_value(Kind::Flag, flag, out, depth)?,
        Some((5, Wire::Bytes(bytes))) => write_struct(bytes, out, depth + 1)?,
        Some((6, Wire::Bytes(bytes))) => {
            out.push(b'[');
            let begin = out.len();
            let mut items = Fields(bytes);
            while let Some((number, item)) = items.next()? {
                let (1, Wire::Bytes(item)) = (number, item) else { continue };
                if out.len() > begin {
                    out.push(b',');
                }
                write_json(item, out, depth + 1)?;
            }
            out.push(b']');
        }
        Some(_) => return Err(BROKEN),
    }
    Ok(())
}

/// A number of JSON's, whole ones as such.
fn write_double(number: f64, out: &mut Vec<u8>) -> Read<()> {
    /// From here on not each whole number is a double.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if !number.is_finite() {
        return Err("a number is not finite");
    }
    if number.fract() == 0.0 && number.abs() < EXACT {
        out.extend(format!("{number:.0}").into_bytes());
    } else {
        out.extend(serde_json::to_vec(&number).map_err(|_| BROKEN)?);
    }
    Ok(())
}

fn int32(number: u64) -> Read<i32> {
    i32::try_from(number.cast_signed()).map_err(|_| "a number is beyond 32 bits")
}

fn quoted(text: &str, out: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}
