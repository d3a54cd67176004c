//! What a handler's reply or artifact holds.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bindu_a2a::{Content as PartContent, Json, Part, Parts, PartsBuilder, is_base64, json};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::borrow::Cow;

/// Texts, files, links and data, in order.
///
/// ```
/// # use bindu_agent::handler::Content;
/// let content = Content::from("Here it is:").file("plot.png", "image/png", &[0x89, 0x50]);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Content(Vec<Piece>);

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    /// A part of A2A 1.0 that is not a text, as JSON.
    Other(Json),
}

impl<T: Into<String>> From<T> for Content {
    fn from(text: T) -> Self {
        Self(vec![Piece::Text(text.into())])
    }
}

impl Content {
    /// Adds a text.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.0.push(Piece::Text(text.into()));
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn file(self, name: &str, media_type: &str, bytes: &[u8]) -> Self {
        self.part(&Part {
            content: PartContent::Raw(STANDARD.encode(bytes).into()),
            media_type: Some(media_type.into()),
            filename: Some(name.into()),
            metadata: None,
        })
    }

    /// Adds a file that lies elsewhere.
    #[must_use]
    pub fn link(self, url: &str, media_type: &str) -> Self {
        let media_type = Some(media_type.into());
        self.part(&Part { content: PartContent::Url(url.into()), media_type, filename: None, metadata: None })
    }

    /// Adds JSON; `null` for what is none, or lies more than 100 lists and objects deep.
    #[must_use]
    pub fn data(self, data: &(impl Serialize + ?Sized)) -> Self {
        let data = to_raw_value(data).ok().filter(|data| json::check(data.get()).is_ok());
        let data = data.unwrap_or_else(|| RawValue::NULL.to_owned());
        let content = PartContent::Data(&data);
        self.part(&Part { content, media_type: None, filename: None, metadata: None })
    }

    /// Adds a part of A2A 1.0.
    #[must_use]
    pub fn part(mut self, part: &Part<'_>) -> Self {
        self.0.push(match &part.content {
            PartContent::Text(text) if part.media_type.is_none() && part.metadata.is_none() => {
                Piece::Text(text.clone().into_owned())
            }
            _ => {
                let list = Parts::of(part);
                let text = list.text();
                // The one part without the list around it.
                let part = RawValue::from_string(text.get(1..text.len() - 1).unwrap_or("null").to_owned());
                Piece::Other(part.map_or_else(|_| Json::null(), |part| Json::from(&*part)))
            }
        });
        self
    }

    /// Reads a JSON list of A2A 1.0's parts; `None` for what is not one, and for an empty one.
    pub(crate) fn read(raw: &RawValue) -> Option<Self> {
        let parts: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
        let mut content = Self::default();
        for part in parts {
            let part = Part::of(part)?;
            if matches!(&part.content, PartContent::Raw(bytes) if !is_base64(bytes)) {
                return None;
            }
            content = content.part(&part);
        }
        (!content.is_empty()).then_some(content)
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a reader of text sees: one part a line.
    #[must_use]
    pub fn as_text(&self) -> String {
        self.text_of_all().into_owned()
    }

    /// The same, not copied if it is one text.
    pub(crate) fn text_of_all(&self) -> Cow<'_, str> {
        if let [Piece::Text(text)] = &*self.0 {
            return Cow::Borrowed(text);
        }
        let mut pieces = self.0.iter().map(Piece::as_text);
        let Some(mut text) = pieces.next() else { return Cow::Borrowed("") };
        for piece in pieces {
            text.push('\n');
            text.push_str(&piece);
        }
        Cow::Owned(text)
    }

    /// The parts; each text with the metadata that `sign` gives it.
    pub(crate) fn parts(&self, mut sign: impl FnMut(&str) -> Option<Box<RawValue>>) -> Parts {
        let mut parts = PartsBuilder::default();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => {
                    let metadata = sign(text);
                    parts.push(&Part { metadata: metadata.as_deref(), ..Part::text(text) });
                }
                Piece::Other(json) => piece.with_part(json, |part| parts.push(part)),
            }
        }
        parts.build()
    }
}

impl Piece {
    fn with_part(&self, json: &Json, with: impl FnOnce(&Part<'_>)) {
        if let Ok(raw) = serde_json::from_str::<&RawValue>(json.text())
            && let Some(part) = Part::of(raw)
        {
            with(&part);
        }
    }

    fn as_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Other(json) => {
                let mut text = String::new();
                self.with_part(json, |part| text = part.as_text().into_owned());
                text
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_of_parts_go_out_as_they_were_added() {
        let content = Content::from("a")
            .file("b.bin", "application/x-b", &[0, 1])
            .link("https://example.com/c", "text/html")
            .data(&serde_json::json!({"d": 18_446_744_073_709_551_615_u64}));
        let parts = content.parts(|text| to_raw_value(&serde_json::json!({"signed": text})).ok());
        assert_eq!(
            parts.text(),
            r#"[{"text":"a","metadata":{"signed":"a"}},{"raw":"AAE=","mediaType":"application/x-b","filename":"b.bin"},{"url":"https://example.com/c","mediaType":"text/html"},{"data":{"d":18446744073709551615}}]"#
        );
        assert_eq!(content.as_text(), "a\n[file b.bin]\nhttps://example.com/c\n{\"d\":18446744073709551615}");
        let raw = RawValue::from_string(content.parts(|_| None).text().to_owned()).expect("JSON");
        assert_eq!(Content::read(&raw), Some(content));
        for bad in ["[]", "{}", "[1]", r#"[{"kind":"text"}]"#] {
            let raw = RawValue::from_string(bad.to_owned()).expect("JSON");
            assert_eq!(Content::read(&raw), None, "{bad}");
        }
    }
}
