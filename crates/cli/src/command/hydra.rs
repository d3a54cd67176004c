//! `bindu hydra plan` and `token`. Neither changes anything; where the plan depends on whether the secret works, it asks
//! for a token.

use super::{LookArguments, Output, SettingFlags, note, print, with_keeper, with_opened_keeper};
use bindu::{ExitClass, Refusal, hints, run::log, settings::Settings};
use bindu_hydra::TokenError;
use bindu_keeper::{
    Applied, ClientLook, Keeper,
    plan::client::{Client, Local, Secret, Step, Store},
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Print what was observed of the OAuth client, what a start would do first about it, and why
    Plan(LookArguments),
    /// Print an access token of this agent's client, for curl: whoever has it can call as this agent where no signature
    /// is asked for
    Token(TokenArguments),
    /// Replace the client's secret: prepare another in the store, put it into Hydra, prove it by a token, retire the old one
    RotateSecret(RotateArguments),
}

#[derive(clap::Args)]
pub(crate) struct RotateArguments {
    /// Take the steps; without this flag they are only printed
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    look: LookArguments,
}

#[derive(clap::Args)]
pub(crate) struct TokenArguments {
    /// An audience that the client is registered with (HYDRA__AUDIENCES)
    #[arg(long)]
    audience: Option<String>,
    #[command(flatten)]
    settings: SettingFlags,
}

pub(crate) fn run(command: Command) -> Result<(), Refusal> {
    match command {
        Command::Plan(arguments) => plan(arguments),
        Command::Token(arguments) => token(arguments),
        Command::RotateSecret(arguments) => rotate_secret(arguments),
    }
}

fn settings(flags: SettingFlags) -> Result<Settings, Refusal> {
    let settings = Settings::load(flags.layers(Vec::new())?)?;
    log::start(&settings)?;
    match settings.hydra {
        Some(_) => Ok(settings),
        None => Err(hints::token(&TokenError::NoHydra)),
    }
}

fn token(arguments: TokenArguments) -> Result<(), Refusal> {
    let settings = settings(arguments.settings)?;
    let token = with_keeper(&settings, async |keeper| {
        let tokens = keeper.token_source().ok_or(TokenError::NoHydra);
        let token = match tokens {
            Ok(tokens) => tokens.token(arguments.audience.as_deref()).await,
            Err(error) => Err(error),
        };
        token.map_err(|error| hints::token(&error))
    })?;
    print(&format!("{}\n", token.expose_secret()));
    Ok(())
}

fn rotate_secret(arguments: RotateArguments) -> Result<(), Refusal> {
    let output = arguments.look.output;
    let settings = settings(arguments.look.settings)?;
    let steps = [
        "prepare: write another secret beside the current one to the store",
        "put it into Hydra's client",
        "prove it by a token, and take the old one out of the store",
    ];
    let apply = arguments.apply;
    with_opened_keeper(&settings, apply, async |keeper| {
        let done = match apply {
            false => keeper.plan_rotate_secret().await.map(|()| None),
            true => keeper.rotate_secret().await.map(Some),
        };
        let applied = done.map_err(|error| hints::not_taken(&keeper, &error))?;
        tell_rotation(&steps, applied.as_ref(), output);
        Ok(())
    })
}

fn tell_rotation(steps: &[&str], applied: Option<&Applied>, output: Output) {
    let client = applied.and_then(|applied| applied.client);
    match output {
        Output::Text => {
            // If Hydra is not in step, only the first one was taken.
            let taken = if client.is_some() { 1 } else { steps.len() };
            let line = |(number, step): (usize, &&str)| match (applied, number < taken) {
                (None, _) => format!("would   {step}\n"),
                (Some(_), true) => format!("done    {step}\n"),
                (Some(_), false) => format!("left    {step}\n"),
            };
            print(&steps.iter().enumerate().map(line).collect::<String>());
        }
        Output::Json => print(&format!(
            "{:#}\n",
            json!({
                (if applied.is_some() { "done" } else { "would" }): steps,
                "applied": applied.is_some(),
                "version": applied.map(|applied| applied.version),
                "client": client.map_or(Value::Null, |reason| json!(reason.label())),
            })
        )),
    }
    match (applied, client) {
        (None, _) => note("nothing was changed; --apply takes these steps\n"),
        (Some(_), Some(reason)) => note(&format!(
            "Hydra's client is not in step yet ({}): the running replicas finish the rotation when `bindu hydra plan` tells no reason \
             against it\n",
            reason.label()
        )),
        (Some(_), None) => {}
    }
}

