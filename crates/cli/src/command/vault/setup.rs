//! `bindu vault setup`: what an administrator does in Vault for one agent. Without `--apply` it only looks.

use super::policy::{self, Whose};
use crate::command::{Output, SettingFlags, closing, note, print};
use bindu::{
    Refusal,
    hints::{VaultRefusal, administration},
    run::{administered_vault, log},
    settings::{Entry, Layers, Settings, duration, registry},
};
use bindu_http_client::named_file;
use bindu_vault_admin::{LoginSetup, Step, StepState, VaultSetup, WhoLogsIn, apply_setup, plan_setup};
use serde_json::json;
use std::{fmt::Write as _, io, path::PathBuf};

/// The policy that many agents share: its paths are filled in from each one's entity.
const SHARED_POLICY: &str = "bindu-agents";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Do what the plan says
    #[arg(long)]
    apply: bool,
    /// Let no writer overwrite the agent's records without saying which version (`cas_required`)
    #[arg(long)]
    protect: bool,
    /// How the agent logs in: token, kubernetes, approle, jwt or cert [default: VAULT__AUTH, else token]
    #[arg(long, value_name = "METHOD")]
    auth: Option<String>,
    /// Where that method is mounted, without `auth/` [default: VAULT__AUTH_MOUNT, else the method's name]
    #[arg(long, value_name = "MOUNT")]
    auth_mount: Option<String>,
    /// The role to log in by [default: VAULT__ROLE, else bindu-AGENT_ID]
    #[arg(long)]
    role: Option<String>,
    /// What the policy is called [default: bindu-agents, a template that many agents share; with token
    /// bindu-AGENT_ID]
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// kubernetes: the agent's service account, one for each agent
    #[arg(long, value_name = "NAMESPACE/NAME")]
    service_account: Option<String>,
    /// kubernetes, jwt: the audience that its tokens must have
    #[arg(long)]
    audience: Option<String>,
    /// kubernetes: the API server, for a method without a configuration
    #[arg(long, value_name = "URL", default_value = "https://kubernetes.default.svc")]
    kubernetes_host: String,
    /// kubernetes: the authority of that server's certificate, where Vault runs outside of the cluster
    #[arg(long, value_name = "FILE")]
    kubernetes_ca: Option<PathBuf>,
    /// kubernetes: a file with the token by which Vault asks that server, where Vault runs outside of the cluster
    #[arg(long, value_name = "FILE")]
    token_reviewer_jwt: Option<PathBuf>,
    /// jwt: the subject of the agent's JWTs
    #[arg(long)]
    subject: Option<String>,
    /// cert: the common name of the agent's certificate
    #[arg(long, value_name = "NAME")]
    common_name: Option<String>,
    /// cert: the authority that signs it
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// How long a token of the agent's lasts; it renews them [default: 1h for a new role]
    #[arg(long, value_name = "DURATION")]
    token_ttl: Option<String>,
    /// text or json: a list of {state, what, path, about}
    #[arg(long, default_value = "text")]
    output: Output,
    #[command(flatten)]
    settings: SettingFlags,
}

pub(super) fn run(mut arguments: Arguments) -> Result<(), Refusal> {
    let layers = std::mem::take(&mut arguments.settings).layers(Vec::new())?;
    let resolved = layers.clone().resolve();
    let said = |setting: &Entry| resolved.text(setting);
    let settings = Settings::load(as_administrator(layers, said(&registry::VAULT_TOKEN).is_some()))?;
    log::start(&settings)?;
    let wanted = wanted(&arguments, said, &settings)?;
    let (steps, is_blocked) = bindu::block_on(async move {
        let vault = administered_vault(&settings)?;
        let work = async {
            let steps = plan_setup(&vault, &wanted).await.map_err(|error| administration(&error))?;
            let is_blocked = steps.iter().any(|step| step.state == StepState::Conflict);
            if !arguments.apply || is_blocked {
                return Ok((steps, is_blocked));
            }
            let done = apply_setup(&vault, &wanted, &steps).await.map_err(|error| administration(&error))?;
            Ok((done, false))
        };
        closing(&vault, work).await
    })?;
    tell(&steps, arguments.output);
    let count = |state| steps.iter().filter(|step| step.state == state).count();
    if is_blocked {
        return Err(VaultRefusal::Blocked.into());
    }
    let left = count(StepState::Create) + count(StepState::Change) + count(StepState::Conflict);
    match (arguments.apply, left) {
        (false, 0) => note("nothing is to be done\n"),
        (true, 0) => note("done: `bindu vault check` with the agent's own settings tests its login\n"),
        (false, _) => note("nothing was changed; with --apply it is done\n"),
        (true, _) => return Err(VaultRefusal::NotSeen.into()),
    }
    Ok(())
}

/// The same layers, logging in with the administrator's own token: as the vault CLI has it.
fn as_administrator(mut layers: Layers, has_token: bool) -> Layers {
    let kept = std::env::home_dir().map(|home| home.join(".vault-token")).filter(|file| file.is_file());
    layers.flag("vault.enabled", "true");
    match kept {
        Some(file) if !has_token => {
            layers.flag("vault.auth", "token_file");
            layers.flag("vault.token_file", file.display().to_string());
        }
        _ => layers.flag("vault.auth", "token"),
    }
    layers
}

