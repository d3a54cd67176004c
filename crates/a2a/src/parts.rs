//! Parts: the content of a message or an artifact, kept as the JSON text of A2A 1.0.

use crate::{
    Json,
    json::{self, Items},
};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A list of parts: the text of a JSON list of A2A 1.0's `Part` objects. What is in one is valid.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts(Json);

/// One part, read from the text.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// The content.
    pub content: Content<'a>,
    /// Its media type.
    pub media_type: Option<Cow<'a, str>>,
    /// Its file name.
    pub filename: Option<Cow<'a, str>>,
    /// Metadata: a JSON object.
    pub metadata: Option<&'a RawValue>,
}

/// The content of a part.
#[derive(Debug, Clone)]
pub enum Content<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes, in base64 as they were sent.
    Raw(Cow<'a, str>),
    /// The URL of a file.
    Url(Cow<'a, str>),
    /// Any JSON value.
    Data(&'a RawValue),
}

/// A text that has more bytes has a buffer of just its length.
const LONG: usize = 64 * 1024;

/// Writes a list of parts.
#[derive(Debug, Clone)]
pub struct PartsBuilder(Vec<u8>);

impl Default for PartsBuilder {
    fn default() -> Self {
        Self(b"[".to_vec())
    }
}

impl PartsBuilder {
    /// One with room for so many bytes of JSON.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let mut text = Vec::with_capacity(bytes.max(2));
        text.push(b'[');
        Self(text)
    }

    /// Adds a part.
    pub fn push(&mut self, part: &Part<'_>) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.0.push(b'{');
        let rest = 64 + part.metadata.map_or(0, |metadata| metadata.get().len());
        match &part.content {
            Content::Text(text) => self.text("\"text\":", text, rest),
            Content::Raw(bytes) => self.text("\"raw\":", bytes, rest),
            Content::Url(url) => self.text("\"url\":", url, rest),
            Content::Data(data) => self.json("\"data\":", data),
        }
        for (name, value) in [(",\"mediaType\":", &part.media_type), (",\"filename\":", &part.filename)] {
            // ProtoJSON does not tell an empty text from none.
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                self.text(name, value, rest);
            }
        }
        if let Some(metadata) = part.metadata {
            self.json(",\"metadata\":", metadata);
        }
        self.0.push(b'}');
    }

    fn text(&mut self, name: &str, text: &str, rest: usize) {
        // Room for all of it at once, and what follows: a buffer that grows by doubling would cost twice as much.
        let bytes = name.len() + quoted_bytes(text) + rest;
        if bytes > LONG {
            self.0.reserve_exact(bytes)
        } else {
            self.0.reserve(bytes)
        }
        self.0.extend(name.as_bytes());
        // Writing to a buffer does not fail.
        let _ = serde_json::to_writer(&mut self.0, text);
    }

    fn json(&mut self, name: &str, json: &RawValue) {
        self.0.extend(name.as_bytes());
        self.0.extend(json.get().as_bytes());
    }

    /// The list.
    #[must_use]
    pub fn build(mut self) -> Parts {
        self.0.push(b']');
        let text = String::from_utf8(self.0).unwrap_or_default();
        Parts(Json::from_text(text).unwrap_or_else(Json::null))
    }
}

/// How long a text is as JSON.
fn quoted_bytes(text: &str) -> usize {
    let of_each = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    });
    2 + of_each.sum::<usize>()
}

impl Parts {
    /// One text.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self::of(&Part::text(text))
    }

    /// One part.
    #[must_use]
    pub fn of(part: &Part<'_>) -> Self {
        let mut parts = PartsBuilder::default();
        parts.push(part);
        parts.build()
    }

    /// Parts that were written by [`PartsBuilder`] before, read from a store.
    #[must_use]
    pub fn from_stored(text: String) -> Option<Self> {
        let json = Json::from_text(text)?;
        (json::kind(json.raw()) == json::Kind::List).then_some(Self(json))
    }

    /// The JSON text: a list of A2A 1.0's parts.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.text()
    }

    /// The same, as JSON.
    #[must_use]
    pub fn json(&self) -> &Json {
        &self.0
    }

    /// The parts, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = Part<'_>> {
        self.items().filter_map(Part::of)
    }

    /// The JSON of each part.
    pub(crate) fn items(&self) -> impl Iterator<Item = &RawValue> {
        Items::of(self.0.raw()).into_iter().flatten()
    }

    /// What a reader of text sees: one part a line.
    #[must_use]
    pub fn as_text(&self) -> String {
        let mut parts = self.iter();
        let Some(first) = parts.next() else { return String::new() };
        // Mostly the only one, and not copied again.
        let mut text = first.as_text().into_owned();
        for part in parts {
            text.push('\n');
            text.push_str(&part.as_text());
        }
        text
    }
}

