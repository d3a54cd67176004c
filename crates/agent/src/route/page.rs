//! The agent's page on `GET /` for a browser: who it is, how it is, how to call it.
//!
//! One file that asks for nothing else. Everything that is not ours is escaped by the template; nothing of it gets into the
//! script or the style, which the content security policy names by their hashes. It says nothing that `/health`, the card and the
//! DID document don't say to everybody.

use crate::server::{AgentServer, Phase};
use askama::Template;
use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bindu_keeper::Reason;
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, LazyLock};

const SCRIPT: &str = include_str!("page/page.js");
const STYLE: &str = include_str!("page/page.css");

/// What the page may do: its own script and style, and requests to this agent.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    );
    HeaderValue::from_str(&policy).expect("it is ASCII")
});

/// What the page shows.
#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    name: &'a str,
    author: &'a str,
    description: &'a str,
    version: &'a str,
    url: &'a str,
    did: &'a str,
    key: String,
    fingerprint: String,
    /// How many rotations led to the key.
    generation: u64,
    /// Until when the key before counts.
    overlap_until: Option<&'a str>,
    is_draining: bool,
    reasons: Vec<&'static str>,
    uptime: String,
    skills: Vec<ShownSkill<'a>>,
    /// Whether callers need a token, and where they get one.
    token_url: Option<&'a str>,
    script: &'static str,
    style: &'static str,
}

struct ShownSkill<'a> {
    name: &'a str,
    id: &'a str,
    description: &'a str,
    tags: &'a [String],
}

/// `GET /`: the page for a browser; for others a redirect to Python Bindu's card, below the path under which a proxy has us.
pub(crate) async fn root(State(server): State<Arc<AgentServer>>, headers: HeaderMap) -> Response {
    if wants_a_page(&headers) {
        return page(&server);
    }
    let url: Uri = server.cards.profile.url.parse().unwrap_or_default();
    let location = format!("{}/.well-known/agent.json", url.path().trim_end_matches('/'));
    (StatusCode::FOUND, [(header::LOCATION, location), (header::VARY, "accept".to_owned())]).into_response()
}

/// Whether HTML is asked for by name: `*/*` is what every program sends.
fn wants_a_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        is_html && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

fn page(server: &AgentServer) -> Response {
    let identity = server.identity();
    let state = server.status.snapshot();
    let profile = &server.cards.profile;
    let page = Page {
        name: &profile.name,
        author: &profile.author,
        description: profile.description(),
        version: &profile.version,
        url: &profile.url,
        did: identity.did.as_str(),
        key: identity.public_key.multibase(),
        fingerprint: identity.public_key.fingerprint().to_string(),
        generation: identity.lineage.generation,
        overlap_until: identity.overlap_until(),
        is_draining: server.phase() == Phase::Draining,
        reasons: state.reasons().into_iter().map(Reason::label).collect(),
        uptime: lasting(server.started.elapsed().as_secs()),
        skills: profile
            .skills
            .iter()
            .map(|skill| ShownSkill {
                name: &skill.name,
                id: &skill.id,
                description: &skill.description,
                tags: &skill.tags,
            })
            .collect(),
        token_url: profile.oauth.as_ref().map(|oauth| oauth.token_url.as_str()),
        script: SCRIPT,
        style: STYLE,
    };
    let Ok(html) = page.render() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let fixed = HeaderValue::from_static;
    let headers = [
        (header::CONTENT_TYPE, fixed("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
        (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (header::REFERRER_POLICY, fixed("no-referrer")),
        (header::CACHE_CONTROL, fixed("no-store")),
        (header::VARY, fixed("accept")),
    ];
    (headers, html).into_response()
}

/// A time for people.
fn lasting(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hostile() -> Page<'static> {
        const EVIL: &str = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&";
        Page {
            name: EVIL,
            author: EVIL,
            description: EVIL,
            version: EVIL,
            url: EVIL,
            did: EVIL,
            key: EVIL.to_owned(),
            fingerprint: EVIL.to_owned(),
            generation: 1,
            overlap_until: Some(EVIL),
            is_draining: false,
            reasons: vec![EVIL],
            uptime: EVIL.to_owned(),
            skills: vec![ShownSkill { name: EVIL, id: EVIL, description: EVIL, tags: &[] }],
            token_url: None,
            script: SCRIPT,
            style: STYLE,
        }
    }

    #[test]
    fn nothing_gets_out_of_its_place() {
        for page in [hostile(), Page { token_url: Some("'\"><script>"), ..hostile() }] {
            let html = page.render().expect("it renders");
            assert!(!html.contains("<img") && !html.contains("<script>alert"), "{html}");
            assert_eq!(html.matches("<script").count(), usize::from(page.token_url.is_none()));
            assert_eq!(html.matches("</script>").count(), usize::from(page.token_url.is_none()));
        }
    }

    /// The policy holds for the very bytes between the tags.
    #[test]
    fn the_policy_names_what_is_in_the_page() {
        let html = hostile().render().expect("it renders");
        for (begin, end, directive) in
            [("<script>", "</script>", "script-src"), ("<style>", "</style>", "style-src")]
        {
            let inside = html.split_once(begin).expect("it is there").1.split_once(end).expect("it ends").0;
            let hash = STANDARD.encode(Sha256::digest(inside));
            let policy = POLICY.to_str().expect("ASCII");
            assert!(policy.contains(&format!("{directive} 'sha256-{hash}'")), "{directive}");
        }
        for outside in ["http-equiv", "src=", "@import", "url(", " style=", " onclick="] {
            // Not counting the text of `hostile`, which is no attribute: its tag is escaped.
            assert!(!html.replace("img src=x", "").contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_page_is_for_who_asks_for_html_by_name() {
        let wants = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().expect("a header"));
            wants_a_page(&headers)
        };
        assert!(
            wants("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
                && wants("TEXT/HTML; q=0.1")
        );
        for other in ["*/*", "application/json", "text/*", "text/html;q=0", "text/htmlx", ""] {
            assert!(!wants(other), "{other}");
        }
        assert!(!wants_a_page(&HeaderMap::new()));
    }
}
