//! What a call costs in memory while it is read and answered: at most four times its bytes, whatever its JSON is made of.

use bindu_a2a::{
    Dialect, Json,
    call::{Answer, Call, SendRequest, TaskView},
    model::{Task, TaskState, TaskStatus},
    rpc,
};
use jiff::Timestamp;
use peak_alloc::PeakAlloc;
use std::sync::Arc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const BYTES: usize = 2_000_000;

/// What does not grow with the body.
const CONSTANT: usize = 256 * 1024;

fn repeated(item: &str) -> String {
    vec![item; BYTES / (item.len() + 1)].join(",")
}

fn numbered(of: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for number in 0.. {
        if text.len() > BYTES {
            break;
        }
        text.push_str(if text.is_empty() { "" } else { "," });
        text.push_str(&of(number));
    }
    text
}

/// Runs something; how many bytes it needed at its worst, and how many it left, beside what was there.
fn cost<T>(run: impl FnOnce() -> T) -> (usize, usize, T) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let done = run();
    let (peak, after) = (MEMORY.peak_usage(), MEMORY.current_usage());
    (peak.saturating_sub(before), after.saturating_sub(before), done)
}

fn check(name: &str, dialect: Dialect, message: &str) {
    let (method, role) =
        if dialect == Dialect::V1 { ("SendMessage", "ROLE_USER") } else { ("message/send", "user") };
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"message":{{"messageId":"m","role":"{role}",{message}}}}}}}"#
    );
    let (peak, kept, request) = cost(|| {
        let request = rpc::Request::parse(None, body.as_bytes()).expect("a request");
        match dialect.decode(&request.method, request.params) {
            Ok(Call::Send(request)) => *request,
            other => panic!("{name}: {other:?}"),
        }
    });
    // The body itself is the fourth.
    assert!(peak <= 3 * body.len() + CONSTANT, "{name}: {peak} for {}", body.len());
    // Python Bindu's captions are a little longer in the core's form.
    assert!(kept <= body.len() + body.len() / 4 + CONSTANT, "{name}: {kept} for {}", body.len());
    let SendRequest { message, .. } = request;
    let (peak, _, _) = cost(|| message.parts.as_text());
    assert!(name != "escapes" || peak <= body.len() + CONSTANT, "{name}: {peak} for its text");
    let task = Task {
        id: "t".to_owned(),
        context_id: "c".to_owned(),
        status: TaskStatus { state: TaskState::Submitted, message: None, timestamp: Timestamp::UNIX_EPOCH },
        history: vec![Arc::new(message)],
        artifacts: Vec::new(),
        metadata: None,
    };
    let answer = Answer::Sent(TaskView::whole(task));
    let (peak, _, answered) = cost(|| rpc::answer(dialect, &Json::of(&1), &answer));
    assert!(peak <= 3 * body.len().max(answered.len()) + CONSTANT, "{name}: {peak} for {}", answered.len());
}

/// One test: the allocator counts for the whole process.
#[test]
fn no_shape_of_json_costs_more_than_four_times_its_bytes() {
    let text =
        |dialect| if dialect == Dialect::V1 { r#"{"text":""}"# } else { r#"{"kind":"text","text":""}"# };
    for dialect in [Dialect::V1, Dialect::V03, Dialect::Bindu] {
        let one = text(dialect);
        let parts = format!(r#""parts":[{one}]"#);
        let data = |value: &str| match dialect {
            Dialect::V1 => format!(r#"{{"data":{value}}}"#),
            Dialect::V03 | Dialect::Bindu => format!(r#"{{"kind":"data","text":"x","data":{value}}}"#),
        };
        check("tiny parts", dialect, &format!(r#""parts":[{}]"#, repeated(one)));
        check("tiny data", dialect, &format!(r#""parts":[{}]"#, repeated(&data("{}"))));
        check("empty objects in data", dialect, &{
            let objects = format!(r#"{{"a":[{}]}}"#, repeated("{}"));
            format!(r#""parts":[{}]"#, data(&objects))
        });
        check("keys of metadata", dialect, &{
            let keys = numbered(|number| format!(r#""{number}":0"#));
            format!(r#"{parts},"metadata":{{{keys}}}"#)
        });
        check("one key of metadata", dialect, &format!(r#"{parts},"metadata":{{{}}}"#, repeated(r#""":0"#)));
        check("nested lists", dialect, &{
            let deep = format!("{}{}", "[".repeat(90), "]".repeat(90));
            format!(r#"{parts},"metadata":{{"a":[{}]}}"#, repeated(&deep))
        });
        check(
            "members that nobody knows",
            dialect,
            &format!("{parts},{}", numbered(|n| format!(r#""x{n}":{{"":0}}"#))),
        );
        check("empty references", dialect, &format!(r#"{parts},"referenceTaskIds":[{}]"#, repeated(r#""""#)));
        check("empty extensions", dialect, &format!(r#"{parts},"extensions":[{}]"#, repeated(r#""""#)));
        check("white space", dialect, &format!(r#"{parts},"metadata":{{"a":[{}]}}"#, repeated("  1  ")));
        check("escapes", dialect, &{
            let escaped = numbered(|_| r"\u0041\n".to_owned());
            format!(r#""parts":[{}]"#, one.replace(r#""""#, &format!(r#""{escaped}""#)))
        });
    }
}
