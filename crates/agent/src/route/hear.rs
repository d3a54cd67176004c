//! What every HTTP binding does with a call: find out who is calling, take the body, do what is asked.

use super::refuse::Failure;
use crate::{
    body,
    caller::{AuthRefusal, Caller, Cover, Proof, Signed},
    places::{NoRoom, Place},
    server::{AgentServer, Extension},
};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
};
use bindu_a2a::{
    A2aError,
    call::{Answer, Call, TaskView},
    media, version,
};
use bindu_tasks::TaskStream;

/// The header of extensions, and the name that it had before 1.0.
const EXTENSIONS: [&str; 2] = ["a2a-extensions", "x-a2a-extensions"];

/// A request whose caller is known and whose body has come.
pub(crate) struct Heard {
    pub(crate) place: Place,
    pub(crate) caller: Caller,
    pub(crate) proof: Option<Proof>,
    pub(crate) body: Bytes,
}

/// Refuses what the headers say of a body that cannot be read.
pub(crate) fn check_form(headers: &HeaderMap) -> Result<(), A2aError> {
    let (kind, encoding) = (joined(headers, header::CONTENT_TYPE), joined(headers, header::CONTENT_ENCODING));
    media::check_headers(kind.as_deref(), encoding.as_deref())
}

/// Finds out who is calling, and takes the body. Nobody makes us hold one without a token.
pub(crate) async fn hear(
    server: &AgentServer,
    head: &Parts,
    body: Body,
    cover: Cover,
) -> Result<Heard, Failure> {
    let Some(authenticator) = &server.authenticator else {
        check_form(&head.headers)?;
        let place = server.places.public();
        let mut place = place.map_err(|NoRoom| Failure::Refused(AuthRefusal::TooManyAtOnce, None, None))?;
        let body = body::read(body, server.body_limits, &mut place).await;
        let body = body.map_err(|why| Failure::NotTaken(why, None))?;
        return Ok(Heard { place, caller: Caller::Anonymous, proof: None, body });
    };
    let admitted = authenticator.admit(&head.headers, &head.uri, &server.places).await;
    let (admitted, mut place) = admitted.map_err(|(refusal, who)| Failure::Refused(refusal, who, None))?;
    let who = || Some(admitted.owner().clone());
    if cover == Cover::Nothing && admitted.must_sign() {
        return Err(Failure::Refused(AuthRefusal::SignatureUnsupported, who(), None));
    }
    check_form(&head.headers)?;
    let body = body::read(body, server.body_limits, &mut place).await;
    let body = body.map_err(|why| Failure::NotTaken(why, who()))?;
    let signed = Signed { method: &head.method, uri: &head.uri, headers: &head.headers, body: &body };
    match authenticator.prove(&admitted, &signed, cover).await {
        Ok((caller, proof)) => {
            server.places.note_proof(admitted.owner());
            server.metrics.auth_decision("allowed", "none");
            Ok(Heard { place, caller, proof, body })
        }
        Err(refusal) => Err(Failure::Refused(refusal, who(), Some(body))),
    }
}

/// What came of a call.
pub(crate) enum Done {
    Answer(Answer),
    Stream(TaskStream),
}

/// Does what is asked; what is signed and changes something, once. An answer has room to go out; one that the task store had to
/// copy has its turn besides, which ends when it is written ([`Place::has_read`]).
pub(crate) async fn perform(
    server: &AgentServer,
    (caller, place): (&Caller, &mut Place),
    proof: Option<&Proof>,
    call: Call,
) -> Result<Done, Failure> {
    let no_room = |NoRoom| Failure::Refused(AuthRefusal::TooManyAtOnce, Some(caller.owner()), None);
    let again = call.reads().then(|| call.clone());
    let done = perform_once(server, (caller, place), proof, call).await?;
    let Done::Answer(answer) = &done else { return Ok(done) };
    let bytes = weight(answer);
    if place.has_room_for_answer() || place.takes_room_for_answer(bytes) {
        return Ok(done);
    }
    let Some(again) = again else {
        place.room_for_answer(bytes).await.map_err(no_room)?;
        return Ok(done);
    };
    // Not held while there is no room for it: read again when there is.
    drop(done);
    place.room_for_answer(bytes).await.map_err(no_room)?;
    perform_once(server, (caller, place), proof, again).await
}

