//! JSON of callers, kept as the text that it was.
//!
//! A number is what its digits say: `serde_json::Value` would make `18446744073709551616` a float and `1.0` a `1.0` of
//! its own spelling. `serde_json`'s `arbitrary_precision` was rejected: it is a feature of all crates at once, and breaks
//! `flatten` and untagged enums in those that don't expect it.
//!
//! Nothing here builds a tree or a map of what a caller sent: [`members`] keeps the members that it is asked for, [`Items`]
//! shows one item after the other. A body of a million empty objects costs its bytes.

use serde::{
    Deserializer, Serialize,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::{RawValue, to_raw_value};
use std::{borrow::Cow, fmt};

/// How deeply lists and objects may lie in one another. An answer has up to four more around what came (a list of tasks with
/// their histories), and whoever reads it must be able to: `serde_json` reads 127.
const MAX_DEPTH: usize = 100;

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

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// JSON from its text; `None` for what is not JSON.
    #[must_use]
    pub fn from_text(text: String) -> Option<Self> {
        RawValue::from_string(text)
            .ok()
            .map(|raw| if is_compact(raw.get()) { Self(raw) } else { Self::from(&*raw) })
    }

    /// The text, taken out.
    #[must_use]
    pub fn into_text(self) -> String {
        String::from(Box::<str>::from(self.0))
    }

    /// The same, for `serde_json`.
    #[must_use]
    pub fn raw(&self) -> &RawValue {
        &self.0
    }
}

impl From<&RawValue> for Json {
    fn from(raw: &RawValue) -> Self {
        let kept = kept_bytes(raw.get());
        if kept == raw.get().len() {
            return Self(raw.to_owned());
        }
        let mut text = String::with_capacity(kept);
        text.extend(kept_characters(raw.get()));
        Self(RawValue::from_string(text).unwrap_or_else(|_| raw.to_owned()))
    }
}

/// The characters of a JSON text without the white space outside of its strings.
fn kept_characters(text: &str) -> impl Iterator<Item = char> {
    let (mut in_string, mut is_escaped) = (false, false);
    text.chars().filter(move |character| {
        let is_space = !in_string && matches!(character, ' ' | '\t' | '\n' | '\r');
        in_string ^= *character == '"' && !is_escaped;
        is_escaped = in_string && *character == '\\' && !is_escaped;
        !is_space
    })
}

/// Whether there is no white space at all. What has some may have it in its strings only.
fn is_compact(text: &str) -> bool {
    !text.bytes().any(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
}

fn kept_bytes(text: &str) -> usize {
    if is_compact(text) { text.len() } else { kept_characters(text).map(char::len_utf8).sum() }
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

/// The same, without a copy if the text has no escapes.
#[must_use]
pub fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    if kind(raw) != Kind::String {
        return None;
    }
    // Looked for first: an error of `serde_json` that it has escapes would have all of it as its text.
    match raw.get().contains('\\') {
        false => raw.get().strip_prefix('"')?.strip_suffix('"').map(Cow::Borrowed),
        true => string(raw).map(Cow::Owned),
    }
}

/// A list's items; `None` for what is not a list.
#[must_use]
pub fn list(raw: &RawValue) -> Option<Vec<&RawValue>> {
    (kind(raw) == Kind::List).then(|| serde_json::from_str(raw.get()).ok()).flatten()
}

/// What is there and not `null`.
#[must_use]
pub fn some(value: Option<&RawValue>) -> Option<&RawValue> {
    value.filter(|raw| kind(raw) != Kind::Null)
}

/// The members of an object that have these names, in their order; `None` for what is not an object.
///
/// A name in camelCase is found in snake_case as well, as ProtoJSON and Python Bindu have it; of the two, camelCase counts.
/// Of a name that comes twice the last value counts, as in Python. Other members are skipped.
#[must_use]
pub fn members<'a, const N: usize>(raw: &'a RawValue, names: [&str; N]) -> Option<[Option<&'a RawValue>; N]> {
    if kind(raw) != Kind::Object {
        return None;
    }
    let mut found = Found { names: &names, camel: [None; N], snake: [None; N] };
    serde_json::Deserializer::from_str(raw.get()).deserialize_map(&mut found).ok()?;
    let Found { camel, snake, .. } = found;
    let mut pairs = camel.into_iter().zip(snake);
    Some(std::array::from_fn(|_| pairs.next().and_then(|(camel, snake)| camel.or(snake))))
}

