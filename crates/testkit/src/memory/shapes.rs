//! Shapes of JSON that cost more than their bytes if somebody builds trees of them.

use std::fmt::Write as _;

/// How long a body of a shape is, about.
const BYTES: usize = 1_900_000;

/// A message of one shape.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Its name.
    pub name: &'static str,
    /// The members of the message beside its id and its role.
    members: String,
}

impl Shape {
    /// A request of A2A 1.0 that sends it.
    #[must_use]
    pub fn body(&self, number: usize) -> String {
        self.with_role(number, "ROLE_USER")
    }

    /// The same with a mistake at its end.
    #[must_use]
    pub fn refused_body(&self, number: usize) -> String {
        self.with_role(number, "ROLE_NOBODY")
    }

    fn with_role(&self, number: usize, role: &str) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{{"message":{{"messageId":"m{number}",{},"role":"{role}"}}}}}}"#,
            self.members
        )
    }
}

fn repeated(item: &str) -> String {
    vec![item; BYTES / (item.len() + 1)].join(",")
}

/// The shapes.
#[must_use]
pub fn shapes() -> Vec<Shape> {
    let parts = r#""parts":[{"text":"x"}]"#;
    let metadata = |inner: &str| format!(r#"{parts},"metadata":{{{inner}}}"#);
    let deep = format!("{}{}", "[".repeat(90), "]".repeat(90));
    let keys = (0..100_000).fold(String::new(), |mut keys, number| {
        let _ = write!(keys, r#"{}"key {number}":0"#, if number == 0 { "" } else { "," });
        keys
    });
    let shape = |name, members| Shape { name, members };
    vec![
        shape("empty objects", format!(r#""parts":[{{"data":[{}]}}]"#, repeated("{}"))),
        shape("nested arrays", metadata(&format!(r#""a":[{}]"#, repeated(&deep)))),
        shape("tiny parts", format!(r#""parts":[{}]"#, repeated(r#"{"text":""}"#))),
        shape("tiny data", format!(r#""parts":[{}]"#, repeated(r#"{"data":{"":0}}"#))),
        shape("metadata of 100,000 keys", metadata(&keys)),
        shape("one key again and again", metadata(&repeated(r#""":0"#))),
        shape("empty references", format!(r#"{parts},"referenceTaskIds":[{}]"#, repeated(r#""""#))),
        shape("white space", metadata(&format!(r#""a":[{}]"#, repeated("  1  ")))),
        shape("escapes", format!(r#""parts":[{{"text":"{}"}}]"#, repeated(r"\u0001\n"))),
        shape("unknown members", format!("{parts},{}", repeated(r#""x":{"":0}"#))),
    ]
}
