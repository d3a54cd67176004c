//! What `bindu vault` refuses: policy, check and setup.

use super::Hint;
use crate::{ExitClass, Refusal};
use bindu_store::{AdministrationError, Outage, OutageReason};

/// A refusal of `bindu vault`.
#[derive(Debug, Clone)]
pub enum VaultRefusal {
    /// No Vault in the settings.
    NotConfigured,
    /// A policy for half of a name.
    HalfOfAName,
    /// A text that would change a policy's meaning.
    Unspeakable(String),
    /// The login's token is dead, or its login refused.
    LoginRejected(Outage),
    /// The mount is not the mount.
    WrongMount(Outage),
    /// No answer.
    Silent(Outage),
    /// The login may not ask what it may do.
    MayNotAsk,
    /// The login lacks rights.
    Lacks,
    /// A set-up for nobody.
    Nobody,
    /// A way to log in that is not known.
    UnknownMethod(String),
    /// A way to log in without what it needs.
    Needs(String, &'static str),
    /// A lifetime that is none.
    BadTtl,
    /// A mount with `auth/` before it.
    AuthTwice(String),
    /// A name that is a path.
    BadName(&'static str, String),
    /// A mount that is no path.
    BadMount,
    /// A file that can't be read.
    Unreadable(String, String),
    /// Conflicts.
    Blocked,
    /// Steps that were taken and are not to be seen.
    NotSeen,
}

impl From<VaultRefusal> for Refusal {
    fn from(refusal: VaultRefusal) -> Self {
        let (class, message) = told(&refusal);
        let text = Self::new(class, message, hint(&refusal));
        match &refusal {
            VaultRefusal::LoginRejected(outage)
            | VaultRefusal::WrongMount(outage)
            | VaultRefusal::Silent(outage) => text.because(outage),
            VaultRefusal::Unreadable(_, error) => text.because(error),
            _ => text,
        }
    }
}

fn told(refusal: &VaultRefusal) -> (ExitClass, String) {
    let (class, message) = match refusal {
        VaultRefusal::NotConfigured => (ExitClass::Usage, "there is no Vault in these settings"),
        VaultRefusal::HalfOfAName => {
            (ExitClass::Usage, "author and name are both part of the DID, and the policy names it")
        }
        VaultRefusal::Unspeakable(text) => {
            let message =
                format!("{text:?} can't stand in a policy: it would name other paths than this agent's");
            return (ExitClass::Usage, message);
        }
        VaultRefusal::LoginRejected(_) => (ExitClass::Denied, "Vault does not accept the token or the login"),
        VaultRefusal::WrongMount(_) => {
            (ExitClass::Failed, "VAULT__MOUNT is not the name of a mount of KV version 2 in this namespace")
        }
        VaultRefusal::Silent(_) => (ExitClass::Unavailable, "Vault could not be asked"),
        VaultRefusal::MayNotAsk => (
            ExitClass::Denied,
            "the login of these settings is alive, and Vault does not let it ask what it may do",
        ),
        VaultRefusal::Lacks => {
            (ExitClass::Denied, "the login of these settings may not do all that this agent needs")
        }
        VaultRefusal::Nobody => (ExitClass::Usage, "whose setup it is must be said"),
        VaultRefusal::UnknownMethod(method) => {
            return (ExitClass::Usage, format!("there is no way to log in called `{method}`"));
        }
        VaultRefusal::Needs(method, flag) => return (ExitClass::Usage, format!("`{method}` needs {flag}")),
        VaultRefusal::BadTtl => (ExitClass::Usage, "--token-ttl must be a duration with its unit"),
        VaultRefusal::AuthTwice(_) => {
            (ExitClass::Usage, "the mount of a login method is named without `auth/`")
        }
        VaultRefusal::BadName(flag, name) => {
            return (ExitClass::Usage, format!("{flag} {name:?} is no name"));
        }
        VaultRefusal::BadMount => (ExitClass::Usage, "--auth-mount is no path"),
        VaultRefusal::Unreadable(path, _) => return (ExitClass::Usage, format!("{path} can't be read")),
        VaultRefusal::Blocked => {
            (ExitClass::Failed, "something in Vault stands in the way; nothing was changed")
        }
        VaultRefusal::NotSeen => (ExitClass::Failed, "Vault took every step and does not show them all"),
    };
    (class, message.to_owned())
}

/// How to fix it.
fn hint(refusal: &VaultRefusal) -> Hint {
    let names = |hint: Hint| hint.setting("BINDU_AUTHOR").setting("BINDU_NAME");
    match refusal {
        VaultRefusal::NotConfigured => {
            Hint::new("name Vault, and a login of docs/VAULT.md").setting("VAULT__ENABLED=true").address()
        }
        VaultRefusal::HalfOfAName => names(Hint::new("for one agent's policy set both of"))
            .words("for a template set none of them, nor")
            .setting("BINDU_AGENT_ID"),
        VaultRefusal::Unspeakable(_) => names(Hint::new(
            "leave out quotes, backslashes, braces, `*`, `$`, `%`, control characters, and a `+` alone between slashes, in",
        ))
        .setting("VAULT__MOUNT")
        .setting("VAULT__PREFIX"),
        VaultRefusal::LoginRejected(_) => {
            Hint::new("give a token that is alive, or see why the login is refused: docs/VAULT.md, \"Logging in\"")
                .setting("VAULT_TOKEN")
                .setting("VAULT__AUTH")
        }
        VaultRefusal::WrongMount(_) => {
            Hint::new("name the namespace, a mount of KV version 2 in it, and the folder below that").place()
        }
        VaultRefusal::Silent(_) => Hint::new("see that Vault answers at the address of")
            .address()
            .words("that the login is right (docs/VAULT.md), and that this is a mount of KV version 2")
            .setting("VAULT__MOUNT"),
        VaultRefusal::MayNotAsk => Hint::new(
            "give its token the policy `default`; for this check alone the rule below does",
        )
        .setting("path \"sys/capabilities-self\" { capabilities = [\"update\"] }"),
        VaultRefusal::Lacks => {
            Hint::new("what is missing is written, with the same settings and an administrator's token, by")
                .command("bindu vault policy | vault policy write NAME -")
        }
        VaultRefusal::Nobody => {
            names(Hint::new("say it with")).words("or with").setting("--author AUTHOR").setting("--name NAME")
        }
        VaultRefusal::UnknownMethod(_) => {
            let known = ["token", "kubernetes", "approle", "jwt", "cert"];
            known.iter().fold(Hint::new("one of"), |hint, method| hint.setting(format!("--auth {method}")))
        }
        VaultRefusal::Needs(_, flag) => {
            Hint::new("add").setting(*flag).words("which is explained by").command("bindu vault setup --help")
        }
        VaultRefusal::BadTtl => Hint::new("at least 1s, such as").setting("--token-ttl 30m"),
        VaultRefusal::AuthTwice(bare) => Hint::new("say").setting(format!("--auth-mount {bare}")),
        VaultRefusal::BadName(flag, _) => {
            Hint::new("a name has letters, digits, `-`, `_` and `.`").setting(format!("{flag} NAME"))
        }
        VaultRefusal::BadMount => {
            Hint::new("such as").setting("--auth-mount kubernetes").setting("--auth-mount clusters/one")
        }
        VaultRefusal::Unreadable(..) => {
            Hint::new("name a file that is there, and may be read").command("ls -l FILE")
        }
        VaultRefusal::Blocked => Hint::new(
            "the lines above that say `conflict` say what mends them; when that is done, look again with the same flags by",
        )
        .command("bindu vault setup"),
        VaultRefusal::NotSeen => {
            Hint::new("somebody else may be changing the same things: run it again").command("bindu vault setup --apply")
        }
    }
}

/// What Vault did not do for an administrator.
#[must_use]
pub fn administration(error: &AdministrationError) -> Refusal {
    let again = "what came before is done and stays; when this is mended, run again";
    let (class, hint) = match error {
        AdministrationError::Denied { .. } => (
            ExitClass::Denied,
            Hint::new("use an administrator's token").setting("VAULT_TOKEN").words("or").command("vault login"),
        ),
        AdministrationError::Refused { path, .. } if path.ends_with("/config") => (
            ExitClass::Failed,
            Hint::new("if Vault runs outside of the cluster, name the API server, its authority and a token to ask it with")
                .setting("--kubernetes-host URL")
                .setting("--kubernetes-ca FILE")
                .setting("--token-reviewer-jwt FILE")
                .words(again)
                .command("bindu vault setup --apply"),
        ),
        AdministrationError::Unavailable(outage) if outage.reason == OutageReason::LoginRejected => (
            ExitClass::Denied,
            Hint::new("give an administrator's token that is alive")
                .setting("VAULT_TOKEN")
                .words("or")
                .command("vault login"),
        ),
        AdministrationError::Unavailable(_) => {
            (ExitClass::Unavailable, Hint::new("see that Vault answers at the address of").address())
        }
        _ => (ExitClass::Failed, Hint::new(again).command("bindu vault setup --apply")),
    };
    Refusal::new(class, error.to_string(), hint).because_source(error)
}
