//! Parts in the dialects. A2A 1.0 has one kind of part; 0.3 and Python Bindu's have three, told apart by `kind`.
//!
//! What the core's parts have no place for is kept in their metadata, in front, and comes back out of it: the text that
//! Python Bindu has beside data and files ([`CAPTION`]); and that data was no object where the dialect allows only
//! objects ([`WRAPPED`], the name that the official compatibility layer has for it).

use super::{
    Dialect,
    read::{Malformed, Read, malformed, members, object, text},
};
use crate::{
    Content, Json, Part, Parts, PartsBuilder,
    json::{self, Items, Kind, kind},
    parts::is_base64,
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The member of a part's metadata for the text that Python Bindu has beside data or a file.
const CAPTION: &str = "bindu.caption";

/// The member of a part's metadata that says that its data is the member `value` of what is shown.
const WRAPPED: &str = "data_part_compat";

/// Reads a list of parts.
pub(super) fn read_all(dialect: Dialect, raw: &RawValue) -> Read<Parts> {
    let Some(items) = Items::of(raw) else { return malformed("`parts` must be a list") };
    let bytes = raw.get().len();
    // Only Python Bindu's captions are longer here than they were.
    let mut parts =
        PartsBuilder::with_capacity(if dialect == Dialect::Bindu { bytes + bytes / 4 } else { bytes });
    for item in items {
        match dialect {
            Dialect::V1 => read_v1(item, &mut parts)?,
            Dialect::V03 | Dialect::Bindu => read(dialect, item, &mut parts)?,
        }
    }
    Ok(parts.build())
}

fn bad<T>(problem: &str) -> Read<T> {
    malformed(format!("`parts`: {problem}"))
}

fn read_v1(item: &RawValue, parts: &mut PartsBuilder) -> Read<()> {
    if kind(item) != Kind::Object {
        return bad("a part must be an object");
    }
    let [media_type, filename, metadata] = members(item, "part", ["mediaType", "filename", "metadata"])?;
    for (value, name) in [(media_type, "mediaType"), (filename, "filename")] {
        text(value, name)?;
    }
    object(metadata, "part.metadata")?;
    let Some(part) = Part::of(item) else {
        return bad("a part has one of `text`, `raw` and `url`, which are strings, or `data`");
    };
    let [text, raw, url, data] = members(item, "part", ["text", "raw", "url", "data"])?;
    if [json::some(text), json::some(raw), json::some(url), data].iter().flatten().count() > 1 {
        return bad("a part has only one of `text`, `raw`, `url` and `data`");
    }
    match &part.content {
        Content::Raw(bytes) if !is_base64(bytes) => bad("`raw` must be base64"),
        _ => {
            parts.push(&part);
            Ok(())
        }
    }
}

fn read(dialect: Dialect, item: &RawValue, parts: &mut PartsBuilder) -> Read<()> {
    let Some([part_kind, content, data, file, metadata]) =
        json::members(item, ["kind", "text", "data", "file", "metadata"])
    else {
        return bad("a part must be an object");
    };
    let content = json::some(content).map(|value| json::text(value).ok_or(()));
    let Ok(content) = content.transpose() else { return bad("`text` must be a string") };
    let metadata = object(metadata, "part.metadata")?;
    match json::some(part_kind).and_then(json::text).as_deref() {
        Some("text") => {
            let Some(content) = content else { return bad("a text part needs `text`") };
            parts.push(&Part { metadata: metadata.as_ref().map(Json::raw), ..Part::text(content) });
        }
        Some("data") => {
            let Some(data) = data.filter(|data| kind(data) == Kind::Object) else {
                return bad("`data` must be an object");
            };
            let (value, metadata) = match unwrapped(data, metadata.as_ref()) {
                Some((value, metadata)) => (Some(value), metadata),
                None => (None, metadata),
            };
            let data = value.as_ref().map_or(data, Json::raw);
            let metadata = captioned(dialect, content, metadata);
            let metadata = metadata.as_ref().map(Json::raw);
            parts.push(&Part { content: Content::Data(data), metadata, ..Part::text("") });
        }
        Some("file") => {
            let metadata = captioned(dialect, content, metadata);
            read_file(file, metadata.as_ref(), parts)?;
        }
        _ => return bad("`kind` must be `text`, `data` or `file`"),
    }
    Ok(())
}

fn read_file(file: Option<&RawValue>, metadata: Option<&Json>, parts: &mut PartsBuilder) -> Read<()> {
    let Some([bytes, uri, media_type, name]) =
        file.and_then(|file| json::members(file, ["bytes", "uri", "mimeType", "name"]))
    else {
        return bad("`file` must be an object");
    };
    let field = |value| match json::some(value).map(json::text) {
        None => Ok(None),
        Some(Some(text)) => Ok(Some(text)),
        Some(None) => Err(Malformed("`parts`: the fields of `file` must be strings".to_owned())),
    };
    let content = match (field(bytes)?, field(uri)?) {
        (Some(_), Some(_)) => return bad("a file has only one of `bytes` and `uri`"),
        (Some(bytes), _) if !is_base64(&bytes) => return bad("`bytes` must be base64"),
        (Some(bytes), _) => Content::Raw(bytes),
        (None, Some(uri)) => Content::Url(uri),
        (None, None) => return bad("a file needs `bytes` or `uri`"),
    };
    let (media_type, filename) = (field(media_type)?, field(name)?);
    parts.push(&Part { content, media_type, filename, metadata: metadata.map(Json::raw) });
    Ok(())
}

/// Metadata with one more member in front.
fn with_first(name: &str, value: &str, metadata: Option<&Json>) -> Option<Json> {
    let rest = metadata.and_then(|metadata| metadata.text().strip_prefix('{')).unwrap_or("}");
    let comma = if rest == "}" { "" } else { "," };
    Json::from_text(format!("{{\"{name}\":{value}{comma}{rest}"))
}

/// The value of a member that stands in front, and the rest of the metadata.
fn first<'a>(name: &str, metadata: &'a str) -> Option<(&'a str, Option<String>)> {
    let rest = metadata.strip_prefix("{\"")?.strip_prefix(name)?.strip_prefix("\":")?.strip_suffix('}')?;
    let (value, rest) = rest.split_at_checked(json::length_of_item(rest))?;
    Some((value, rest.strip_prefix(',').map(|rest| format!("{{{rest}}}"))))
}

