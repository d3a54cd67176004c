//! JSON of callers, kept as the text that it was.
//!
//! A number is what its digits say: `serde_json::Value` would make `18446744073709551616` a float and `1.0` a `1.0` of
//! its own spelling. `serde_json`'s `arbitrary_precision` was rejected: it is a feature of all crates at once, and breaks
//! `flatten` and untagged enums in those that don't expect it.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;

/// How deeply lists and objects may lie in one another, as in `serde_json`: whoever reads our answers must be able to.
const MAX_DEPTH: usize = 127;

/// A JSON value, as it was written but for the white space between its parts: so it is one line, for whoever reads lines.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

/// Which kind of value it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// A list.
    List,
    /// An object.
    Object,
}

impl Json {
    /// `null`.
    #[must_use]
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned())
    }

    /// What this serialises to; `null` where it does not.
    pub fn of(value: &(impl Serialize + ?Sized)) -> Self {
        to_raw_value(value).map_or_else(|_| Self::null(), Self)
    }

    /// The text, without a copy.
    #[must_use]
    pub fn into_text(self) -> String {
        Box::<str>::from(self.0).into_string()
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }
}

impl From<&RawValue> for Json {
    fn from(raw: &RawValue) -> Self {
        Self(
            compact(raw.get())
                .and_then(|text| RawValue::from_string(text).ok())
                .unwrap_or_else(|| raw.to_owned()),
        )
    }
}

/// A JSON text without the white space outside of its strings; `None` where there is none.
fn compact(text: &str) -> Option<String> {
    let (mut in_string, mut is_escaped) = (false, false);
    let is_kept = |character: &char| {
        let is_space = !in_string && matches!(character, ' ' | '\t' | '\n' | '\r');
        in_string ^= *character == '"' && !is_escaped;
        is_escaped = in_string && *character == '\\' && !is_escaped;
        !is_space
    };
    let kept: String = text.chars().filter(is_kept).collect();
    (kept.len() < text.len()).then_some(kept)
}

/// The same text: what means the same in other words is not equal.
impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

/// Which kind a value is.
#[must_use]
pub fn kind(raw: &RawValue) -> Kind {
    match raw.get().bytes().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'n') | None => Kind::Null,
        Some(b't' | b'f') => Kind::Boolean,
        Some(b'"') => Kind::String,
        Some(b'[') => Kind::List,
        Some(b'{') => Kind::Object,
        Some(_) => Kind::Number,
    }
}

/// A string's text; `None` for what is not a string.
#[must_use]
pub fn string(raw: &RawValue) -> Option<String> {
    (kind(raw) == Kind::String).then(|| serde_json::from_str(raw.get()).ok()).flatten()
}

/// A list's items; `None` for what is not a list.
#[must_use]
pub fn list(raw: &RawValue) -> Option<Vec<&RawValue>> {
    (kind(raw) == Kind::List).then(|| serde_json::from_str(raw.get()).ok()).flatten()
}

/// The members of an object, taken out one by one. Of a name that comes twice the last value counts, as in Python.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Members<'a>(#[serde(borrow)] BTreeMap<String, &'a RawValue>);

impl<'a> Members<'a> {
    /// An object's members; `None` for what is not an object.
    #[must_use]
    pub fn of(raw: &'a RawValue) -> Option<Self> {
        (kind(raw) == Kind::Object).then(|| serde_json::from_str(raw.get()).ok()).flatten()
    }

    /// Takes a member out.
    pub fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        self.0.remove(name)
    }

    /// Takes a member out that is there and not `null`.
    pub fn take_some(&mut self, name: &str) -> Option<&'a RawValue> {
        self.take(name).filter(|raw| kind(raw) != Kind::Null)
    }

    /// Takes a text out.
    pub fn take_text(&mut self, name: &str) -> Option<String> {
        self.take(name).and_then(string)
    }
}

