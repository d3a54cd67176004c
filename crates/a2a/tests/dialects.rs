//! The dialects as conversions: what is written is read again, whatever it is; whatever is read is a value or a typed error.

use bindu_a2a::{
    A2aError, Content, Dialect, Json, Part, Parts, PartsBuilder,
    call::{
        Answer, Call, ListRequest, PushAuthentication, PushConfig, SendRequest, StreamEvent, StreamItem,
        TaskPage, TaskView, UnknownTask,
    },
    event::ArtifactChunk,
    model::{Artifact, Message, Role, Task, TaskState, TaskStatus},
    rest, rpc,
};
use jiff::Timestamp;
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::value::RawValue;
use std::sync::Arc;

const DIALECTS: [Dialect; 3] = [Dialect::V1, Dialect::V03, Dialect::Bindu];

/// The methods of all dialects, and one of none.
const METHODS: [&str; 27] = [
    "SendMessage",
    "SendStreamingMessage",
    "GetTask",
    "ListTasks",
    "CancelTask",
    "SubscribeToTask",
    "CreateTaskPushNotificationConfig",
    "GetTaskPushNotificationConfig",
    "ListTaskPushNotificationConfigs",
    "DeleteTaskPushNotificationConfig",
    "GetExtendedAgentCard",
    "message/send",
    "message/stream",
    "tasks/get",
    "tasks/list",
    "tasks/cancel",
    "tasks/resubscribe",
    "tasks/feedback",
    "tasks/pushNotificationConfig/set",
    "tasks/pushNotificationConfig/get",
    "tasks/pushNotificationConfig/list",
    "tasks/pushNotificationConfig/delete",
    "contexts/list",
    "contexts/clear",
    "agent/getAuthenticatedExtendedCard",
    "Nothing",
    "",
];

fn raw(text: &str) -> Box<RawValue> {
    serde_json::from_str(text).expect("JSON")
}

fn json(text: String) -> Json {
    Json::from_text(text).expect("JSON")
}

/// Numbers as JSON writes them: longer than any machine's, in all spellings, and within a double's range.
fn number() -> impl Strategy<Value = String> {
    let digits = prop_oneof![Just("0".to_owned()), "[1-9][0-9]{0,60}", "[1-9][0-9]{100,150}"];
    ("-?", digits, "(\\.[0-9]{1,40})?", "([eE](\\+?[0-9]{1,2}|-[0-9]{1,4}))?")
        .prop_map(|(sign, digits, fraction, exponent)| format!("{sign}{digits}{fraction}{exponent}"))
}

/// JSON texts with numbers, escapes and names that come twice.
fn document() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        4 => number(),
        1 => Just("null".to_owned()),
        1 => Just("true".to_owned()),
        1 => Just(r#""A\ud83d\ude00\/ \" [[""#.to_owned()),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            vec(inner, 0..4).prop_map(|items| {
                let members: Vec<String> = items.iter().map(|item| format!("\"a b\":{item}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
    .boxed()
}

fn object() -> BoxedStrategy<Json> {
    document().prop_map(|value| json(format!("{{\"v\":{value}}}"))).boxed()
}

fn texts() -> impl Strategy<Value = Json> {
    vec(any::<String>(), 1..4).prop_map(|texts| Json::of(&texts))
}

/// Ids, and no UUIDs in other forms than Python writes them.
fn id() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9._~ /:é-]{1,20}", Just("5c908f70-ec50-7e33-bf7d-2735c15d5c13".to_owned())]
}

/// A conversation, which other people's events may leave out.
fn context() -> impl Strategy<Value = String> {
    option::weighted(0.9, id()).prop_map(Option::unwrap_or_default)
}

/// A time as exactly as A2A writes it.
fn time() -> impl Strategy<Value = Timestamp> {
    (0_i64..4_000_000_000_000).prop_map(|time| Timestamp::from_millisecond(time).expect("a time"))
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Raw(String),
    Url(String),
    Data(String),
}

