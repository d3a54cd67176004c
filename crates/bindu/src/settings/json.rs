//! JSON as an operator writes it: a name that comes twice is a mistake, since one of its values would be lost.

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// The value of a JSON text.
///
/// # Errors
/// If it is not JSON, has a name twice in one object, or is of another type.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    let Once(value) = serde_json::from_str(text)?;
    serde_json::from_value(value)
}

/// A value in which each name comes once.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnceVisitor).map(Self)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        while let Some(Once(item)) = items.next_element()? {
            read.push(item);
        }
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some((name, Once(value))) = members.next_entry::<String, _>()? {
            if read.contains_key(&name) {
                return Err(A::Error::custom(format!("the name `{name}` comes twice")));
            }
            read.insert(name, value);
        }
        Ok(Value::Object(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_it_is_and_each_name_once() {
        let text = r#"{"a": [1, -1, 1.5, "x", null, true, {"a": {}}], "b": {"a": 1}}"#;
        assert_eq!(read::<Value>(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        for text in [r#"{"a": 1, "a": 1}"#, r#"[{"b": {"a": {}, "\u0061": null}}]"#] {
            let told = read::<Value>(text).unwrap_err().to_string();
            assert!(told.contains("`a` comes twice"), "{told}");
        }
        assert!(read::<Value>("{} {}").is_err());
    }
}
