//! What a setting is: a constant with its key, its variables, its default, its text and the parser of its type.
//!
//! A key is written once, in [`registry`](super::registry); everything else names the constant, so that a slip does not
//! compile.

use std::{fmt, marker::PhantomData, ops::Deref};

/// What is known of a setting, whatever its type.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its key in the file.
    pub key: &'static str,
    /// Its variables; the first that is set counts.
    pub variables: &'static [&'static str],
    /// What it is if nobody sets it, as text; empty for none.
    pub default: &'static str,
    /// What counts if nobody sets it and `default` is empty, in words; empty if nothing does.
    pub otherwise: &'static str,
    /// Never shown.
    pub secret: bool,
    /// What it does: for docs/CONFIGURATION.md, in Markdown. A page is named as `docs/PAGE.md#heading`.
    pub about: &'static str,
    /// What it holds.
    pub content: Content,
    /// An empty value is a mistake, not an unset one: unset, it would open a door, or make another identity.
    pub never_empty: bool,
}

/// What a value may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// One word or line. White space around it is not part of it; quotes around it are a mistake.
    Line,
    /// Text for people: it may have several lines.
    Prose,
    /// A line with a proxy's address, which may begin with a user and a password.
    Proxy,
    /// JSON: a list.
    List,
    /// JSON: an object, which in a file is a table.
    Object,
    /// Part of the DID: taken as it is. A new identity is not made under a name that looks like an accident.
    Name,
}

/// A setting of this type.
pub struct Setting<T: 'static> {
    entry: Entry,
    read: fn(&str) -> Result<T, String>,
    of: PhantomData<fn() -> T>,
}

/// A setting that is read by this parser, whose error says what it must be.
pub(super) const fn setting<T>(
    key: &'static str,
    variables: &'static [&'static str],
    read: fn(&str) -> Result<T, String>,
    about: &'static str,
) -> Setting<T> {
    let entry = Entry {
        key,
        variables,
        default: "",
        otherwise: "",
        secret: false,
        about,
        content: Content::Line,
        never_empty: false,
    };
    Setting { entry, read, of: PhantomData }
}

impl<T> Setting<T> {
    pub(super) const fn default(self, default: &'static str) -> Self {
        Self { entry: Entry { default, ..self.entry }, ..self }
    }

    pub(super) const fn otherwise(self, otherwise: &'static str) -> Self {
        Self { entry: Entry { otherwise, ..self.entry }, ..self }
    }

    pub(super) const fn secret(self) -> Self {
        Self { entry: Entry { secret: true, ..self.entry }, ..self }
    }

    pub(super) const fn content(self, content: Content) -> Self {
        Self { entry: Entry { content, ..self.entry }, ..self }
    }

    pub(super) const fn never_empty(self) -> Self {
        Self { entry: Entry { never_empty: true, ..self.entry }, ..self }
    }

    /// What is known of it besides its type.
    #[must_use]
    pub const fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Gives a text its type.
    ///
    /// # Errors
    /// What it must be.
    pub fn read(&self, text: &str) -> Result<T, String> {
        (self.read)(&self.entry.clean(text)?)
    }
}

impl<T> Deref for Setting<T> {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

impl<T> fmt::Debug for Setting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entry.fmt(f)
    }
}

impl Entry {
    /// The value without what surrounds it by accident, or what is wrong with it whatever its type.
    ///
    /// # Errors
    /// Quotes, a byte order mark, control characters, nothing but white space.
    pub fn clean(&self, text: &str) -> Result<String, String> {
        if self.content == Content::Name {
            return Ok(text.to_owned());
        }
        let trimmed = text.trim();
        if trimmed.is_empty() && !text.is_empty() {
            return Err("it is nothing but white space; unset it, or give it a value".to_owned());
        }
        if trimmed.contains('\u{feff}') {
            return Err("it holds a byte order mark (U+FEFF), which an editor has put there; write it anew"
                .to_owned());
        }
        let has_lines = !matches!(self.content, Content::Line | Content::Proxy);
        let is_odd = |c: &char| c.is_control() && !(has_lines && matches!(c, '\n' | '\r' | '\t'));
        if let Some(odd) = trimmed.chars().find(is_odd) {
            return Err(format!("it holds a control character, {odd:?}"));
        }
        if self.is_quoted(trimmed) {
            return Err("it has quotes around it, and they count as part of it (`docker run --env-file` and Kubernetes \
                        keep them); write it without"
                .to_owned());
        }
        Ok(trimmed.to_owned())
    }