/// Parts that each dialect can show.
fn parts(dialect: Dialect) -> BoxedStrategy<Parts> {
    let piece = prop_oneof![
        any::<String>().prop_map(Piece::Text),
        "([A-Za-z0-9+/]{4}){0,3}([A-Za-z0-9_-]{2}==)?".prop_map(Piece::Raw),
        any::<String>().prop_map(Piece::Url),
        document().prop_map(Piece::Data),
    ];
    let caption = option::weighted(0.3, "[a-z\"\\\\ ]{1,5}");
    let part = (piece, option::of("[a-z]/[a-z]"), option::of(any::<String>()), option::of(object()), caption);
    vec(part, 1..4)
        .prop_map(move |pieces| {
            let mut parts = PartsBuilder::default();
            for (piece, media_type, filename, metadata, caption) in pieces {
                let is_file = matches!(piece, Piece::Raw(_) | Piece::Url(_));
                let has_names = is_file || dialect == Dialect::V1;
                // What Python Bindu has beside data and files.
                let metadata = match caption {
                    Some(caption) if !matches!(piece, Piece::Text(_)) => {
                        let rest = metadata.as_ref().map_or("}", |metadata| &metadata.text()[1..]);
                        let comma = if rest == "}" { "" } else { "," };
                        Some(json(format!("{{\"bindu.caption\":{}{comma}{rest}", Json::of(&caption).text())))
                    }
                    _ => metadata,
                };
                let data;
                let content = match &piece {
                    Piece::Text(text) => Content::Text(text.into()),
                    Piece::Raw(bytes) => Content::Raw(bytes.into()),
                    Piece::Url(url) => Content::Url(url.into()),
                    Piece::Data(value) => {
                        data = raw(value);
                        Content::Data(&data)
                    }
                };
                parts.push(&Part {
                    content,
                    media_type: media_type.filter(|_| has_names).map(Into::into),
                    filename: filename.filter(|_| has_names).map(Into::into),
                    metadata: metadata.as_ref().map(Json::raw),
                });
            }
            parts.build()
        })
        .boxed()
}

fn role(dialect: Dialect) -> impl Strategy<Value = Role> {
    let roles: &[Role] = match dialect {
        Dialect::Bindu => &[Role::User, Role::Agent, Role::System],
        Dialect::V1 | Dialect::V03 => &[Role::User, Role::Agent],
    };
    select(roles)
}

fn message(dialect: Dialect) -> BoxedStrategy<Message> {
    let ids = (id(), option::of(id()), option::of(id()));
    let rest = (option::of(object()), option::of(texts()), option::of(texts()));
    (ids, role(dialect), parts(dialect), rest)
        .prop_map(|((id, context_id, task_id), role, parts, rest)| Message {
            id,
            context_id: context_id.unwrap_or_default(),
            task_id: task_id.unwrap_or_default(),
            role,
            parts,
            metadata: rest.0,
            extensions: rest.1,
            reference_task_ids: rest.2,
        })
        .boxed()
}

fn status(dialect: Dialect) -> BoxedStrategy<TaskStatus> {
    (select(&TaskState::ALL), option::of(message(dialect)), time())
        .prop_map(|(state, message, timestamp)| TaskStatus {
            state,
            message: message.map(Arc::new),
            timestamp,
        })
        .boxed()
}

fn name() -> impl Strategy<Value = Option<String>> {
    option::of(any::<String>().prop_filter("not empty", |text| !text.is_empty()))
}

fn chunk(dialect: Dialect) -> BoxedStrategy<ArtifactChunk> {
    let rest = (option::of(object()), option::of(texts()), any::<bool>(), any::<bool>());
    (id(), name(), name(), parts(dialect), rest)
        .prop_map(|(id, name, description, parts, rest)| {
            let (metadata, extensions, append, is_last) = rest;
            ArtifactChunk {
                id,
                name,
                description,
                parts: Arc::new(parts),
                metadata,
                extensions,
                append,
                is_last,
            }
        })
        .boxed()
}

