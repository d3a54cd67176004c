//! What a body is made of: JSON in UTF-8, as it is. What it is instead is said in words, since a parser's word on a
//! compressed body helps nobody.

use super::rpc::RpcError;
use axum::http::{HeaderMap, HeaderName, header};
use bindu_a2a::json;

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

/// Refuses what the headers say of a body that cannot be read, before it comes.
pub(crate) fn check_headers(headers: &HeaderMap) -> Result<(), RpcError> {
    if let Some(encoding) = words(headers, header::CONTENT_ENCODING).find(|word| word != "identity") {
        return Err(RpcError::media(format!(
            "The body has the content encoding {encoding:?}: send it without one"
        )));
    }
    match charset(headers) {
        Some(charset) if !matches!(charset.as_str(), "utf-8" | "utf8" | "us-ascii" | "ascii") => {
            Err(RpcError::media(format!("The body is in the charset {charset:?}: send it in UTF-8")))
        }
        _ => Ok(()),
    }
}

/// The JSON text of a body.
///
/// # Errors
/// What it is instead.
pub(crate) fn json_text(body: &[u8]) -> Result<&str, RpcError> {
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| body.starts_with(magic)) {
        return Err(RpcError::media(format!("The body is {what}: send JSON in UTF-8 as it is")));
    }
    if body.starts_with(b"\xef\xbb\xbf") {
        return Err(RpcError::parse("The body begins with a byte order mark (BOM): leave it out"));
    }
    let text = str::from_utf8(body).map_err(|error| {
        RpcError::parse(format!("The body is not UTF-8, from byte {} on", error.valid_up_to()))
    })?;
    json::check(text).map_err(RpcError::parse)?;
    Ok(text)
}

/// A body that is no JSON, in the parser's words; in ours where its sender says itself that it is something else.
pub(crate) fn not_json(headers: &HeaderMap, error: &serde_json::Error) -> RpcError {
    let media_type = words(headers, header::CONTENT_TYPE).next().unwrap_or_default();
    let is_json = media_type.is_empty() || media_type.ends_with("/json") || media_type.ends_with("+json");
    if is_json {
        return RpcError::parse(error.to_string());
    }
    RpcError::media(format!("The body is {media_type:?}, and not JSON: send JSON as application/json"))
}

/// The words of a header's list, without their parameters, in lower case and not longer than is worth showing.
fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = String> {
    let values = headers.get_all(name).into_iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let words = values.flat_map(|value| {
        let words = value.split(',').filter_map(|word| word.split(';').next());
        words.map(shown).collect::<Vec<_>>()
    });
    words.filter(|word| !word.is_empty())
}

fn charset(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let mut parameters = value.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, charset) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    Some(shown(charset.trim().trim_matches('"')))
}

fn shown(word: &str) -> String {
    word.trim().chars().take(64).collect::<String>().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(of: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in of {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn headers_say_what_cannot_be_read() {
        let (encoding, kind) = (header::CONTENT_ENCODING, header::CONTENT_TYPE);
        for good in [
            headers(&[]),
            headers(&[(kind.clone(), "application/json; charset=UTF-8")]),
            headers(&[(kind.clone(), "text/plain; boundary=x; Charset=\"utf-8\"")]),
            headers(&[(encoding.clone(), "identity"), (encoding.clone(), "")]),
        ] {
            assert_eq!(check_headers(&good), Ok(()), "{good:?}");
        }
        for (bad, word) in [
            (headers(&[(encoding.clone(), "gzip")]), "gzip"),
            (headers(&[(encoding.clone(), "identity, BR")]), "br"),
            (headers(&[(encoding.clone(), "identity"), (encoding, "deflate")]), "deflate"),
            (headers(&[(kind.clone(), "application/json; charset=utf-16")]), "utf-16"),
            (headers(&[(kind, "application/json;charset=\"ISO-8859-1\"")]), "iso-8859-1"),
        ] {
            let error = check_headers(&bad).expect_err(word);
            assert_eq!((error.status.as_u16(), error.code), (415, -32005));
            assert!(error.data.as_deref().unwrap_or_default().contains(word), "{error:?}");
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
            assert_eq!(error.status.as_u16(), status, "{word}");
            assert!(error.data.as_deref().unwrap_or_default().contains(word), "{error:?}");
        }
        let error = serde_json::from_str::<u8>("a=1").expect_err("no JSON");
        let form = headers(&[(header::CONTENT_TYPE, "application/x-www-form-urlencoded")]);
        assert_eq!(not_json(&form, &error).status.as_u16(), 415);
        let json = headers(&[(header::CONTENT_TYPE, "application/problem+json; x=y")]);
        assert_eq!(not_json(&json, &error).status.as_u16(), 400);
    }
}