/// The caption in front of the metadata, and the rest of it.
fn caption(metadata: &str) -> Option<(String, Option<String>)> {
    let (value, rest) = first(CAPTION, metadata)?;
    Some((serde_json::from_str(value).ok()?, rest))
}

/// Metadata with Python Bindu's caption in it. It is put there as well if it would be mistaken for one otherwise.
fn captioned(dialect: Dialect, text: Option<Cow<'_, str>>, metadata: Option<Json>) -> Option<Json> {
    let text = text.filter(|_| dialect == Dialect::Bindu).unwrap_or_default();
    let is_mistaken = metadata.as_ref().is_some_and(|metadata| caption(metadata.text()).is_some());
    if text.is_empty() && !(is_mistaken && dialect == Dialect::Bindu) {
        return metadata;
    }
    with_first(CAPTION, Json::of(&*text).text(), metadata.as_ref())
}

/// What was wrapped to be an object, and the metadata without the word on it.
fn unwrapped(data: &RawValue, metadata: Option<&Json>) -> Option<(Json, Option<Json>)> {
    let ("true", rest) = first(WRAPPED, metadata?.text())? else { return None };
    let data = Json::from(data);
    let (value, None) = first("value", data.text())? else { return None };
    Some((Json::from_text(value.to_owned())?, rest.and_then(Json::from_text)))
}

/// A part in 0.3's or Python Bindu's form.
pub(super) struct Shown<'a>(pub(super) Dialect, pub(super) Part<'a>);

#[derive(Serialize)]
struct File<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<&'a str>,
    #[serde(rename = "mimeType", skip_serializing_if = "Option::is_none")]
    media_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct Wrapped<'a> {
    value: &'a RawValue,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(dialect, part) = self;
        let mut map = serializer.serialize_map(None)?;
        let mut metadata = part.metadata.map(Json::from);
        let caption = match (&part.content, &metadata) {
            (Content::Text(_), _) | (_, None) => None,
            (_, Some(_)) if *dialect != Dialect::Bindu => None,
            (_, Some(metadata)) => caption(metadata.text()),
        };
        let mut text = String::new();
        if let Some((caption, rest)) = caption {
            text = caption;
            metadata = rest.and_then(Json::from_text);
        }
        // Python Bindu's types have a text in each part.
        let text_beside = Some(&*text).filter(|_| *dialect == Dialect::Bindu);
        let file = |bytes, uri| File {
            bytes,
            uri,
            media_type: part.media_type.as_deref(),
            name: part.filename.as_deref(),
        };
        match &part.content {
            Content::Text(text) => {
                map.serialize_entry("kind", "text")?;
                map.serialize_entry("text", text)?;
            }
            Content::Data(data) => {
                map.serialize_entry("kind", "data")?;
                if let Some(text) = text_beside {
                    map.serialize_entry("text", text)?;
                }
                if kind(data) == Kind::Object {
                    map.serialize_entry("data", data)?;
                } else {
                    map.serialize_entry("data", &Wrapped { value: data })?;
                    metadata = with_first(WRAPPED, "true", metadata.as_ref());
                }
            }
            Content::Raw(_) | Content::Url(_) => {
                map.serialize_entry("kind", "file")?;
                if let Some(text) = text_beside {
                    map.serialize_entry("text", text)?;
                }
                let file = match &part.content {
                    Content::Raw(bytes) => file(Some(bytes), None),
                    Content::Url(uri) => file(None, Some(uri)),
                    Content::Text(_) | Content::Data(_) => file(None, None),
                };
                map.serialize_entry("file", &file)?;
            }
        }
        if let Some(metadata) = &metadata {
            map.serialize_entry("metadata", metadata)?;
        }
        map.end()
    }
}
