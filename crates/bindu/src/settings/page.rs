//! The table of docs/CONFIGURATION.md, from the registry.

use super::{Entry, registry::SETTINGS};
use std::fmt::Write as _;

/// The lines between which the page's table stands.
const MARKS: [&str; 2] =
    ["<!-- settings: written by `cargo xtask settings` -->\n", "<!-- settings: end -->\n"];

/// The page with the table as it must be now; none where it lacks a mark.
#[must_use]
pub fn page(text: &str) -> Option<String> {
    let (before, rest) = text.split_once(MARKS[0])?;
    let (_, after) = rest.split_once(MARKS[1])?;
    Some(format!("{before}{}{}{}{after}", MARKS[0], table(), MARKS[1]))
}

fn table() -> String {
    let mut table = "| key | variables | default | what |\n| --- | --- | --- | --- |\n".to_owned();
    for setting in SETTINGS {
        let variables =
            setting.variables.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let about = linked(setting.about).replace('|', "\\|");
        let secret = if setting.secret { " (secret)" } else { "" };
        let _ =
            writeln!(table, "| `{}` | {variables} | {} | {about}{secret} |", setting.key, default(setting));
    }
    table
}

fn default(setting: &Entry) -> String {
    match (setting.default, setting.otherwise) {
        ("", "") => "-".to_owned(),
        ("", otherwise) => otherwise.to_owned(),
        (default, _) => format!("`{default}`"),
    }
}

/// `docs/PAGE.md#heading` as a link from a page beside it.
fn linked(about: &str) -> String {
    let mut words = Vec::new();
    for word in about.split(' ') {
        let bare = word.trim_matches(['(', ')', '.', ',', ';', ':']);
        words.push(match bare.strip_prefix("docs/") {
            Some(path) => {
                let page = path.split('#').next().unwrap_or_default();
                word.replace(bare, &format!("[{page}]({path})"))
            }
            None => word.to_owned(),
        });
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_says_what_the_registry_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/CONFIGURATION.md");
        let text = std::fs::read_to_string(path).expect("the page can be read");
        let wanted = super::page(&text).expect("the page has its marks");
        assert!(
            text == wanted,
            "docs/CONFIGURATION.md has drifted from the registry: `cargo xtask settings` writes it"
        );
    }
}
