//! Logging in, renewing and revoking, over the wire.

use super::{
    VaultStore,
    login::{Next, RETRY},
    meaning,
};
use crate::{Outage, OutageReason};
use bindu_http_client::{Method, Reply};
use bindu_time::at_random;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long after a start the token is looked after for the first time.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// How long the end waits for a login that is on its way: as long as one request may take.
const LAST_LOGIN: Duration = Duration::from_secs(10);

/// A token that is not revoked in this time ends by itself.
const FAREWELL: Duration = Duration::from_secs(2);

impl VaultStore {
    /// The token to use; a login's if there is none.
    pub(super) async fn token(&self) -> Result<SecretString, Outage> {
        if let Some(token) = self.session.token()? {
            return Ok(token);
        }
        self.uncancelled(|store| async move { store.token_by_login().await }).await
    }

    /// Runs something that logs in, in a task of its own: a wrapped secret id can be taken out once, and a token that was
    /// asked for must be known when it is to be revoked, even if nobody waits for it any more.
    async fn uncancelled<T, F>(&self, work: impl FnOnce(Self) -> F) -> Result<T, Outage>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Outage>> + Send + 'static,
    {
        let ended = |_| Err(Outage::new(OutageReason::LoginRejected, "the login was broken off"));
        tokio::spawn(work(self.clone())).await.unwrap_or_else(ended)
    }

    async fn token_by_login(&self) -> Result<SecretString, Outage> {
        let _turn = self.session.turn.lock().await;
        if let Some(token) = self.session.token()? {
            return Ok(token);
        }
        self.log_in_or_wait().await
    }

    /// Logs in, unless the last failure is too fresh. Whoever calls it has the turn.
    async fn log_in_or_wait(&self) -> Result<SecretString, Outage> {
        if self.session.is_closed() {
            return Err(Outage::new(OutageReason::LoginRejected, "the login was given back"));
        }
        if let Some(outage) = self.session.fresh_failure() {
            return Err(outage);
        }
        let done = self.log_in().await;
        if let Err(outage) = &done {
            self.session.reject(outage);
        }
        done
    }

    async fn log_in(&self) -> Result<SecretString, Outage> {
        if let Some(wrapping) = self.session.wrapping()? {
            self.unwrap_secret_id(&wrapping).await?;
        }
        let request = self.session.request()?;
        let request = request.ok_or_else(|| {
            Outage::new(OutageReason::LoginRejected, "there is no way to log in with this token")
        })?;
        let url = self.url(request.path.iter().map(String::as_str));
        let reply = self.exchange(("login", Method::POST), url, None, Some(bytes(&request.body))).await?;
        let token = self.session.accept(&meaning::of_login(&reply)?)?;
        if self.session.is_closed() {
            // Whoever closed the store could wait no longer.
            self.session.close();
            self.revoke(&token).await;
        }
        tracing::info!("logged in to Vault");
        Ok(token)
    }

    /// Takes the secret id out of its wrapping. That works once: whoever was faster has it, which is worth an alarm.
    async fn unwrap_secret_id(&self, wrapping: &SecretString) -> Result<(), Outage> {
        let url = self.url(["sys", "wrapping", "unwrap"]);
        let reply =
            self.exchange(("unwrap", Method::POST), url, Some(wrapping), Some(bytes(&json!({})))).await?;
        let body = reply.json().filter(|_| reply.status == 200).unwrap_or_default();
        match body.pointer("/data/secret_id").and_then(Value::as_str) {
            Some(secret_id) => {
                self.session.unwrapped(wrapping.clone(), SecretString::from(secret_id));
                Ok(())
            }
            None => Err(meaning::rejected(&reply, "the wrapped secret id can't be taken out")),
        }
    }

    /// Keeps a token alive for ever.
    pub(super) async fn keep_token(&self) {
        let mut retry = RETRY;
        // A start has better questions to ask than how long a token lasts.
        sleep(FIRST_LOOK).await;
        loop {
            let failed = match self.session.next() {
                Next::Wait(pause) => {
                    retry = RETRY;
                    sleep(pause.max(Duration::from_millis(100))).await;
                    continue;
                }
                Next::LookUp => self.look_up().await.err(),
                Next::Renew => self.renew().await.err(),
                Next::LogIn => self.replace().await.err(),
            };
            match failed {
                None => retry = RETRY,
                Some(outage) => {
                    tracing::warn!(%outage, "the token of Vault could not be kept alive");
                    sleep(retry.pause(None).draw(at_random)).await;
                }
            }
        }
    }

    async fn look_up(&self) -> Result<(), Outage> {
        let url = self.url(["auth", "token", "lookup-self"]);
        let reply = self.send("lookup_token", Method::GET, url, None).await?;
        meaning::of_token_lookup(&reply)?;
        // Alive, and it may not look at itself: nothing is known of its life.
        let data = reply.json().and_then(|body| body.get("data").cloned());
        self.session.looked_up(&data.unwrap_or_else(|| json!({"expire_time": null})));
        Ok(())
    }

    /// Renews the token; logs in anew where a renewal can't make it last longer.
    async fn renew(&self) -> Result<(), Outage> {
        let Some(token) = self.session.token()? else { return self.replace().await };
        let url = self.url(["auth", "token", "renew-self"]);
        let body = bytes(&json!({}));
        let reply = self.exchange(("renew_token", Method::POST), url, Some(&token), Some(body)).await?;
        if self.gives_up(&token, &reply).await {
            return self.replace().await;
        }
        match meaning::of_login(&reply) {
            Ok(auth) if self.session.renewed(&auth) => Ok(()),
            Ok(_) if self.session.can_log_in() => self.replace().await,
            Ok(_) => Err(Outage::new(
                OutageReason::LoginRejected,
                "the token has reached the end of its longest life",
            )),
            // Not renewable, though it said so.
            Err(outage) if self.session.can_log_in() => self.replace().await.map_err(|_| outage),
            Err(outage) => Err(outage),
        }
    }

    /// Logs in anew, while the old token still serves whoever needs one.
    async fn replace(&self) -> Result<(), Outage> {
        self.uncancelled(|store| async move { store.replace_now().await }).await
    }

    async fn replace_now(&self) -> Result<(), Outage> {
        let _turn = self.session.turn.lock().await;
        // Somebody who needed one may have logged in just now.
        if matches!(self.session.next(), Next::Wait(_)) {
            return Ok(());
        }
        let old = self.session.ours();
        self.log_in_or_wait().await?;
        if let Some(old) = old {
            self.revoke(&old).await;
        }
        Ok(())
    }

    /// Revokes the token that we made: nobody else should find it alive. A login that is on its way is awaited; what it
    /// brings is revoked, too.
    pub(super) async fn revoke_token(&self) {
        let turn = timeout(LAST_LOGIN, self.session.turn.lock()).await;
        if let Some(token) = self.session.close() {
            self.revoke(&token).await;
        }
        drop(turn);
    }

    pub(super) async fn revoke(&self, token: &SecretString) {
        let url = self.url(["auth", "token", "revoke-self"]);
        let request =
            self.exchange(("revoke_token", Method::POST), url, Some(token), Some(bytes(&json!({}))));
        if !matches!(timeout(FAREWELL, request).await, Ok(Ok(Reply { status: 204, .. }))) {
            tracing::debug!("a token of ours was not revoked: it ends by itself");
        }
    }
}

fn bytes(body: &Value) -> Vec<u8> {
    serde_json::to_vec(body).expect("JSON serialises")
}