/// What the flags and, below them, the agent's own settings ask for.
fn wanted(
    arguments: &Arguments,
    said: impl Fn(&Entry) -> Option<String>,
    settings: &Settings,
) -> Result<VaultSetup, Refusal> {
    let (agent, did) = policy::agent(settings).ok_or(VaultRefusal::Nobody)?;
    let said = |flag: &Option<String>, setting: &Entry| flag.clone().or_else(|| said(setting));
    let method = said(&arguments.auth, &registry::VAULT_AUTH).unwrap_or_else(|| "token".to_owned());
    let who = who(arguments, &method)?;
    // A token that was made by hand has no entity to fill a template from.
    let (whose, policy_name) = match &who {
        Some(_) => (Whose::Many, SHARED_POLICY.to_owned()),
        None => (Whose::Agent(agent, did.clone()), format!("bindu-{agent}")),
    };
    let ttl = |text: &String| duration(text).filter(|ttl| ttl.as_secs() > 0).ok_or(VaultRefusal::BadTtl);
    let token_ttl = arguments.token_ttl.as_ref().map(ttl).transpose()?;
    let mount = said(&arguments.auth_mount, &registry::VAULT_AUTH_MOUNT).unwrap_or(method);
    let mount = mount.trim_matches('/').to_owned();
    if let Some(bare) = mount.strip_prefix("auth/") {
        return Err(VaultRefusal::AuthTwice(bare.to_owned()).into());
    }
    let login = who.map(|who| LoginSetup {
        mount,
        role: said(&arguments.role, &registry::VAULT_ROLE).unwrap_or_else(|| format!("bindu-{agent}")),
        audience: arguments.audience.clone(),
        token_ttl,
        who,
    });
    let policy_name = arguments.policy.clone().unwrap_or(policy_name);
    let named = [("--policy", Some(&policy_name)), ("--role", login.as_ref().map(|login| &login.role))];
    for (flag, name) in named.into_iter().filter_map(|(flag, name)| Some((flag, name?))) {
        if !is_name(name) {
            return Err(VaultRefusal::BadName(flag, name.clone()).into());
        }
    }
    if login.as_ref().is_some_and(|login| !login.mount.split('/').all(is_name)) {
        return Err(VaultRefusal::BadMount.into());
    }
    Ok(VaultSetup {
        policy: policy::text(settings, &whose)?,
        policy_name,
        agent,
        did,
        login,
        protect: arguments.protect,
    })
}

/// Whether this can be the name of a role or a policy: one segment of a path, and not one that leads elsewhere.
fn is_name(name: &str) -> bool {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.chars().all(is_fit) && !name.chars().all(|c| c == '.')
}

fn who(arguments: &Arguments, method: &str) -> Result<Option<WhoLogsIn>, Refusal> {
    let needs = |flag| VaultRefusal::Needs(method.to_owned(), flag);
    let read = |path: &PathBuf| {
        let unreadable =
            |error: io::Error| VaultRefusal::Unreadable(path.display().to_string(), error.to_string());
        let text = named_file::read(path).map_err(unreadable)?;
        String::from_utf8(text).map_err(|error| unreadable(io::Error::other(error)))
    };
    Ok(match method {
        "token" | "token_file" => None,
        "approle" => Some(WhoLogsIn::AppRole),
        "kubernetes" => {
            let account = arguments.service_account.as_deref().and_then(|account| account.split_once('/'));
            let is_part = |part: &str| !part.is_empty() && !part.contains(['/', '*']);
            let (namespace, name) = account
                .filter(|(namespace, name)| is_part(namespace) && is_part(name))
                .ok_or_else(|| needs("--service-account NAMESPACE/NAME"))?;
            let reviewer = arguments.token_reviewer_jwt.as_ref().map(read).transpose()?;
            Some(WhoLogsIn::ServiceAccount {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                kubernetes_host: arguments.kubernetes_host.clone(),
                kubernetes_ca: arguments.kubernetes_ca.as_ref().map(read).transpose()?,
                token_reviewer: reviewer.map(|text| text.trim().to_owned().into()),
            })
        }
        "jwt" => {
            // A JWT says for whom it is, and Vault takes none for a role that does not.
            arguments.audience.as_ref().ok_or_else(|| needs("--audience AUDIENCE"))?;
            Some(WhoLogsIn::Subject(given(&arguments.subject).ok_or_else(|| needs("--subject SUBJECT"))?))
        }
        "cert" => {
            let common_name = given(&arguments.common_name).ok_or_else(|| needs("--common-name NAME"))?;
            let authority = arguments.client_ca.as_ref().ok_or_else(|| needs("--client-ca FILE"))?;
            Some(WhoLogsIn::Certificate { common_name, authority: read(authority)? })
        }
        _ => return Err(VaultRefusal::UnknownMethod(method.to_owned()).into()),
    })
}

fn given(flag: &Option<String>) -> Option<String> {
    flag.clone().filter(|value| !value.trim().is_empty())
}

fn tell(steps: &[Step], output: Output) {
    match output {
        Output::Text => {
            let mut text = String::new();
            for Step { state, what, path, about, .. } in steps {
                let _ = writeln!(text, "{:9} {what:18} {path}\n{:29}{about}", state.word(), "");
            }
            print(&text);
        }
        Output::Json => {
            let rows: Vec<_> = steps
                .iter()
                .map(|step| {
                    json!({"state": step.state.word(), "what": step.what, "path": step.path, "about": step.about})
                })
                .collect();
            print(&format!("{:#}\n", json!(rows)));
        }
    }
}