fn task(dialect: Dialect) -> BoxedStrategy<Task> {
    let artifacts = vec(chunk(dialect), 0..3).prop_map(|chunks| {
        let artifacts = chunks.into_iter().map(|chunk| Artifact {
            id: chunk.id,
            name: chunk.name,
            description: chunk.description,
            chunks: vec![chunk.parts],
            metadata: chunk.metadata,
            extensions: chunk.extensions,
        });
        artifacts.map(Arc::new).collect()
    });
    let history = vec(message(dialect).prop_map(Arc::new), 0..3);
    let rest = (history, artifacts, option::of(object()));
    (id(), id(), status(dialect), rest)
        .prop_map(|(id, context_id, status, (history, artifacts, metadata))| Task {
            id,
            context_id,
            status,
            history,
            artifacts,
            metadata,
        })
        .boxed()
}

fn push(dialect: Dialect, task_id: impl Strategy<Value = String>) -> impl Strategy<Value = PushConfig> {
    let secret = || option::of("[a-z]{1,9}");
    let authentication = option::of(("[A-Z]{1,9}", secret()))
        .prop_map(|auth| auth.map(|(scheme, credentials)| PushAuthentication { scheme, credentials }));
    (option::of(id()), task_id, "https?://[a-z]{1,9}", secret(), authentication).prop_map(
        move |(id, task_id, url, token, authentication)| PushConfig {
            id: id.unwrap_or_default(),
            task_id,
            url,
            token,
            authentication,
            dialect,
        },
    )
}

/// How many messages: 0 is all of them except in A2A 1.0.
fn length(dialect: Dialect) -> impl Strategy<Value = Option<usize>> {
    let least = usize::from(dialect != Dialect::V1);
    option::of(least..1000)
}

fn send(dialect: Dialect) -> BoxedStrategy<SendRequest> {
    let push = option::of(push(dialect, Just(String::new())));
    let rest = (vec(any::<String>(), 0..3), length(dialect), any::<bool>(), option::of(object()));
    (message(dialect), push, rest)
        .prop_map(move |(message, push, rest)| SendRequest {
            // A configuration that comes with a message is of the message's task.
            push: push.map(|push| PushConfig { task_id: message.task_id.clone(), ..push }),
            message,
            accepted_output_modes: rest.0,
            history_length: rest.1,
            is_blocking: rest.2,
            metadata: rest.3,
            unknown_task: match dialect {
                Dialect::V1 | Dialect::V03 => UnknownTask::IsNotFound,
                Dialect::Bindu => UnknownTask::IsNew,
            },
            extensions: Vec::new(),
        })
        .boxed()
}

fn list() -> impl Strategy<Value = ListRequest> {
    let which = (option::of(id()), option::of(select(&TaskState::ALL)), option::of(time()));
    (which, option::of(1_usize..=100), any::<String>(), option::of(0_usize..99), any::<bool>()).prop_map(
        |((context_id, state, changed_since), page_size, page_token, history_length, include_artifacts)| {
            ListRequest {
                context_id,
                state,
                changed_since,
                page_size,
                page_token,
                history_length,
                include_artifacts,
            }
        },
    )
}