async fn perform_once(
    server: &AgentServer,
    (caller, place): (&Caller, &mut Place),
    proof: Option<&Proof>,
    call: Call,
) -> Result<Done, Failure> {
    let refused = |refusal| Failure::Refused(refusal, Some(caller.owner()), None);
    if let Some(authenticator) = &server.authenticator {
        authenticator.allow(caller, permission(&call), call.reads()).map_err(refused)?;
    }
    let proof = proof.filter(|_| !call.reads());
    let replay = proof.map(|proof| server.beginning.replay_key(proof)).transpose().map_err(refused)?;
    if call == Call::ExtendedCard {
        let client_id = caller.client().map(|client| &*client.id);
        return Ok(Done::Answer(Answer::Card(server.extended_card(client_id)?)));
    }
    // A drain does not end between a message that is taken and the work on it.
    let _change = (!call.reads()).then(|| server.change_begins());
    if call.streams() {
        place.begins_stream(server.write_timeout());
        return Ok(Done::Stream(server.tasks.stream_within(place, caller, call, replay).await?));
    }
    Ok(Done::Answer(server.tasks.answer_within(place, caller, call, replay).await?))
}

/// The name by which a call's scopes may be set: the same in every dialect and binding, Python Bindu's where it has one.
pub(crate) fn permission(call: &Call) -> &'static str {
    match call {
        Call::Send(_) => "message/send",
        Call::Stream(_) => "message/stream",
        // The rest of a task's stream is what one reads of it.
        Call::Get { .. } | Call::Subscribe { .. } => "tasks/get",
        Call::List(_) => "tasks/list",
        Call::Cancel { .. } => "tasks/cancel",
        Call::CreatePush(_) => "tasks/pushNotificationConfig/set",
        Call::GetPush { .. } => "tasks/pushNotificationConfig/get",
        Call::ListPush { .. } => "tasks/pushNotificationConfig/list",
        Call::DeletePush { .. } => "tasks/pushNotificationConfig/delete",
        Call::ExtendedCard => "agent/getAuthenticatedExtendedCard",
        Call::ListContexts { .. } => "contexts/list",
        Call::ClearContext { .. } => "contexts/clear",
        Call::Feedback { .. } => "tasks/feedback",
    }
}

/// About how many bytes an answer has before it is written.
pub(crate) fn weight(answer: &Answer) -> usize {
    match answer {
        Answer::Sent(view) | Answer::Found(view) => weight_of_task(view),
        Answer::Message(message) => message.bytes(),
        Answer::Tasks(page) => page.tasks.iter().map(weight_of_task).sum(),
        Answer::Pushes { configs, .. } => configs.len() * 1024,
        Answer::Card(json) | Answer::Bindu(json) => json.text().len(),
        Answer::Push(_) | Answer::Deleted => 0,
    }
}

fn weight_of_task(view: &TaskView) -> usize {
    let parts = view.task.artifacts.iter().flat_map(|artifact| artifact.chunks.iter());
    let artifacts = if view.with_artifacts { parts.map(|parts| parts.text().len()).sum() } else { 0 };
    512 + artifacts + view.history().iter().map(|message| message.bytes()).sum::<usize>()
}

