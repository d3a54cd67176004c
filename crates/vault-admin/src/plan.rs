//! What there is to do about a set-up, from what was observed. Pure.

use crate::{
    login_steps,
    observed::{Observed, Place},
    paths,
    step::{Step, StepState, conflict, post, there},
    wanted::VaultSetup,
};
use bindu_store::kv2;
use serde_json::json;

/// All steps, in the order in which they are taken.
pub(crate) fn plan(wanted: &VaultSetup, observed: &Observed, place: &Place) -> Vec<Step> {
    let mut steps = vec![mount(observed, place)];
    steps.extend(lifetimes(observed, place));
    steps.push(policy(wanted, observed));
    if let Some(login) = &wanted.login {
        steps.push(login_steps::method(login, observed));
        steps.extend(login_steps::config(login, observed));
        steps.push(login_steps::role(wanted, login, observed));
        steps.push(login_steps::entity(wanted, observed));
        steps.push(login_steps::alias(login, observed));
    }
    if wanted.protect {
        steps.extend(place.metadata.iter().zip(observed.protected).map(|(path, is)| protection(path, is)));
    }
    steps
}

fn mount(observed: &Observed, place: &Place) -> Step {
    let (what, path) = ("mount", format!("sys/mounts/{}", place.mount));
    match (&observed.mount, &observed.in_the_way) {
        (None, Some(other)) => {
            conflict(what, path, kv2::mount_that_is_meant(other, &place.mount, &place.prefix))
        }
        (None, None) => {
            let body = json!({"type": "kv", "options": {"version": "2"}});
            post(what, path, (StepState::Create, "KV version 2".to_owned()), body)
        }
        (Some(mount), _) if mount.is_kv2() => there(what, path, "KV version 2"),
        (Some(mount), _) if mount.kind == "kv" => {
            let mend = format!(
                "it is KV version 1, which has no compare-and-set: `vault kv enable-versioning {}` makes it \
                 version 2, VAULT__MOUNT names another",
                place.mount
            );
            conflict(what, path, mend)
        }
        (Some(mount), _) => {
            conflict(what, path, format!("it is of type {}: VAULT__MOUNT names another", mount.kind))
        }
    }
}

/// Records that Vault deletes by itself (`delete_version_after`) are lost on a day that nobody has in mind. The mount's
/// setting is for all its records: whoever has set it may want it for others. A record's own is ours to change.
fn lifetimes(observed: &Observed, place: &Place) -> Vec<Step> {
    let what = "lifetime";
    let (in_mount, of_records) = &observed.lifetimes;
    let in_mount = in_mount.as_ref().map(|after| {
        let about = format!(
            "every new version is deleted {after} later, an agent's keys as well: `{}`, or VAULT__MOUNT names another \
             mount",
            kv2::fix_of_mount(&place.mount)
        );
        let path = format!("{}/config", place.mount);
        Step { what, path, state: StepState::ByHand, about, change: None }
    });
    let of_records = place.metadata.iter().zip(of_records).filter_map(|(path, after)| {
        let about = format!("every new version is deleted {} later: for ever", after.as_ref()?);
        let body = json!({"delete_version_after": "0s"});
        Some(post(what, path.clone(), (StepState::Change, about), body))
    });
    in_mount.into_iter().chain(of_records).collect()
}

fn policy(wanted: &VaultSetup, observed: &Observed) -> Step {
    let (what, path) = ("policy", paths::policy_path(&wanted.policy_name));
    let body = json!({"policy": wanted.policy});
    let mark = |text: &str| text.lines().next().unwrap_or_default().trim().to_owned();
    match &observed.policy {
        None => post(what, path, (StepState::Create, "as `bindu vault policy` prints it".to_owned()), body),
        Some(text) if text.trim() == wanted.policy.trim() => there(what, path, "the least that is needed"),
        // The first line says that an earlier version of this program has written it, for the same agents.
        Some(text)
            if mark(text) == mark(&wanted.policy)
                && rules(text).all(|path| wanted.policy.contains(&format!("path \"{path}\""))) =>
        {
            post(what, path, (StepState::Change, "its rules are older ones".to_owned()), body)
        }
        Some(_) => {
            let about = "it is another policy, which others may need: --policy names one of another name";
            conflict(what, path, about)
        }
    }
}