fn call(dialect: Dialect) -> BoxedStrategy<Call> {
    let common = prop_oneof![
        send(dialect).prop_map(|request| Call::Send(Box::new(request))),
        send(dialect).prop_map(|request| Call::Stream(Box::new(request))),
        (id(), length(dialect)).prop_map(|(task_id, history_length)| Call::Get { task_id, history_length }),
        (id(), option::of(object())).prop_map(|(task_id, metadata)| Call::Cancel { task_id, metadata }),
        id().prop_map(|task_id| Call::Subscribe { task_id, after: None }),
        push(dialect, id()).prop_map(Call::CreatePush),
        (id(), id()).prop_map(|(task_id, id)| Call::GetPush { task_id, id: Some(id) }),
        (id(), id()).prop_map(|(task_id, id)| Call::DeletePush { task_id, id: Some(id) }),
        Just(Call::ExtendedCard),
    ];
    match dialect {
        Dialect::V1 => prop_oneof![
            4 => common,
            1 => list().prop_map(Call::List),
            1 => (id(), option::of(1_usize..99), any::<String>())
                .prop_map(|(task_id, page_size, page_token)| Call::ListPush { task_id, page_size, page_token }),
        ]
        .boxed(),
        Dialect::V03 => common.boxed(),
        Dialect::Bindu => prop_oneof![
            4 => common,
            1 => option::of(1_usize..99).prop_map(|length| Call::ListContexts { length }),
            1 => id().prop_map(|context_id| Call::ClearContext { context_id }),
            1 => (id(), any::<String>(), 1..=5).prop_map(|(task_id, text, rating)| Call::Feedback {
                task_id,
                feedback: json(format!("{{\"feedback\":{},\"rating\":{rating}}}", Json::of(&text).text())),
            }),
        ]
        .boxed(),
    }
}

/// An answer, and a call that it answers.
fn answer(dialect: Dialect) -> BoxedStrategy<(Call, Answer)> {
    let get = || Call::Get { task_id: "t".to_owned(), history_length: None };
    let pushes = || Call::ListPush { task_id: "t".to_owned(), page_size: None, page_token: String::new() };
    let sent = (send(dialect), task(dialect))
        .prop_map(|(request, task)| (Call::Send(Box::new(request)), Answer::Sent(TaskView::whole(task))));
    let said = (send(dialect), message(dialect))
        .prop_map(|(request, message)| (Call::Send(Box::new(request)), Answer::Message(Arc::new(message))));
    let found = task(dialect).prop_map(move |task| (get(), Answer::Found(TaskView::whole(task))));
    let set = push(dialect, id()).prop_map(|config| (Call::CreatePush(config.clone()), Answer::Push(config)));
    let token = if dialect == Dialect::V1 { "[a-z]{0,5}" } else { "" };
    let configs = (vec(push(dialect, id()), 0..4), token)
        .prop_map(move |(configs, next_page_token)| (pushes(), Answer::Pushes { configs, next_page_token }));
    let deleted = Just((Call::DeletePush { task_id: "t".to_owned(), id: None }, Answer::Deleted));
    let card = object().prop_map(|card| (Call::ExtendedCard, Answer::Card(card)));
    let common = prop_oneof![sent, said, found, set, configs, deleted, card];
    let views = vec(task(dialect).prop_map(TaskView::whole), 0..3);
    let page = (views, any::<String>(), 0_usize..99, 0_usize..999).prop_map(move |page| {
        let (tasks, next_page_token, page_size, total_size) = page;
        let page = match dialect {
            Dialect::V1 => TaskPage { tasks, next_page_token, page_size, total_size },
            Dialect::V03 | Dialect::Bindu => TaskPage { tasks, ..TaskPage::default() },
        };
        (Call::List(ListRequest::default()), Answer::Tasks(page))
    });
    prop_oneof![6 => common, 1 => page].boxed()
}

fn event(dialect: Dialect) -> BoxedStrategy<StreamEvent> {
    prop_oneof![
        task(dialect).prop_map(StreamEvent::Task),
        message(dialect).prop_map(|message| StreamEvent::Message(Arc::new(message))),
        (id(), context(), status(dialect), any::<bool>()).prop_map(
            move |(task_id, context_id, status, is_final)| {
                let is_final = if dialect == Dialect::V1 { status.state.is_terminal() } else { is_final };
                StreamEvent::Status { task_id, context_id, status, is_final }
            }
        ),
        (id(), context(), chunk(dialect)).prop_map(|(task_id, context_id, chunk)| StreamEvent::Artifact {
            task_id,
            context_id,
            chunk: Arc::new(chunk),
        }),
    ]
    .boxed()
}