/// The version that a call names: in the header, or in the query.
pub(crate) fn named_version(head: &Parts) -> Option<String> {
    if let Some(value) = head.headers.get(version::NAME) {
        return Some(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let query = head.uri.query().unwrap_or_default().as_bytes();
    let mut pairs = url::form_urlencoded::parse(query);
    pairs.find(|(name, _)| name.eq_ignore_ascii_case(version::NAME)).map(|(_, value)| value.into_owned())
}

/// The number of the last event that the caller has (SSE).
pub(crate) fn last_event(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.trim().parse().ok()
}

/// The values of a header, joined.
pub(crate) fn joined(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<String> {
    let values: Vec<_> =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// The extensions that a call activates, as the header that names them in the answer; a message is told of them. Those that nobody
/// here knows are ignored.
///
/// # Errors
/// [`A2aError::ExtensionRequired`]: the call does not declare one that it must.
pub(crate) fn activated(
    headers: &HeaderMap,
    known: &[Extension],
    call: &mut Call,
) -> Result<Option<(HeaderName, HeaderValue)>, A2aError> {
    let name = EXTENSIONS.into_iter().find(|name| headers.contains_key(*name));
    let declared = name.and_then(|name| joined(headers, name)).unwrap_or_default();
    let declares = |uri: &str| declared.split(',').any(|declared| declared.trim() == uri);
    if let Some(missing) = known.iter().find(|known| known.is_required && !declares(&known.uri)) {
        return Err(A2aError::ExtensionRequired(missing.uri.clone()));
    }
    let active: Vec<&str> =
        known.iter().map(|known| known.uri.as_str()).filter(|uri| declares(uri)).collect();
    if active.is_empty() {
        return Ok(None);
    }
    let value = HeaderValue::from_str(&active.join(",")).ok();
    if let Call::Send(request) | Call::Stream(request) = call {
        request.extensions = active.into_iter().map(str::to_owned).collect();
    }
    Ok(name.map(HeaderName::from_static).zip(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn send() -> Call {
        let params = r#"{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":"x"}]}}"#;
        let params = serde_json::from_str(params).expect("JSON");
        bindu_a2a::Dialect::V1.decode("SendMessage", Some(params)).expect("a call")
    }

    #[test]
    fn extensions_that_are_known_are_activated_and_required_ones_must_be_declared() {
        let known = [
            Extension { uri: "https://a.example/v1".to_owned(), is_required: false },
            Extension { uri: "https://b.example/v1".to_owned(), is_required: true },
        ];
        let both = headers(&[
            ("a2a-extensions", "https://unknown.example, https://b.example/v1"),
            ("a2a-extensions", "https://a.example/v1"),
        ]);
        let mut call = send();
        let (name, value) =
            activated(&both, &known, &mut call).expect("all that must be").expect("some are active");
        assert_eq!(
            (name.as_str(), value.as_bytes()),
            ("a2a-extensions", &b"https://a.example/v1,https://b.example/v1"[..])
        );
        let Call::Send(request) = &call else { panic!("{call:?}") };
        assert_eq!(
            request.extensions,
            ["https://a.example/v1", "https://b.example/v1"],
            "the message is told"
        );
        let activated = |headers: &HeaderMap, known: &[Extension]| {
            let mut call = send();
            let activated = activated(headers, known, &mut call);
            let Call::Send(request) = call else { panic!("{call:?}") };
            assert_eq!(request.extensions.is_empty(), !matches!(activated, Ok(Some(_))));
            activated
        };
        let old = headers(&[("x-a2a-extensions", "https://b.example/v1")]);
        assert_eq!(
            activated(&old, &known).ok().flatten().map(|(name, _)| name.to_string()),
            Some("x-a2a-extensions".to_owned())
        );
        let missing = Err(A2aError::ExtensionRequired("https://b.example/v1".to_owned()));
        assert_eq!(activated(&headers(&[]), &known), missing);
        assert_eq!(activated(&headers(&[("a2a-extensions", "https://b.example/v10")]), &known), missing);
        assert_eq!(activated(&headers(&[("a2a-extensions", "https://c.example")]), &known[..1]), Ok(None));
    }
}
