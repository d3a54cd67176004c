//! JCS (RFC 8785) of JSON that is there as text, written as it is read: no tree of it is built, so it costs its bytes.

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// How deeply objects may lie in one another. Each is read by a reader of its own, which knows nothing of those around it.
const MAX_DEPTH: usize = 128;

/// Writes a value that lies in so many others.
fn write_at(depth: usize, raw: &RawValue, out: &mut Vec<u8>) -> serde_json::Result<()> {
    Canonical { out, depth }.deserialize(&mut serde_json::Deserializer::from_str(raw.get()))
}

/// Writes the items of lists, one list after the other, as one list.
pub(crate) fn write_list(lists: &[&RawValue], out: &mut Vec<u8>) -> serde_json::Result<()> {
    out.push(b'[');
    let mut is_first = true;
    for list in lists {
        Items { out, depth: 1, is_first: &mut is_first }
            .deserialize(&mut serde_json::Deserializer::from_str(list.get()))?;
    }
    out.push(b']');
    Ok(())
}

/// Writes a text.
pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) -> serde_json::Result<()> {
    // It escapes what RFC 8785 escapes, in the same form.
    serde_json::to_writer(out, text)
}

struct Canonical<'o> {
    out: &'o mut Vec<u8>,
    depth: usize,
}

impl Canonical<'_> {
    /// As a double, in ECMAScript's form.
    fn number<E: serde::de::Error>(self, number: f64) -> Result<(), E> {
        self.out.extend(serde_json_canonicalizer::to_vec(&number).map_err(E::custom)?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Canonical<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Canonical<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.out.extend(b"null");
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.out.extend(if value { &b"true"[..] } else { &b"false"[..] });
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "RFC 8785 has doubles only")]
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.number(value as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "RFC 8785 has doubles only")]
    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.number(value as f64)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.number(value)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        write_text(value, self.out).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        self.out.push(b'[');
        Items { out: &mut *self.out, depth: self.depth + 1, is_first: &mut true }.visit_seq(items)?;
        self.out.push(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.depth >= MAX_DEPTH {
            return Err(A::Error::custom("lists and objects lie too deeply in one another"));
        }
        let depth = self.depth + 1;
        let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            members.push((key, map.next_value()?));
        }
        // By UTF-16 units, as RFC 8785 has it. Of a name that comes twice the last value counts.
        members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
        let out = self.out;
        out.push(b'{');
        let mut is_first = true;
        let mut members = members.into_iter().peekable();
        while let Some((key, value)) = members.next() {
            if members.peek().is_some_and(|(next, _)| *next == key) {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            write_text(&key, out).map_err(A::Error::custom)?;
            out.push(b':');
            write_at(depth, value, out).map_err(A::Error::custom)?;
        }
        out.push(b'}');
        Ok(())
    }
}

/// Writes the items of a list, without its brackets.
struct Items<'o> {
    out: &'o mut Vec<u8>,
    depth: usize,
    is_first: &'o mut bool,
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        loop {
            let before = self.out.len();
            if !std::mem::take(self.is_first) {
                self.out.push(b',');
            }
            if items.next_element_seed(Canonical { out: &mut *self.out, depth: self.depth })?.is_none() {
                *self.is_first = self.out.len() == before;
                self.out.truncate(before);
                return Ok(());
            }
        }
    }
}

/// A member's name, borrowed if it has no escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor).map(Key)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn canonical(text: &str) -> String {
        let raw: &RawValue = serde_json::from_str(text).expect("JSON");
        let mut out = Vec::new();
        write_at(0, raw, &mut out).expect("a canonical form");
        String::from_utf8(out).expect("UTF-8")
    }

    /// RFC 8785, 3.2.2 and 3.2.3.
    #[test]
    fn the_rfcs_examples_come_out_as_there() {
        let example = r#"{
            "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
            "literals": [null, true, false]
        }"#;
        assert_eq!(
            canonical(example),
            r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#
        );
        let sorted = r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#;
        assert_eq!(
            canonical(sorted),
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}"
        );
    }

    #[test]
    fn what_lies_too_deep_is_an_error_and_no_overflow() {
        for (deep, is_good) in [(100, true), (128, true), (130, false), (300_000, false)] {
            for (open, close) in [("{\"a\":", "}"), ("[{\"a\":", "}]")] {
                let deep = if open.len() > 5 { deep / 2 } else { deep };
                let text = format!("{}1{}", open.repeat(deep), close.repeat(deep));
                let raw = RawValue::from_string(text).expect("JSON");
                assert_eq!(write_at(0, &raw, &mut Vec::new()).is_ok(), is_good, "{deep} of {open}");
            }
        }
    }

    #[test]
    fn lists_become_one_list_and_the_last_of_a_name_counts() {
        let raw = |text| serde_json::from_str::<&RawValue>(text).expect("JSON");
        for (lists, wanted) in [
            (vec!["[]"], "[]"),
            (vec!["[]", "[ 1 , 2]", "[]", "[{\"b\":1,\"a\":2}]", "[]"], "[1,2,{\"a\":2,\"b\":1}]"),
            (vec![], "[]"),
        ] {
            let lists: Vec<&RawValue> = lists.into_iter().map(raw).collect();
            let mut out = Vec::new();
            write_list(&lists, &mut out).expect("lists");
            assert_eq!(String::from_utf8(out).expect("UTF-8"), wanted);
        }
        assert!(write_list(&[raw("{}")], &mut Vec::new()).is_err());
        assert_eq!(canonical(r#"{"a":1,"b":[],"\u0061":2}"#), r#"{"a":2,"b":[]}"#);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,8}|[\\x00-\\x1f\\x7f\"\\\\/]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            let key = "\\PC{0,3}|[\\x00-\\x1f\"\\\\]{0,3}";
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(key, inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// The same bytes as a library that builds a tree.
        #[test]
        fn any_json_comes_out_as_from_its_tree(value in json()) {
            let wanted = serde_json_canonicalizer::to_string(&value).expect("a canonical form");
            prop_assert_eq!(canonical(&value.to_string()), wanted);
        }
    }
}