fn in_any<T: Strategy + 'static>(of: impl Fn(Dialect) -> T) -> impl Strategy<Value = (Dialect, T::Value)> {
    let all = DIALECTS.map(|dialect| of(dialect).prop_map(move |value| (dialect, value)));
    let [v1, v03, bindu] = all;
    prop_oneof![v1.boxed(), v03.boxed(), bindu.boxed()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn calls_come_back_as_they_were_asked((dialect, call) in in_any(call)) {
        let (method, params) = dialect.ask(&call).expect("a call of this dialect");
        prop_assert_eq!(dialect.decode(method, Some(params.raw())), Ok(call));
    }

    #[test]
    fn answers_come_back_as_they_were_given((dialect, (call, answer)) in in_any(answer)) {
        let body = rpc::answer(dialect, &Json::of("1"), &answer);
        let body = raw(std::str::from_utf8(&body).expect("UTF-8"));
        let result = rpc::response(200, &body).expect("a response").expect("a result");
        prop_assert_eq!(result.get(), &dialect.encode(&answer).into_text());
        prop_assert_eq!(dialect.read_answer(&call, result), Ok(answer));
    }

    #[test]
    fn events_come_back_as_they_were_told((dialect, event) in in_any(event)) {
        let item = StreamItem { number: 7, event };
        let line = rpc::event(dialect, &Json::of(&1), &item);
        prop_assert!(!line.contains('\n') && !line.contains('\r'));
        let body = raw(&line);
        let result = rpc::response(200, &body).expect("a response").expect("a result");
        prop_assert_eq!(result.get(), &dialect.encode_event(&item).into_text());
        prop_assert_eq!(dialect.read_event(result), Ok(item.event));
    }

    #[test]
    fn calls_come_back_over_http_json(call in call(Dialect::V1)) {
        let (method, path, body) = rest::ask(&call).expect("a call of A2A 1.0");
        let (path, query) = path.split_once('?').map_or((&*path, None), |(path, query)| (path, Some(query)));
        let body = body.map(Json::into_text).unwrap_or_default();
        prop_assert!(rest::is_path(path));
        prop_assert_eq!(rest::decode(method, path, query, body.as_bytes()), Ok(call.clone()), "{}", path);
        let with_tenant = format!("/a-tenant{path}");
        prop_assert_eq!(rest::decode(method, &with_tenant, query, body.as_bytes()), Ok(call));
    }

    /// What Python Bindu's callers know in snake_case is there in camelCase as well, with the same value.
    #[test]
    fn answers_to_bindus_callers_have_both_cases(task in task(Dialect::Bindu)) {
        let shown: serde_json::Value = serde_json::from_str(
            Dialect::Bindu.encode(&Answer::Sent(TaskView::whole(task))).text()
        ).expect("JSON");
        prop_assert_eq!(&shown["context_id"], &shown["contextId"]);
        prop_assert!(shown["context_id"].is_string());
        for message in shown["history"].as_array().expect("a list") {
            for (snake, camel) in [("message_id", "messageId"), ("task_id", "taskId"), ("reference_task_ids", "referenceTaskIds")] {
                prop_assert_eq!(&message[snake], &message[camel]);
            }
            prop_assert!(message["metadata"].is_object() || message["role"] == "agent");
        }
    }

    /// Any JSON is a call or a typed error, in each dialect and by each method. So are any paths and bodies.
    #[test]
    fn any_parameters_are_a_call_or_an_error(params in hostile(), path in "(/[a-zA-Z0-9:%{}]{0,12}){0,5}", query in ".{0,20}") {
        let params = raw(&params);
        for (dialect, method) in DIALECTS.into_iter().flat_map(|dialect| METHODS.map(|method| (dialect, method))) {
            if let Err(error) = dialect.decode(method, Some(&params)) {
                prop_assert!(matches!(error, A2aError::Method(_) | A2aError::Params(_)), "{:?}", error);
            }
            let _ = dialect.read_event(&params);
        }
        for method in ["GET", "POST", "DELETE"] {
            for path in ["/message:send", "/tasks", "/tasks/a", "/tasks/a:cancel", "/tasks/a/pushNotificationConfigs", &path] {
                let _ = rest::decode(method, path, Some(&query), params.get().as_bytes());
            }
        }
    }
}

