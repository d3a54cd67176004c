//! What a body is made of: JSON in UTF-8, as it is. What it is instead is said in words, since a parser's word on a
//! compressed body helps nobody.

use crate::{A2aError, json};
use serde_json::value::RawValue;

/// Bytes that other formats begin with.
const OTHERS: [(&[u8], &str); 8] = [
    (b"\x1f\x8b", "compressed by gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\xff\xfe", "in UTF-16"),
    (b"\xfe\xff", "in UTF-16"),
    (b"\0\0\xfe\xff", "in UTF-32"),
    (b"{\0", "in UTF-16 or UTF-32"),
    (b"\0", "in UTF-16 or UTF-32"),
];

/// Refuses what the headers say of a body that cannot be read, before it comes. Several values of one header are joined
/// by commas.
///
/// # Errors
/// [`A2aError::Media`].
pub fn check_headers(content_type: Option<&str>, content_encoding: Option<&str>) -> Result<(), A2aError> {
    if let Some(encoding) = words(content_encoding).find(|word| word != "identity") {
        return Err(A2aError::Media(format!(
            "The body has the content encoding {encoding:?}: send it without one"
        )));
    }
    match content_type.and_then(charset) {
        Some(charset) if !matches!(charset.as_str(), "utf-8" | "utf8" | "us-ascii" | "ascii") => {
            Err(A2aError::Media(format!("The body is in the charset {charset:?}: send it in UTF-8")))
        }
        _ => Ok(()),
    }
}

/// The JSON value of a body. The content type is the header's, for the words of the error.
///
/// # Errors
/// [`A2aError::Media`] and [`A2aError::Parse`]: what it is instead.
pub fn json<'a>(content_type: Option<&str>, body: &'a [u8]) -> Result<&'a RawValue, A2aError> {
    serde_json::from_str(json_text(body)?).map_err(|error| not_json(content_type, &error))
}

/// The text of a body, which may be JSON.
fn json_text(body: &[u8]) -> Result<&str, A2aError> {
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| body.starts_with(magic)) {
        return Err(A2aError::Media(format!("The body is {what}: send JSON in UTF-8 as it is")));
    }
    if body.starts_with(b"\xef\xbb\xbf") {
        return Err(A2aError::Parse("The body begins with a byte order mark (BOM): leave it out".to_owned()));
    }
    let text = str::from_utf8(body).map_err(|error| {
        A2aError::Parse(format!("The body is not UTF-8, from byte {} on", error.valid_up_to()))
    })?;
    json::check(text).map_err(|problem| A2aError::Parse(problem.to_owned()))?;
    Ok(text)
}

/// A body that is not JSON, in the parser's words; in ours if its sender says itself that it is something else.
fn not_json(content_type: Option<&str>, error: &serde_json::Error) -> A2aError {
    let media_type = words(content_type).next().unwrap_or_default();
    let is_json = media_type.is_empty() || media_type.ends_with("/json") || media_type.ends_with("+json");
    if is_json {
        return A2aError::Parse(error.to_string());
    }
    A2aError::Media(format!("The body is {media_type:?}, and not JSON: send JSON as application/json"))
}

/// The words of a header's list, without their parameters, in lower case and not longer than is worth showing.
fn words(header: Option<&str>) -> impl Iterator<Item = String> {
    let words = header.into_iter().flat_map(|value| value.split(','));
    words.filter_map(|word| word.split(';').next()).map(shown).filter(|word| !word.is_empty())
}

fn charset(content_type: &str) -> Option<String> {
    let mut parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, charset) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    Some(shown(charset.trim().trim_matches('"')))
}

fn shown(word: &str) -> String {
    word.trim().chars().take(64).collect::<String>().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_what_cannot_be_read() {
        for (content_type, encoding) in [
            (None, None),
            (Some("application/json; charset=UTF-8"), None),
            (Some("text/plain; boundary=x; Charset=\"utf-8\""), None),
            (None, Some("identity, ")),
        ] {
            assert_eq!(check_headers(content_type, encoding), Ok(()), "{content_type:?} {encoding:?}");
        }
        for (content_type, encoding, word) in [
            (None, Some("gzip"), "gzip"),
            (None, Some("identity, BR"), "br"),
            (None, Some("identity,deflate"), "deflate"),
            (Some("application/json; charset=utf-16"), None, "utf-16"),
            (Some("application/json;charset=\"ISO-8859-1\""), None, "iso-8859-1"),
        ] {
            let error = check_headers(content_type, encoding).expect_err(word);
            assert_eq!((error.facts().status, error.facts().code), (415, -32005));
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn bodies_say_what_they_are_instead_of_json() {
        let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cases: [(&[u8], u16, &str); 8] = [
            (b"\x1f\x8b\x08\0", 415, "gzip"),
            (b"\x28\xb5\x2f\xfd", 415, "zstd"),
            (b"\xff\xfe{\0", 415, "UTF-16"),
            (&utf16, 415, "UTF-16"),
            (b"\0{\0}", 415, "UTF-16"),
            (b"\xef\xbb\xbf{}", 400, "byte order mark"),
            (b"{\"a\":\"\xe9\"}", 400, "from byte 6"),
            (br#""\ud800""#, 400, "surrogate"),
        ];
        for (body, status, word) in cases {
            let error = json_text(body).expect_err(word);
            assert_eq!(error.facts().status, status, "{word}");
            assert!(error.to_string().contains(word), "{error}");
        }
        let error = serde_json::from_str::<u8>("a=1").expect_err("no JSON");
        assert_eq!(not_json(Some("application/x-www-form-urlencoded"), &error).facts().status, 415);
        assert_eq!(not_json(Some("application/problem+json; x=y"), &error).facts().status, 400);
        assert_eq!(not_json(None, &error).facts().status, 400);
    }
}