/// The paths that a policy has rules for.
fn rules(policy: &str) -> impl Iterator<Item = &str> {
    policy.split("path \"").skip(1).filter_map(|rest| rest.split('"').next())
}

fn protection(path: &str, is_protected: bool) -> Step {
    let (what, about) = ("protection", "cas_required: no writer overwrites without saying which version");
    match is_protected {
        true => there(what, path.to_owned(), about),
        false => {
            post(what, path.to_owned(), (StepState::Create, about.to_owned()), json!({"cas_required": true}))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::outcome;

    fn wanted() -> VaultSetup {
        VaultSetup {
            agent: "5c908f70-ec50-7e33-bf7d-2735c15d5c13".parse().expect("a UUID"),
            did: "did:bindu:a:b:c".parse().expect("a DID"),
            policy_name: "bindu-agents".to_owned(),
            policy: "# ours".to_owned(),
            login: None,
            protect: true,
        }
    }

    fn place() -> Place {
        let metadata = ["keys", "credentials"].map(|name| format!("secret/metadata/bindu/{name}"));
        Place { mount: "secret".to_owned(), prefix: "bindu".to_owned(), metadata }
    }

    fn nothing() -> Observed {
        Observed {
            mount: None,
            in_the_way: None,
            policy: None,
            method: None,
            is_configured: false,
            role: None,
            entity: None,
            alias_name: None,
            alias_owner: None,
            protected: [false; 2],
            lifetimes: (None, [None, None]),
        }
    }

    fn all() -> Observed {
        let mount = crate::observed::Mount { kind: "kv".to_owned(), version: Some("2".to_owned()) };
        Observed { mount: Some(mount), policy: Some("# ours".to_owned()), protected: [true; 2], ..nothing() }
    }

    fn states(observed: &Observed) -> Vec<(&'static str, StepState)> {
        let steps = plan(&wanted(), observed, &place());
        steps.into_iter().map(|step| (step.what, step.state)).collect()
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_there_is_left() {
        let whats = ["mount", "policy", "protection", "protection"];
        assert_eq!(states(&nothing()), whats.map(|what| (what, StepState::Create)));
        assert_eq!(states(&all()), whats.map(|what| (what, StepState::There)));
    }

    #[test]
    fn a_mount_in_the_way_is_a_conflict() {
        for in_the_way in ["secret/x", "se"] {
            let observed = Observed { in_the_way: Some(in_the_way.to_owned()), ..nothing() };
            assert_eq!(states(&observed).first(), Some(&("mount", StepState::Conflict)), "{in_the_way}");
        }
    }

    #[test]
    fn a_lifetime_is_the_mounts_owners_to_change_or_the_records() {
        let half_an_hour = Some("30m0s".to_owned());
        let observed = Observed { lifetimes: (half_an_hour.clone(), [None, half_an_hour]), ..all() };
        let before = plan(&wanted(), &observed, &place());
        let lifetimes = |steps: &[Step]| {
            let lifetimes = steps.iter().filter(|step| step.what == "lifetime");
            lifetimes.map(|step| (step.state, step.path.clone())).collect::<Vec<_>>()
        };
        let (mount, record) = ("secret/config".to_owned(), "secret/metadata/bindu/credentials".to_owned());
        assert_eq!(
            lifetimes(&before),
            [(StepState::ByHand, mount.clone()), (StepState::Change, record.clone())]
        );
        // The plan that is made afterwards says nothing of what was changed.
        let (in_mount, _) = observed.lifetimes;
        let after = plan(&wanted(), &Observed { lifetimes: (in_mount, [None, None]), ..all() }, &place());
        let done = outcome(&before, after);
        assert_eq!(lifetimes(&done), [(StepState::ByHand, mount), (StepState::Changed, record)]);
        assert_eq!(done.len(), before.len());
    }
}