fn plan(arguments: LookArguments) -> Result<(), Refusal> {
    let settings = settings(arguments.settings)?;
    with_keeper(&settings, async |keeper| {
        let Some(look) = keeper.look_at_client().await else {
            return Err(Refusal::new(
                ExitClass::Failed,
                "there is no key yet that a client could be registered with",
                hints::no_key_yet(),
            ));
        };
        tell(&keeper, &look, arguments.output);
        Ok(())
    })
}

fn tell(keeper: &Keeper, look: &ClientLook, output: Output) {
    let seen = &look.seen;
    let (store, hydra) = (describe_store(&seen.store), describe_client(&seen.hydra, look.problem.as_deref()));
    let secret = match seen.secret {
        Secret::Untested => "not tried: nothing depends on it",
        Secret::Works => "gets a token",
        Secret::NextWorks => "is replaced: the one that a rotation has prepared gets a token",
        Secret::Wrong => "gets no token, and Hydra is well",
        Secret::Unknown => "could not be tried",
    };
    let directory = match seen.local {
        Local::Present => "holds a secret",
        Local::None => "holds no secret of its own",
    };
    let (would, reason) = match &look.step {
        Step::Leave(reason) => (look.step.explain().to_owned(), Some(reason.label())),
        step => (step.explain().to_owned(), None),
    };
    // Somebody else may have to register it.
    let to_register = seen.hydra == Client::Absent;
    match output {
        Output::Text => {
            let mut text = format!(
                "client     {}\nstore      {store} ({})\ndirectory  {directory}\nhydra      {hydra}\nsecret     {secret}\nsure       {}\n\nwould      {would}\n",
                keeper.agent.did,
                keeper.store.locate(&keeper.credentials_record()),
                if seen.sure { "yes" } else { "no: nothing would be written" },
            );
            if let Some(reason) = reason {
                text.push_str(&format!("because    {reason}\n"));
            }
            if to_register {
                text.push_str(&format!(
                    "\nthe client as it would be registered (its secret is the store's):\n{:#}\n",
                    look.registration
                ));
            }
            if let Some(patch) = &look.patch {
                text.push_str(&format!(
                    "\nthe JSON Patch that brings Hydra's client in step (PATCH /admin/clients/ID):\n{patch:#}\n"
                ));
            }
            if look.secret_differs {
                text.push_str("\nits client_secret must be the store's\n");
            }
            print(&text);
        }
        Output::Json => print(&format!(
            "{:#}\n",
            json!({
                "client_id": keeper.agent.did.as_str(),
                "observed": {"store": store, "directory": directory, "hydra": hydra, "secret": secret},
                "sure": seen.sure,
                "would": would,
                "reason": reason,
                "patch": look.patch,
                "secret_differs": look.secret_differs,
                "registration": if to_register { look.registration.clone() } else { Value::Null },
            })
        )),
    }
}

fn describe_store(store: &Store) -> String {
    match store {
        Store::Present { version, taken_over: None, .. } => format!("holds credentials at version {version}"),
        Store::Present { version, taken_over: Some(key), .. } => {
            format!("holds credentials at version {version}, with consent to take over from {key}")
        }
        Store::Absent => "holds no credentials".to_owned(),
        Store::Deleted { version } => format!("held credentials, deleted at version {version}"),
        Store::Malformed => "holds a record that is no client's, or another client's".to_owned(),
        Store::Denied => "denies us the record".to_owned(),
        Store::Unavailable => "does not answer".to_owned(),
    }
}

fn describe_client(client: &Client, problem: Option<&str>) -> String {
    match client {
        Client::Absent => "has no client of this DID".to_owned(),
        Client::OfOurKey => "has a client that names our key".to_owned(),
        Client::OfAnOlderKey => "has a client that names a key which ours replaces".to_owned(),
        Client::OfOurNextKey => "has a client that names the key that a rotation has prepared".to_owned(),
        Client::OfAnotherKey(key) => format!("has a client that names another key, {key}"),
        Client::OfNoKey => "has a client that names no key".to_owned(),
        Client::Unaddressable => "can't be asked about a DID with a `/`".to_owned(),
        Client::Unavailable => match problem {
            Some(problem) => format!("gives no usable answer: {problem}"),
            None => "gives no answer".to_owned(),
        },
    }
}
