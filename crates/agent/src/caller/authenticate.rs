//! Finding out who is calling, step by step. Nobody gets in unchecked: where Hydra can't be asked about a stranger the
//! answer is 503, never a guess.

use super::{
    AuthRefusal, Caller, CallerKeys, Claim, Owner, PermitSettings, Proof, TokenHolder, TokenSettings,
    keys::Keys,
    permit::Permits,
    signature::{self, Cover, Own, Signed},
    single,
    token::Tokens,
};
use crate::places::{NoRoom, Place, Places};
use axum::http::{HeaderMap, Uri, header};
use bindu_hydra::Hydra;
use bindu_identity::Did;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// How callers are checked.
#[derive(Debug, Clone)]
pub struct AuthSettings {
    /// Bounds all of Hydra's work for one call (`HYDRA__TIMEOUT`).
    pub timeout: Duration,
    /// Whose tokens are let in.
    pub token: TokenSettings,
    /// What callers may do.
    pub permit: PermitSettings,
    /// Keys that count whatever Hydra says.
    pub pinned_keys: HashMap<Did, CallerKeys>,
    /// The agent's own client id: nobody else calls with it.
    pub own_id: String,
    /// Whom requests are for, `host` or `host:port`, where that is known; else what the `Host` header says.
    pub authority: Option<String>,
    /// The path of the address that a proxy strips, without a slash at its end; empty for none.
    pub path_prefix: String,
    /// Where callers find out how to get a token (RFC 9728).
    pub resource_metadata: String,
    /// Hydra's public address, for the same.
    pub authorization_server: String,
}

/// Finds out who is calling.
pub struct Authenticator {
    pub(crate) settings: AuthSettings,
    tokens: Tokens,
    permits: Permits,
    keys: Keys,
}

/// A request whose token was found good: it has a place, and its signature is still to be checked.
pub(crate) struct Admitted {
    holder: Arc<TokenHolder>,
    /// How much of Hydra's time is left for this call; the wait for the body doesn't count.
    left: Duration,
}

impl Admitted {
    pub(crate) fn owner(&self) -> &Owner {
        &self.holder.owner
    }

    /// Whether the caller must sign its request.
    pub(crate) fn must_sign(&self) -> bool {
        !matches!(self.holder.claim, Claim::Service)
    }
}

impl Authenticator {
    /// An authenticator that asks this Hydra.
    #[must_use]
    pub fn new(hydra: Hydra, settings: AuthSettings) -> Self {
        Self {
            tokens: Tokens::new(hydra.clone(), settings.token.clone()),
            permits: Permits::new(settings.permit.clone()),
            keys: Keys::new(hydra, settings.pinned_keys.clone(), settings.token.stale_if_unavailable),
            settings,
        }
    }

    /// Checks the token. The body need not be there yet: nobody makes us hold one without a token.
    /// A refusal comes with whose token it is, where it was found good.
    pub(crate) async fn admit(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        places: &Places,
    ) -> Result<(Admitted, Place), (AuthRefusal, Option<Owner>)> {
        let begun = Instant::now();
        let token = match (token_in(uri), bearer(headers)) {
            (false, Some(token)) => token,
            (false, None) => return Err((AuthRefusal::NoToken, None)),
            (true, Some(_)) => return Err((AuthRefusal::TwoTokens, None)),
            (true, None) => return Err((AuthRefusal::TokenInUrl, None)),
        };
        let holder = self.tokens.holder(token, begun + self.settings.timeout).await;
        let holder = holder.map_err(|refusal| (refusal, None))?;
        let known = |refusal| (refusal, Some(holder.owner.clone()));
        self.tokens.is_meant(&holder).map_err(known)?;
        // Whoever we call gets our token, and might send it back to us: with it our own signature of that very request.
        if holder.client_id() == self.settings.own_id {
            return Err(known(AuthRefusal::OwnIdentity));
        }
        self.permits.admit(&holder).map_err(known)?;
        let need_not_prove = matches!(holder.claim, Claim::Service);
        let place = places.place(&holder.owner, need_not_prove);
        let place = place.map_err(|NoRoom| known(AuthRefusal::TooManyAtOnce))?;
        let left = self.settings.timeout.saturating_sub(begun.elapsed());
        Ok((Admitted { holder, left }, place))
    }

    /// Checks the signature of whoever must have signed, and counts the call.
    pub(crate) async fn prove(
        &self,
        admitted: &Admitted,
        signed: &Signed<'_>,
        cover: Cover,
    ) -> Result<(Caller, Option<Proof>), AuthRefusal> {
        let proof = match &admitted.holder.claim {
            Claim::Service => None,
            Claim::Unprovable => return Err(AuthRefusal::NoPublicKey),
            Claim::Did(did) => {
                let AuthSettings { authority, path_prefix, .. } = &self.settings;
                let own = Own { authority: authority.as_deref(), prefix: path_prefix };
                let keys = (&self.keys, Instant::now() + admitted.left);
                Some(signature::prove(did, signed, cover, keys, own).await?)
            }
        };
        self.permits.pace(&admitted.holder.owner)?;
        Ok((Caller::Client(Arc::clone(&admitted.holder.client)), proof))
    }

    /// Whether the caller's token allows a method.
    pub(crate) fn allow(&self, caller: &Caller, method: &str, reads: bool) -> Result<(), AuthRefusal> {
        caller.client().map_or(Ok(()), |client| self.permits.allow(client, method, reads))
    }

    /// Who gives out tokens for this agent.
    pub(crate) async fn issuer(&self) -> String {
        let deadline = Instant::now() + self.settings.timeout;
        let known = self.tokens.issuer(deadline).await;
        known.unwrap_or_else(|| self.settings.authorization_server.clone())
    }
}

/// The one bearer token (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = single(headers, header::AUTHORIZATION.as_str())?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Whether the URL holds a token: URLs end up in logs, so it is refused, not looked at.
fn token_in(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default().as_bytes();
    let mut names = url::form_urlencoded::parse(query).map(|(name, _)| name.to_ascii_lowercase());
    names.any(|name| name == "token" || name == "access_token")
}

#[cfg(fuzzing)]
pub(super) fn fuzz(headers: &HeaderMap, uri: &Uri) {
    let _ = (bearer(headers).map(super::token::fuzz), token_in(uri));
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_token_comes_once_and_in_the_header() {
        for good in ["Bearer abc", "bearer abc", "BEARER  abc"] {
            assert_eq!(bearer(&headers(&[("authorization", good)])), Some("abc"));
        }
        for bad in [
            &[][..],
            &[("authorization", "Basic abc")],
            &[("authorization", "Bearer ")],
            &[("authorization", "Bearer")],
        ] {
            assert!(bearer(&headers(bad)).is_none(), "{bad:?}");
        }
        assert!(bearer(&headers(&[("authorization", "Bearer a"), ("authorization", "Bearer b")])).is_none());
    }

    #[test]
    fn a_token_in_the_url_is_seen() {
        for with in ["/?token=a", "/?a=b&access_token=c", "/?TOKEN=a", "/?%74oken=a", "/?token"] {
            assert!(token_in(&Uri::from_static(with)), "{with}");
        }
        for without in ["/", "/?tokens=a", "/?a=token", "/?verbose"] {
            assert!(!token_in(&Uri::from_static(without)), "{without}");
        }
    }
}
