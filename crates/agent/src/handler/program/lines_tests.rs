use super::*;
use serde_json::json;

/// Whether a line is what the schema in the documentation says, by the name of its definition.
fn is(definition: &str, line: &str) -> bool {
    let text = include_str!("../../../../../docs/handler-protocol.schema.json");
    let mut schema: Value = serde_json::from_str(text).expect("a JSON Schema");
    schema.as_object_mut().expect("an object").remove("anyOf");
    schema["$ref"] = format!("#/$defs/{definition}").into();
    let validator = jsonschema::validator_for(&schema).expect("a JSON Schema");
    serde_json::from_str(line).is_ok_and(|line| validator.is_valid(&line))
}

fn a_task(text: &str) -> String {
    let said = ChatMessage { role: "user".to_owned(), content: text.to_owned(), parts: None };
    task(("t", "c"), &[said], &Caller::Anonymous, 1)
}

#[test]
fn what_we_send_is_what_the_schema_says() {
    let line = a_task("hello");
    assert!(is("Task", &line) && is("ToProgram", &line), "{line}");
    assert!(line.starts_with(r#"{"bindu":[1,2],"#), "{line}");
    let line = cancel("t");
    assert!(is("Cancel", &line) && is("ToProgram", &line), "{line}");
}

/// What a reader may take for the end of a line is none in ours.
#[test]
fn a_line_is_one_line_for_everybody() {
    let text = "a\u{2028}b\u{2029}c\u{85}d\ne\rf\u{b}g\u{c}h\u{1c}i";
    let line = a_task(text);
    let inner = line.strip_suffix('\n').expect("a line feed at the end");
    assert!(
        !inner.contains(|character: char| character.is_control() || "\u{2028}\u{2029}".contains(character))
    );
    let read: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(read["messages"][0]["content"], text, "and it says the same");
}

/// Each line with what it is in the first protocol, in the second, and in the schema.
#[test]
fn what_is_understood_is_what_the_schema_says() {
    let big = format!(r#"{{"bindu":2,"concurrency":{}}}"#, MAX_AT_ONCE + 1);
    let lines = [
        (r#"{"content":"x"}"#, "FirstProtocol"),
        (r#"{"content":"x","state":"failed","task_id":"t","more":[1]}"#, "FirstProtocol SecondProtocol"),
        (r#"{"content":"x","state":""}"#, "FirstProtocol"),
        (r#"{"content":"x","state":"done"}"#, ""),
        (r#"{"content":7}"#, ""),
        (r#"{"state":"completed"}"#, ""),
        (r#"{"bindu":2}"#, "SecondProtocol"),
        (r#"{"bindu":2,"concurrency":8,"name":"mine"}"#, "SecondProtocol"),
        (r#"{"bindu":2,"concurrency":0}"#, ""),
        (&big, ""),
        (r#"{"bindu":3}"#, ""),
        (r#"{"task_id":"t","progress":"half"}"#, "SecondProtocol"),
        (r#"{"task_id":"t","artifact":{"text":"a"}}"#, "SecondProtocol"),
        (r#"{"task_id":"t","artifact":{"name":"report","text":"a"}}"#, "SecondProtocol"),
        (r#"{"task_id":"t","artifact":{"name":"report"}}"#, ""),
        (
            r#"{"task_id":"t","artifact":{"parts":[{"text":"a"},{"raw":"AAE=","filename":"b"}]}}"#,
            "SecondProtocol",
        ),
        (r#"{"task_id":"t","artifact":{"parts":[]}}"#, ""),
        (r#"{"task_id":"t","parts":[{"data":{"a":1}}]}"#, "FirstProtocol SecondProtocol"),
        (r#"{"task_id":"t","parts":[{"kind":"text"}],"state":"completed"}"#, ""),
        (r#"{"content":"x","state":"rejected"}"#, "FirstProtocol"),
        (r#"{"task_id":"t","state":"completed"}"#, "SecondProtocol"),
        (r#"{"task_id":"t","state":"canceled"}"#, "SecondProtocol"),
        (r#"{"task_id":"t"}"#, ""),
        (r#"{"progress":"half"}"#, ""),
        ("this is no JSON", ""),
        ("[]", ""),
        // What derived readers would take for objects.
        (r#"["an answer"]"#, ""),
        (r#"["t","an answer"]"#, ""),
        (r#"[2,4]"#, ""),
        (r#"{"task_id":"t","artifact":["name","text"]}"#, ""),
    ];
    for (line, kinds) in lines {
        let first = answer(line.as_bytes()).is_ok();
        let second =
            event(line.as_bytes()).is_ok() || hello(line.as_bytes()).is_ok_and(|asked| asked.is_some());
        assert_eq!(is("FirstProtocol", line), kinds.contains("FirstProtocol"), "the schema: {line}");
        assert_eq!(first, kinds.contains("FirstProtocol"), "the first protocol: {line}");
        assert_eq!(is("SecondProtocol", line), kinds.contains("SecondProtocol"), "the schema: {line}");
        assert_eq!(second, kinds.contains("SecondProtocol"), "the second protocol: {line}");
    }
}

#[test]
fn a_greeting_is_told_from_an_answer() {
    assert_eq!(hello(br#"{"bindu":2}"#), Ok(Some(1)));
    assert_eq!(hello("\u{feff}{\"bindu\":2,\"concurrency\":256}\r\n".as_bytes()), Ok(Some(256)));
    assert_eq!(hello(br#"{"content":"x"}"#), Ok(None));
    assert_eq!(hello(br#"{"content":"x","bindu":"an answer with a member of this name"}"#), Ok(None));
    assert_eq!(hello(b"Loading..."), Ok(None));
    assert!(hello(br#"{"bindu":7}"#).is_err() && hello(br#"{"bindu":"2"}"#).is_err());
}

/// What goes on to callers is such that they can read it.
#[test]
fn what_no_caller_could_read_is_no_answer() {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(5_000), "}".repeat(5_000));
    for parts in [
        format!(r#"[{{"data":{deep}}}]"#),
        format!(r#"[{{"text":"x","metadata":{{"a":{deep}}}}}]"#),
        r#"[{"raw":"***"}]"#.to_owned(),
        r#"[{"data":1e999}]"#.to_owned(),
    ] {
        for member in [format!(r#""parts":{parts}"#), format!(r#""artifact":{{"parts":{parts}}}"#)] {
            let line = format!(r#"{{"task_id":"t",{member}}}"#);
            assert!(answer(line.as_bytes()).is_err(), "{}", shown(line.as_bytes()));
            assert_eq!(event(line.as_bytes()).map_err(|bad| bad.task_id), Err(Some("t".to_owned())));
        }
    }
}

#[test]
fn a_line_that_breaks_off_says_whose_it_is() {
    for (begun, about) in [
        (r#"{"task_id": "t", "content": "xx"#, Some("t")),
        (r#"{"progress":"a","task_id":"t","parts":[{"data":{"task_id":"u""#, Some("t")),
        (r#"{"parts":[{"data":{"task_id":"u"}},{"text":"xx"#, None),
        (r#"{"content":"\"task_id\":\"u\" xx"#, None),
        (r#"["task_id","t""#, None),
        ("", None),
    ] {
        assert_eq!(begun_about(begun.as_bytes()).as_deref(), about, "{begun}");
    }
}

#[test]
fn half_a_character_is_a_replacement_character() {
    for (sent, read) in [
        (r"a\ud83db", "a\u{fffd}b"),
        (r"a\ude00b", "a\u{fffd}b"),
        (r"\ud83d\ud83d\ude00\ude00", "\u{fffd}\u{1f600}\u{fffd}"),
        (r"\ud83d\u0041", "\u{fffd}A"),
        (r"\ud83d\n\\ud83d", "\u{fffd}\n\\ud83d"),
        (r"\ud83d", "\u{fffd}"),
        (r"\uD83D\uDE00", "\u{1f600}"),
        (r"\\\ud83d", "\\\u{fffd}"),
        ("\u{1f600}\\u00e9", "\u{1f600}\u{e9}"),
    ] {
        let line = format!(r#"{{"content":"{sent}","task_id":"t"}}"#);
        assert_eq!(answer(line.as_bytes()).map(|answer| answer.content), Ok(Content::from(read)), "{sent}");
        let ended = HandlerEvent::Ended { content: Some(Content::from(read)), state: ReplyState::Completed };
        assert_eq!(event(line.as_bytes()), Ok(("t".to_owned(), ended)), "{sent}");
    }
    // The same as bytes, as Python's `surrogatepass` writes it.
    let bytes = b"{\"content\":\"a\xed\xa0\xbdb\"}";
    assert!(answer(bytes).is_ok_and(|answer| answer.content.as_text().starts_with("a\u{fffd}")));
    for broken in
        [r#"{"content":"\u12"}"#, r#"{"content":"\ud83d\"#, r#"{"content":"\"#, r#"{"content":"\u+123"}"#]
    {
        assert!(answer(broken.as_bytes()).is_err(), "{broken}");
    }
}

#[test]
fn what_is_shown_is_bounded_and_one_line() {
    assert_eq!(shown(b"Loading\x1b[2J\x00 \xff\r\n"), "`Loading\\u{1b}[2J\\0 \u{fffd}`");
    let long = shown("x".repeat(5_000).as_bytes());
    assert!(long.len() < 2 * SHOWN && long.ends_with("(5000 bytes)"), "{long}");
}

/// A bad line of the second protocol says whose it is, where it can: that task fails, and no other.
#[test]
fn a_bad_line_is_about_one_task_if_it_can_be() {
    let about = |line: &str| event(line.as_bytes()).expect_err("a bad line").task_id;
    assert_eq!(about(r#"{"task_id":"t","state":"done"}"#), Some("t".to_owned()));
    assert_eq!(about(r#"{"task_id":"t","content":7}"#), Some("t".to_owned()));
    assert_eq!(about(r#"{"content":"x"}"#), None);
    assert_eq!(about("print"), None);
    let chunk = json!({"task_id": "t", "artifact": {"text": "a"}}).to_string();
    let expected = HandlerEvent::Chunk { artifact: RESULT.to_owned(), text: "a".to_owned() };
    assert_eq!(event(chunk.as_bytes()), Ok(("t".to_owned(), expected)));
}