/// JSON that resembles parameters.
fn hostile() -> impl Strategy<Value = String> {
    const NAMES: [&str; 24] = [
        "message",
        "messageId",
        "message_id",
        "taskId",
        "id",
        "contextId",
        "role",
        "parts",
        "kind",
        "text",
        "data",
        "file",
        "bytes",
        "raw",
        "metadata",
        "configuration",
        "historyLength",
        "status",
        "pageSize",
        "url",
        "pushNotificationConfig",
        "authentication",
        "feedback",
        "bindu.caption",
    ];
    let leaf = prop_oneof![
        3 => select(&["null", "true", "0", "-1", "1e300", "\"\"", "\"a\"", "\"user\"", "\"ROLE_USER\"", "\"text\"", "[]", "{}"][..])
            .prop_map(str::to_owned),
        1 => any::<String>().prop_map(|text| Json::of(&text).into_text()),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            1 => vec(inner.clone(), 0..4).prop_map(|items| format!("[ {} ]", items.join(" , "))),
            3 => vec((select(&NAMES[..]), inner), 0..8).prop_map(|members| {
                let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn bindu_message(text: &str) -> Result<Message, A2aError> {
    match Dialect::Bindu.decode("message/send", Some(&raw(&format!(r#"{{"message":{text}}}"#))))? {
        Call::Send(request) => Ok(request.message),
        call => panic!("{call:?}"),
    }
}

#[test]
fn both_cases_of_ids_are_read_and_uuids_are_normalised() {
    let undashed = "5C908F70EC507E33BF7D2735C15D5C13";
    for (task, context) in [("taskId", "contextId"), ("task_id", "context_id")] {
        let text = format!(r#"{{"role":"user","parts":[],"{task}":"{undashed}","{context}":"any"}}"#);
        let message = bindu_message(&text).expect("a message");
        assert_eq!(message.task_id, "5c908f70-ec50-7e33-bf7d-2735c15d5c13");
        assert_eq!(message.context_id, "any");
        assert!(!message.id.is_empty(), "one is chosen");
    }
}

#[test]
fn parts_come_back_to_bindus_callers_as_they_were_sent() {
    let parts = serde_json::json!([
        {"kind": "text", "text": "hello"},
        {"kind": "data", "text": "", "data": {"a": [1, null]}, "metadata": {"k": "v"}},
        {"kind": "data", "text": "a \"caption\"", "data": {}},
        {"kind": "data", "text": "", "data": {}, "metadata": {"bindu.caption": "not one"}},
        {"kind": "file", "text": "it", "file": {"bytes": "aGk=", "mimeType": "text/plain", "name": "a.txt"}},
    ]);
    let message = serde_json::json!({"role": "user", "kind": "message", "parts": parts});
    let message = bindu_message(&message.to_string()).expect("a message");
    let shown = Dialect::Bindu.encode(&Answer::Message(Arc::new(message)));
    let shown: serde_json::Value = serde_json::from_str(shown.text()).expect("JSON");
    assert_eq!(shown["parts"], parts);
}

#[test]
fn data_that_is_no_object_is_wrapped_for_those_who_know_only_objects() {
    let mut parts = PartsBuilder::default();
    let data = raw("[1,2]");
    parts.push(&Part { content: Content::Data(&data), ..Part::text("") });
    let answer = Answer::Message(Arc::new(Message::of_agent("t", "c", parts.build())));
    for dialect in [Dialect::V03, Dialect::Bindu] {
        let shown: serde_json::Value = serde_json::from_str(dialect.encode(&answer).text()).expect("JSON");
        assert_eq!(shown["parts"][0]["data"], serde_json::json!({"value": [1, 2]}));
        assert_eq!(shown["parts"][0]["metadata"], serde_json::json!({"data_part_compat": true}));
    }
}

#[test]
fn bad_parameters_are_named() {
    for (message, part) in [
        (r#""x""#, "message"),
        (r#"{"parts":"x"}"#, "parts"),
        (r#"{}"#, "parts"),
        (r#"{"parts":[],"role":"assistant"}"#, "role"),
        (r#"{"parts":[{"text":"x"}]}"#, "kind"),
        (r#"{"parts":[{"kind":"text","text":1}]}"#, "text"),
        (r#"{"parts":[],"taskId":5}"#, "taskId"),
        (r#"{"parts":[],"taskId":""}"#, "taskId"),
        (r#"{"parts":[],"metadata":[]}"#, "metadata"),
        (r#"{"parts":[],"referenceTaskIds":[1]}"#, "referenceTaskIds"),
    ] {
        let refusal = Dialect::Bindu.refuse(&bindu_message(message).expect_err(message));
        assert_eq!((refusal.status, refusal.code), (400, -32602));
        assert!(refusal.data.expect("words").text().contains(part), "{message}");
    }
    let v1 = |params: &str| Dialect::V1.decode("SendMessage", Some(&raw(params)));
    for (params, part) in [
        ("{}", "message"),
        (r#"{"message":{"role":"ROLE_USER","parts":[{"text":"x"}]}}"#, "messageId"),
        (r#"{"message":{"messageId":"m","parts":[{"text":"x"}]}}"#, "role"),
        (r#"{"message":{"messageId":"m","role":"ROLE_UNSPECIFIED","parts":[{"text":"x"}]}}"#, "role"),
        (r#"{"message":{"messageId":"m","role":"ROLE_USER"}}"#, "parts"),
        (r#"{"message":{"messageId":"m","role":"ROLE_USER","parts":[]}}"#, "parts"),
        (r#"{"message":{"messageId":"m","role":"ROLE_USER","parts":[{}]}}"#, "parts"),
        (r#"{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"raw":"?"}]}}"#, "base64"),
    ] {
        let refusal = Dialect::V1.refuse(&v1(params).expect_err(params));
        assert_eq!((refusal.status, refusal.code), (200, -32602));
        assert!(refusal.message.contains(part), "{params}: {}", refusal.message);
    }
    let protobuf_names = r#"{"message":{"message_id":"m","role":1,"parts":[{"data":null,"media_type":"a/b"}]},
        "configuration":{"return_immediately":true,"history_length":"2"},"unknown":[{}]}"#;
    let Ok(Call::Send(request)) = v1(protobuf_names) else { panic!("a message") };
    assert_eq!((request.is_blocking, request.history_length), (false, Some(2)));
    assert_eq!(request.message.parts.text(), r#"[{"data":null,"mediaType":"a/b"}]"#);
}

#[test]
fn waiting_is_as_the_dialect_has_it() {
    let parts = r#""messageId":"m","parts":[{"kind":"text","text":"x"}],"role":"user""#;
    let is_blocking = |dialect: Dialect, configuration: &str| {
        let params = format!(r#"{{"message":{{{parts}}},"configuration":{configuration}}}"#);
        let params =
            if dialect == Dialect::V1 { params.replace("\"user\"", "\"ROLE_USER\"") } else { params };
        let method = if dialect == Dialect::V1 { "SendMessage" } else { "message/send" };
        match dialect.decode(method, Some(&raw(&params))) {
            Ok(Call::Send(request)) => request.is_blocking,
            other => panic!("{other:?}"),
        }
    };
    assert!(is_blocking(Dialect::V1, "{}"));
    assert!(is_blocking(Dialect::V1, r#"{"blocking":false}"#));
    assert!(!is_blocking(Dialect::V1, r#"{"returnImmediately":true}"#));
    assert!(is_blocking(Dialect::V03, "{}"));
    assert!(!is_blocking(Dialect::V03, r#"{"blocking":false}"#));
    assert!(!is_blocking(Dialect::Bindu, "{}"));
    assert!(is_blocking(Dialect::Bindu, r#"{"blocking":true}"#));
}

#[test]
fn each_dialect_has_its_own_codes() {
    let ended = A2aError::Ended { task_id: "t".to_owned(), state: TaskState::Completed };
    let busy = A2aError::TooMany { problem: "too many".to_owned(), retry_after: 5 };
    for (error, v1, v03, bindu) in [
        (A2aError::TaskNotFound, (200, -32001), (200, -32001), (200, -32001)),
        (A2aError::NotCancelable(TaskState::Failed), (200, -32002), (200, -32002), (200, -32002)),
        (ended, (200, -32004), (200, -32004), (500, -32603)),
        (A2aError::Method("x".to_owned()), (200, -32601), (200, -32601), (404, -32601)),
        (A2aError::Params("x".to_owned()), (200, -32602), (200, -32602), (400, -32602)),
        (A2aError::Parse("x".to_owned()), (200, -32700), (200, -32700), (400, -32700)),
        (A2aError::ExtensionRequired("u".to_owned()), (200, -32008), (200, -32004), (200, -32004)),
        (A2aError::VersionNotSupported("9".to_owned()), (200, -32009), (200, -32009), (200, -32004)),
        (A2aError::ContextNotFound, (200, -32001), (200, -32001), (200, -32020)),
        (busy, (429, -32603), (429, -32603), (429, -32603)),
    ] {
        for (dialect, want) in DIALECTS.into_iter().zip([v1, v03, bindu]) {
            let refusal = dialect.refuse(&error);
            assert_eq!((refusal.status, refusal.code), want, "{dialect:?} {error:?}");
            let body = rpc::refusal(&Json::of("1"), &refusal);
            let body = raw(std::str::from_utf8(&body).expect("UTF-8"));
            let read = rpc::response(refusal.status, &body).expect("a response").expect_err("an error");
            assert_eq!(
                (read.code, &read.message, &read.data),
                (refusal.code, &refusal.message, &refusal.data)
            );
            let reason = Some(error.facts().reason.to_owned()).filter(|_| dialect != Dialect::Bindu);
            assert_eq!(read.reason(), reason);
        }
    }
}

#[test]
fn a_stream_for_bindus_callers_is_read_by_those_of_both_kinds() {
    let status = TaskStatus { state: TaskState::Submitted, message: None, timestamp: Timestamp::UNIX_EPOCH };
    let task = Task {
        id: "t".to_owned(),
        context_id: "c".to_owned(),
        status,
        history: Vec::new(),
        artifacts: Vec::new(),
        metadata: None,
    };
    let line =
        rpc::event(Dialect::Bindu, &Json::of(&1), &StreamItem { number: 1, event: StreamEvent::Task(task) });
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["result"]["kind"], "task");
    assert_eq!((&line["kind"], &line["task_id"]), (&"status-update".into(), &"t".into()));
    assert_eq!((&line["status"]["state"], &line["final"]), (&"submitted".into(), &false.into()));
    assert_eq!(line["status"]["timestamp"], "1970-01-01T00:00:00.000000+00:00");
}

#[test]
fn a_filter_that_is_not_set_filters_nothing() {
    // ProtoJSON's zero value by name and by number, and what the official JavaScript SDK sends.
    for unset in [r#""TASK_STATE_UNSPECIFIED""#, "0", r#""UNRECOGNIZED""#, "null"] {
        let params: Box<serde_json::value::RawValue> =
            serde_json::from_str(&format!(r#"{{"status":{unset}}}"#)).expect("JSON");
        let call = Dialect::V1.decode("ListTasks", Some(&params)).expect("a call");
        assert_eq!(call, Call::List(Default::default()), "{unset}");
    }
    for unknown in [r#""TASK_STATE_SOMETHING""#, "99", "true"] {
        let params: Box<serde_json::value::RawValue> =
            serde_json::from_str(&format!(r#"{{"status":{unknown}}}"#)).expect("JSON");
        assert!(Dialect::V1.decode("ListTasks", Some(&params)).is_err(), "{unknown}");
    }
}
