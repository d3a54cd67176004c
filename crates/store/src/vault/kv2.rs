//! KV v2's own settings, and the words for what is wrong with them. Pure.

use super::path_segments;
use serde_json::Value;

/// The `delete_version_after` of a mount's or a record's settings; none if it is zero.
#[must_use]
pub fn lifetime(settings: &Value) -> Option<String> {
    let text = settings.get("delete_version_after")?.as_str()?;
    // "0s"; a negative one turns it off.
    let is_none = text.starts_with('-') || !text.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    (!is_none).then(|| text.to_owned())
}

/// The command with which new versions in a mount stay.
#[must_use]
pub fn fix_of_mount(mount: &str) -> String {
    format!("vault write {mount}/config delete_version_after=0s")
}

/// The command with which new versions of a record stay, unless its mount says otherwise.
#[must_use]
pub fn fix_of_record(mount: &str, path: &str) -> String {
    format!("vault kv metadata put -mount={mount} -delete-version-after=0s {path}")
}

/// What was meant by a mount that is a path below another one, or above one.
#[must_use]
pub fn mount_that_is_meant(real: &str, said: &str, prefix: &str) -> String {
    let (real, said) = (path_segments(real), path_segments(said));
    let (real_name, said_name) = (real.join("/"), said.join("/"));
    let Some(below) = said.strip_prefix(real.as_slice()) else {
        return format!(
            "`{said_name}` is no mount, but there is one named `{real_name}`: set VAULT__MOUNT={real_name}"
        );
    };
    // Of the API's own paths, not of a record's.
    let below = match below {
        [first, rest @ ..] if first == "data" || first == "metadata" => rest,
        below => below,
    };
    let prefix = [below, &path_segments(prefix)].concat().join("/");
    format!(
        "`{said_name}` is no mount, but a path below the mount `{real_name}`: set VAULT__MOUNT={real_name} and \
         VAULT__PREFIX={prefix}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_lifetime_of_zero_is_none() {
        let settings = |text: &str| lifetime(&json!({"delete_version_after": text}));
        assert_eq!((settings("0s"), settings("-1s"), settings("")), (None, None, None));
        assert_eq!(settings("1h0m0s").as_deref(), Some("1h0m0s"));
    }

    #[test]
    fn a_path_below_a_mount_is_told_from_it() {
        let cases = [
            ("secret/data", "secret", "VAULT__MOUNT=secret and VAULT__PREFIX=bindu"),
            ("secret/metadata", "secret", "VAULT__MOUNT=secret and VAULT__PREFIX=bindu"),
            ("secret/data/x", "secret", "VAULT__MOUNT=secret and VAULT__PREFIX=x/bindu"),
            ("secret/x/data", "secret", "VAULT__MOUNT=secret and VAULT__PREFIX=x/data/bindu"),
            ("team/kv/data", "team/kv", "VAULT__MOUNT=team/kv and VAULT__PREFIX=bindu"),
            ("team/kv/x/y", "team/kv", "VAULT__MOUNT=team/kv and VAULT__PREFIX=x/y/bindu"),
        ];
        for (said, real, meant) in cases {
            let told = mount_that_is_meant(real, said, "bindu");
            assert!(told.ends_with(meant) && told.contains(&format!("the mount `{real}`")), "{said}: {told}");
        }
    }
}