impl<'a> Part<'a> {
    /// A text.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self { content: Content::Text(text.into()), media_type: None, filename: None, metadata: None }
    }

    /// Reads one part of A2A 1.0; `None` for what is none.
    #[must_use]
    pub fn of(raw: &'a RawValue) -> Option<Self> {
        let [text, bytes, url, data, media_type, filename, metadata] =
            json::members(raw, ["text", "raw", "url", "data", "mediaType", "filename", "metadata"])?;
        let string = json::text;
        let metadata = json::some(metadata);
        let filled = |value| json::some(value).and_then(string).filter(|text| !text.is_empty());
        let (media_type, filename) = (filled(media_type), filled(filename));
        let content = match (json::some(text), json::some(bytes), json::some(url), data) {
            (Some(text), _, _, _) => Content::Text(string(text)?),
            (_, Some(bytes), _, _) => Content::Raw(string(bytes)?),
            (_, _, Some(url), _) => Content::Url(string(url)?),
            (_, _, _, Some(data)) => Content::Data(data),
            _ => return None,
        };
        Some(Self { content, media_type, filename, metadata })
    }

    /// What a reader of text sees.
    #[must_use]
    pub fn as_text(&self) -> Cow<'_, str> {
        match &self.content {
            Content::Text(text) | Content::Url(text) => Cow::Borrowed(text),
            Content::Data(data) => Cow::Borrowed(data.get()),
            Content::Raw(_) => {
                Cow::Owned(format!("[file {}]", self.filename.as_deref().unwrap_or("without a name")))
            }
        }
    }
}

/// Base64 in either alphabet, with or without padding, as ProtoJSON reads it.
#[must_use]
pub fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let (digits, padding) = (digits.as_bytes(), text.len() - digits.len());
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    digits.iter().all(is_digit)
        && match digits.len() % 4 {
            0 => padding == 0,
            1 => false,
            rest => padding == 0 || padding == 4 - rest,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found: the signature behind a long text had no room, so that all of it was copied to a buffer of twice its length.
    #[test]
    fn a_long_text_with_metadata_is_written_into_one_buffer() {
        let long = "x".repeat(1_000_000);
        let metadata = serde_json::value::to_raw_value(&"s".repeat(1_000)).expect("JSON");
        let mut parts = PartsBuilder::default();
        parts.push(&Part { metadata: Some(&metadata), ..Part::text(&long) });
        assert!(parts.0.len() > 1_001_000 && parts.0.capacity() < 1_002_000, "{}", parts.0.capacity());
    }

    #[test]
    fn parts_come_back_as_they_were_pushed() {
        let data: Box<RawValue> = serde_json::from_str(r#"{"n":18446744073709551616}"#).expect("JSON");
        let mut parts = PartsBuilder::default();
        parts.push(&Part::text("a \"quoted\" line\n"));
        parts.push(&Part {
            content: Content::Raw("AAE=".into()),
            media_type: Some("image/png".into()),
            filename: Some("a.png".into()),
            metadata: Some(&data),
        });
        parts.push(&Part { content: Content::Data(&data), ..Part::text("") });
        let parts = parts.build();
        let texts: Vec<String> = parts.iter().map(|part| part.as_text().into_owned()).collect();
        assert_eq!(texts, ["a \"quoted\" line\n", "[file a.png]", r#"{"n":18446744073709551616}"#]);
        assert_eq!(Parts::from_stored(parts.text().to_owned()), Some(parts));
        assert_eq!(PartsBuilder::default().build().text(), "[]");
        let odd: String = (0..=u8::MAX).map(char::from).collect();
        assert_eq!(quoted_bytes(&odd), serde_json::to_string(&odd).expect("a text").len());
    }
}