struct Found<'a, 'n, const N: usize> {
    names: &'n [&'n str; N],
    camel: [Option<&'a RawValue>; N],
    snake: [Option<&'a RawValue>; N],
}

impl<'a, const N: usize> Visitor<'a> for &mut Found<'a, '_, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(which) = map.next_key_seed(Name(self.names))? {
            let place = match which {
                Some((place, Spelling::Camel)) => self.camel.get_mut(place),
                Some((place, Spelling::Snake)) => self.snake.get_mut(place),
                None => None,
            };
            match place {
                Some(place) => *place = Some(map.next_value()?),
                None => map.next_value::<IgnoredAny>().map(|_| ())?,
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Spelling {
    Camel,
    Snake,
}

/// Reads a member's name, and keeps which of the names it is.
struct Name<'n>(&'n [&'n str]);

impl<'a> DeserializeSeed<'a> for Name<'_> {
    type Value = Option<(usize, Spelling)>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<(usize, Spelling)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, found: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().enumerate().find_map(|(place, name)| {
            let spelling = if *name == found {
                Some(Spelling::Camel)
            } else {
                is_snake_of(found, name).then_some(Spelling::Snake)
            };
            spelling.map(|spelling| (place, spelling))
        }))
    }
}

/// Whether this is the name in snake_case of a name in camelCase.
fn is_snake_of(snake: &str, camel: &str) -> bool {
    let mut snake = snake.bytes();
    camel.bytes().all(|byte| {
        let is_next = |next: u8, snake: &mut std::str::Bytes<'_>| snake.next() == Some(next);
        if byte.is_ascii_uppercase() {
            is_next(b'_', &mut snake) && is_next(byte.to_ascii_lowercase(), &mut snake)
        } else {
            is_next(byte, &mut snake)
        }
    }) && snake.next().is_none()
}

/// The items of a list, one after the other.
#[derive(Debug, Clone)]
pub struct Items<'a>(&'a str);

impl<'a> Items<'a> {
    /// A list's items; `None` for what is not a list.
    #[must_use]
    pub fn of(raw: &'a RawValue) -> Option<Self> {
        let inner = raw.get().trim().strip_prefix('[')?.strip_suffix(']')?;
        Some(Self(inner.trim()))
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a RawValue;

    fn next(&mut self) -> Option<&'a RawValue> {
        if self.0.is_empty() {
            return None;
        }
        let (item, rest) = self.0.split_at_checked(length_of_item(self.0))?;
        self.0 = rest.strip_prefix(',').unwrap_or_default();
        serde_json::from_str(item).ok()
    }
}

/// How long the first item of a list is, in bytes, with the space around it.
pub(crate) fn length_of_item(items: &str) -> usize {
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    for (at, byte) in items.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => return at,
            _ => {}
        }
    }
    items.len()
}

/// Whether it is a list of strings.
#[must_use]
pub fn is_list_of_strings(raw: &RawValue) -> bool {
    Items::of(raw).is_some_and(|mut items| items.all(|item| kind(item) == Kind::String))
}

/// The members of an object, looked up one by one. Keeps none of them: each look reads the text once more, so
/// [`members`] is better for several.
#[derive(Debug, Default)]
pub struct Members<'a>(Option<&'a RawValue>);

impl<'a> Members<'a> {
    /// An object's members; `None` for what is not an object.
    #[must_use]
    pub fn of(raw: &'a RawValue) -> Option<Self> {
        (kind(raw) == Kind::Object).then_some(Self(Some(raw)))
    }

    /// A member. Of a name that comes twice the last value counts, as in Python.
    #[must_use]
    pub fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let [found] = members(self.0?, [name])?;
        found
    }

    /// A member that is there and not `null`.
    #[must_use]
    pub fn take_some(&mut self, name: &str) -> Option<&'a RawValue> {
        some(self.take(name))
    }

    /// A text.
    #[must_use]
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
            &format!("{}1{}", "[".repeat(100), "]".repeat(100)),
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
        // Others could, but not the answer around it.
        assert!(check(&format!("{}1{}", "[".repeat(101), "]".repeat(101))).is_err());
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
    }

    #[test]
    fn only_the_members_that_are_asked_for_are_kept() {
        let raw = |text: &str| serde_json::from_str::<Box<RawValue>>(text).expect("JSON");
        let object =
            raw(r#" {"a":1,"\u0061":1.0,"b":null,"task_id":2,"taskId":3,"context_id":4,"":{"a":5}} "#);
        let texts = |found: [Option<&RawValue>; 5]| {
            found.map(|value| value.map(RawValue::get).unwrap_or("-").to_owned())
        };
        let found = members(&object, ["a", "b", "taskId", "contextId", "c"]).expect("an object");
        assert_eq!(texts(found), ["1.0", "null", "3", "4", "-"]);
        assert!(members(&raw("[]"), ["a"]).is_none());
        for (snake, camel, is) in [
            ("task_id", "taskId", true),
            ("a_b_c", "aBC", true),
            ("task_Id", "taskId", false),
            ("taskid", "taskId", false),
            ("task_id_", "taskId", false),
            ("", "", true),
        ] {
            assert_eq!(is_snake_of(snake, camel), is, "{snake} {camel}");
        }
    }

    proptest::proptest! {
        /// The items of a list are those that serde_json finds.
        #[test]
        fn items_are_those_of_the_parser(
            items in proptest::collection::vec(proptest::sample::select(&[
                "null", " -1.5e3", "\"[]{},:a \"\n", r#""\\""#, r#""\"," "#, "[[],{\"a\":[1,2]}]", "{}", r#"{"]":"["}"#,
            ][..]), 0..6),
            space in " ?",
        ) {
            let text = format!("{space}[{space}{}]{space}", items.join(","));
            let raw: Box<RawValue> = serde_json::from_str(&text).expect("JSON");
            let want: Vec<&RawValue> = serde_json::from_str(&text).expect("a list");
            let found: Vec<&str> = Items::of(&raw).expect("a list").map(RawValue::get).collect();
            proptest::prop_assert_eq!(found, want.into_iter().map(RawValue::get).collect::<Vec<_>>());
        }
    }
}