    fn is_quoted(&self, text: &str) -> bool {
        let inside = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        let whole = ['"', '\'', '`'].into_iter().filter_map(|quote| Some((quote, inside(quote)?)));
        let mut whole = whole.filter(|(quote, inside)| !inside.contains(*quote));
        match self.content {
            // A sentence may begin or end with a quoted word.
            Content::Prose => whole.next().is_some(),
            _ => text.starts_with(['"', '\'', '`']) || text.ends_with(['"', '`']),
        }
    }

    /// A value as it may be shown: without the user and the password of a URL.
    #[must_use]
    pub fn shown(&self, text: &str) -> String {
        match text.rsplit_once('@') {
            // With or without a scheme.
            Some((_, host)) if self.content == Content::Proxy => format!("...@{host}"),
            _ => without_userinfo(text),
        }
    }

    /// The name under which a person sets it: its first variable, else its key.
    #[must_use]
    pub fn variable(&self) -> &'static str {
        self.variables.first().copied().unwrap_or(self.key)
    }
}

fn without_userinfo(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        let end = after.find(|c: char| matches!(c, '/' | '?' | '#' | '"' | ',' | '\\') || c.is_whitespace());
        let (authority, behind) = after.split_at(end.unwrap_or(after.len()));
        shown.push_str(before);
        shown.push_str("://");
        match authority.rsplit_once('@') {
            Some((_, host)) => shown.push_str(&format!("...@{host}")),
            None => shown.push_str(authority),
        }
        rest = behind;
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        for (text, want) in [
            ("https://me:canary@vault:8200/x", "https://...@vault:8200/x"),
            ("https://me@vault", "https://...@vault"),
            ("https://me:can@ary@vault", "https://...@vault"),
            (
                "[\"https://a:canary@b\", \"https://c:canary@d/e@f\"]",
                "[\"https://...@b\", \"https://...@d/e@f\"]",
            ),
            ("https://vault/a@b", "https://vault/a@b"),
            ("alice@example.com", "alice@example.com"),
            ("", ""),
        ] {
            assert_eq!(without_userinfo(text), want);
        }
        let proxy = setting("k", &[], |text| Ok::<_, String>(text.to_owned()), "").content(Content::Proxy);
        for text in ["me:canary@proxy:3128", "http://me:canary@proxy:3128", "socks5://me:can@ary@proxy:3128"]
        {
            assert_eq!(proxy.shown(text), "...@proxy:3128");
        }
        assert_eq!(proxy.shown("http://proxy:3128"), "http://proxy:3128");
    }

    #[test]
    fn accidents_around_a_value() {
        let line = setting("k", &[], |text| Ok::<_, String>(text.to_owned()), "");
        assert_eq!(line.read(" value \r\n").as_deref(), Ok("value"));
        for bad in ["\"x\"", "'x'", "\"x", "x\"", "\u{feff}x", "a\nb", "a\0b", " ", "\n"] {
            assert!(line.read(bad).is_err(), "{bad:?}");
        }
        let prose = setting("k", &[], |text| Ok::<_, String>(text.to_owned()), "").content(Content::Prose);
        assert!(prose.read("\"Echo\" says\n\"hello\"").is_ok() && prose.read("\"Says hello\"").is_err());
        let name = setting("k", &[], |text| Ok::<_, String>(text.to_owned()), "").content(Content::Name);
        assert_eq!(name.read(" \"x\" ").as_deref(), Ok(" \"x\" "), "what exists is loaded under any name");
    }
}