/// What a text must be beside JSON's grammar to be kept as it is, and sent to others: not too deep, without half of a
/// surrogate pair, and without a number beyond a double's range, which some readers refuse and others change.
///
/// # Errors
/// What it is not, for its sender.
pub fn check(text: &str) -> Result<(), &'static str> {
    let (mut depth, mut in_string) = (0_usize, false);
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        bytes = rest;
        match first {
            b'"' => in_string = !in_string,
            b'\\' if in_string => bytes = escape(rest).ok_or("a string has half of a surrogate pair")?,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err("lists and objects lie too deeply in one another");
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            b'0'..=b'9' | b'-' if !in_string => {
                let length = rest.iter().take_while(|byte| is_of_number(**byte)).count();
                let number = text.get(text.len() - bytes.len() - 1..text.len() - bytes.len() + length);
                if number.is_some_and(is_beyond_a_double) {
                    return Err("a number is beyond the range of a double");
                }
                bytes = rest.get(length..).unwrap_or_default();
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')
}

/// Whether a double would be infinite. What is not a number is the parser's to refuse.
fn is_beyond_a_double(number: &str) -> bool {
    let may_be = number.len() > 308 || number.contains(['e', 'E']);
    may_be && number.parse::<f64>().is_ok_and(f64::is_infinite)
}

/// What comes after an escape, given what comes after its backslash; `None` for half of a pair. What is not an escape at
/// all is the parser's to refuse.
fn escape(bytes: &[u8]) -> Option<&[u8]> {
    let unit = |bytes: &[u8]| {
        let digits = bytes.strip_prefix(b"u")?.get(..4)?;
        u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
    };
    let one = bytes.get(1..).unwrap_or_default();
    match unit(bytes) {
        None => Some(one),
        Some(0xD800..0xDC00) => {
            let second = bytes.get(5..)?.strip_prefix(b"\\")?;
            let is_pair = unit(second).is_some_and(|second| (0xDC00..0xE000).contains(&second));
            is_pair.then(|| second.get(5..).unwrap_or_default())
        }
        Some(0xDC00..0xE000) => None,
        Some(_) => Some(bytes.get(5..).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_could_not_read_is_refused() {
        for good in [
            r#"{"a":"\ud83d\ude00 \\ud800 \" [[[["}"#,
            r#""\u0041\uD7FF\uE000\\""#,
            r#"{"1e999":"-1e999","a":[-1.7976931348623157e308,1e-999,0.0000e9]}"#,
            &"9".repeat(308),
            &format!("{}1{}", "[".repeat(127), "]".repeat(127)),
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
            assert!(serde_json::from_str::<serde_json::Value>(good).is_ok(), "{good}");
        }
        for bad in [
            r#""\ud83d""#,
            r#""\ud83dx\ude00""#,
            r#""\ude00\ud83d""#,
            r#"{"\ud83d\u0041":1}"#,
            r#""\\\ud800""#,
            "1e999",
            "[1,-1E+400]",
            r#"{"a":1.7976931348623159e308}"#,
            &"9".repeat(310),
            &format!("{}1{}", "[".repeat(128), "]".repeat(128)),
        ] {
            assert!(check(bad).is_err(), "{bad}");
            assert!(serde_json::from_str::<serde_json::Value>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn space_between_the_parts_is_left_out_and_nothing_else() {
        let raw = |text: &str| Json::from(&*serde_json::from_str::<Box<RawValue>>(text).expect("JSON"));
        for (text, want) in [
            ("{ \"a b\" :\r\n[ 1.0 ,\t2 ] }", "{\"a b\":[1.0,2]}"),
            (r#"["a \" b", " \\", " " , "\\\" , "]"#, r#"["a \" b"," \\"," ","\\\" , "]"#),
            ("1", "1"),
        ] {
            assert_eq!(raw(text).text(), want);
        }
    }

    #[test]
    fn values_are_what_they_begin_with() {
        let raw = |text: &str| serde_json::from_str::<Box<RawValue>>(text).expect("JSON");
        for (text, want) in [
            ("null", Kind::Null),
            ("true", Kind::Boolean),
            ("-0", Kind::Number),
            ("1e400", Kind::Number),
            ("\"x\"", Kind::String),
            (" [1]", Kind::List),
            ("{}", Kind::Object),
        ] {
            assert_eq!(kind(&raw(text)), want, "{text}");
        }
        assert_eq!(string(&raw(r#""\u00e9""#)).as_deref(), Some("é"));
        let object = raw(r#"{"a":1,"a":1.0,"b":null}"#);
        let mut members = Members::of(&object).expect("an object");
        assert_eq!(members.take("a").map(RawValue::get), Some("1.0"));
        assert!(members.take_some("b").is_none() && members.take("c").is_none());
    }
}
