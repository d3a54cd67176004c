//! The bytes of a card that its signature covers (A2A 1.0, 8.4): canonical JSON (RFC 8785) of the card without signatures.
//!
//! The specification leaves open what becomes of members that it does not know, of empty values and of `false`. The official
//! SDKs read the card into their generated types and leave out what is empty before they write it down again; so does this, by
//! a table of A2A 1.0's card. What a card has beyond that (the fields of A2A 0.3) is not signed.

use serde_json::{Map, Value};

/// What A2A 1.0 has in a place.
enum Shape {
    /// A text.
    Text,
    /// A boolean that is `false` if it is not there.
    Flag,
    /// A boolean that may be there or not.
    Choice,
    /// Any JSON.
    Any,
    /// A list.
    List(&'static Self),
    /// An object with any names.
    Map(&'static Self),
    /// An object with these names.
    Object(&'static [(&'static str, Self)]),
}

use Shape::{Any, Choice, Flag, List, Object, Text};

const TEXTS: Shape = List(&Text);
const SCOPES: Shape = Shape::Map(&Text);
const REQUIREMENTS: Shape = List(&Object(&[("schemes", Shape::Map(&Object(&[("list", TEXTS)])))]));

const FLOWS: Shape = Object(&[
    (
        "authorizationCode",
        Object(&[
            ("authorizationUrl", Text),
            ("tokenUrl", Text),
            ("refreshUrl", Text),
            ("scopes", SCOPES),
            ("pkceRequired", Flag),
        ]),
    ),
    ("clientCredentials", Object(&[("tokenUrl", Text), ("refreshUrl", Text), ("scopes", SCOPES)])),
    ("implicit", Object(&[("authorizationUrl", Text), ("refreshUrl", Text), ("scopes", SCOPES)])),
    ("password", Object(&[("tokenUrl", Text), ("refreshUrl", Text), ("scopes", SCOPES)])),
    (
        "deviceCode",
        Object(&[
            ("deviceAuthorizationUrl", Text),
            ("tokenUrl", Text),
            ("refreshUrl", Text),
            ("scopes", SCOPES),
        ]),
    ),
]);

const SECURITY_SCHEME: Shape = Object(&[
    ("apiKeySecurityScheme", Object(&[("description", Text), ("location", Text), ("name", Text)])),
    ("httpAuthSecurityScheme", Object(&[("description", Text), ("scheme", Text), ("bearerFormat", Text)])),
    ("oauth2SecurityScheme", Object(&[("description", Text), ("flows", FLOWS), ("oauth2MetadataUrl", Text)])),
    ("openIdConnectSecurityScheme", Object(&[("description", Text), ("openIdConnectUrl", Text)])),
    ("mtlsSecurityScheme", Object(&[("description", Text)])),
]);

const SKILL: Shape = Object(&[
    ("id", Text),
    ("name", Text),
    ("description", Text),
    ("tags", TEXTS),
    ("examples", TEXTS),
    ("inputModes", TEXTS),
    ("outputModes", TEXTS),
    ("securityRequirements", REQUIREMENTS),
]);

const INTERFACE: Shape =
    Object(&[("url", Text), ("protocolBinding", Text), ("tenant", Text), ("protocolVersion", Text)]);

const EXTENSION: Shape = Object(&[("uri", Text), ("description", Text), ("required", Flag), ("params", Any)]);

const CAPABILITIES: Shape = Object(&[
    ("streaming", Choice),
    ("pushNotifications", Choice),
    ("extensions", List(&EXTENSION)),
    ("extendedAgentCard", Choice),
]);

/// A2A 1.0's card without its signatures.
const CARD: Shape = Object(&[
    ("name", Text),
    ("description", Text),
    ("supportedInterfaces", List(&INTERFACE)),
    ("provider", Object(&[("url", Text), ("organization", Text)])),
    ("version", Text),
    ("documentationUrl", Text),
    ("capabilities", CAPABILITIES),
    ("securitySchemes", Shape::Map(&SECURITY_SCHEME)),
    ("securityRequirements", REQUIREMENTS),
    ("defaultInputModes", TEXTS),
    ("defaultOutputModes", TEXTS),
    ("skills", List(&SKILL)),
    ("iconUrl", Text),
]);

/// The part of a card that is signed. A card that is not an object has none.
pub(super) fn signed_part(card: &Value) -> Value {
    fit(card, &CARD).unwrap_or(Value::Null)
}

/// The bytes that a card's signatures cover; `None` for what is no card.
#[must_use]
pub fn canonical(card: &Value) -> Option<Vec<u8>> {
    let part = signed_part(card);
    part.is_object().then(|| serde_json_canonicalizer::to_vec(&part).ok())?
}

/// What remains of a value in a place: `None` if that is nothing, or not what belongs there.
fn fit(value: &Value, shape: &Shape) -> Option<Value> {
    let is_said = match (shape, value) {
        (Text, Value::String(text)) => !text.is_empty(),
        (Flag, Value::Bool(flag)) => *flag,
        (Choice, Value::Bool(_)) => true,
        (Any, _) => return without_empties(value),
        (List(of), Value::Array(items)) => {
            let items: Vec<Value> = items.iter().filter_map(|item| fit(item, of)).collect();
            return (!items.is_empty()).then_some(Value::Array(items));
        }
        (Shape::Map(of), Value::Object(members)) => {
            return object(members.iter().filter_map(|(name, value)| Some((name.clone(), fit(value, of)?))));
        }
        (Object(known), Value::Object(members)) => {
            let known = known.iter();
            return object(
                known.filter_map(|(name, of)| Some(((*name).to_owned(), fit(members.get(*name)?, of)?))),
            );
        }
        _ => false,
    };
    is_said.then(|| value.clone())
}

fn object(members: impl Iterator<Item = (String, Value)>) -> Option<Value> {
    let members: Map<String, Value> = members.collect();
    (!members.is_empty()).then_some(Value::Object(members))
}

fn without_empties(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::Array(items) => {
            let items: Vec<Value> = items.iter().filter_map(without_empties).collect();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        Value::Object(members) => {
            let kept = |(name, value): (&String, &Value)| Some((name.clone(), without_empties(value)?));
            object(members.iter().filter_map(kept))
        }
        other => Some(other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_signed_is_the_1_0_card_without_empties() {
        let card = json!({
            "name": "n", "description": "", "skills": [], "url": "http://a", "protocolVersion": "0.3", "kind": "agent",
            "supportedInterfaces": [{"url": "http://a", "protocolBinding": "JSONRPC", "tenant": "", "x": 1}],
            "capabilities": {
                "streaming": false, "extendedAgentCard": null,
                "extensions": [{"uri": "u", "required": false, "params": {"a": "", "b": [{}], "c": 1, "d": false}}],
            },
            "securitySchemes": {"o": {"type": "oauth2", "flows": {}, "oauth2SecurityScheme": {
                "flows": {"clientCredentials": {"tokenUrl": "t", "scopes": {"a": "b", "c": ""}}}}}},
            "securityRequirements": [{"schemes": {"o": {"list": []}}}],
            "signatures": [{"protected": "x", "signature": "y"}],
        });
        let want = json!({
            "name": "n",
            "supportedInterfaces": [{"url": "http://a", "protocolBinding": "JSONRPC"}],
            "capabilities": {"streaming": false, "extensions": [{"uri": "u", "params": {"c": 1, "d": false}}]},
            "securitySchemes": {"o": {"oauth2SecurityScheme": {
                "flows": {"clientCredentials": {"tokenUrl": "t", "scopes": {"a": "b"}}}}}},
        });
        assert_eq!(signed_part(&card), want);
        for odd in [json!(null), json!([]), json!("card"), json!({}), json!({"name": 1})] {
            assert_eq!(canonical(&odd), None, "{odd}");
        }
    }

    /// RFC 8785, 3.2.2, 3.2.3 and appendix B: the serialisation of values, the order of names, numbers.
    #[test]
    fn canonical_json_is_the_rfcs() {
        let canonical = |text: &str| {
            let value: Value = serde_json::from_str(text).expect("JSON");
            serde_json_canonicalizer::to_string(&value).expect("it has a canonical form")
        };
        assert_eq!(
            canonical(
                r#"{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
                    "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}"#
            ),
            "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
             \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
        );
        assert_eq!(
            canonical(
                "{\"\\u20ac\":\"Euro Sign\",\"\\r\":\"Carriage Return\",\"\\ufb33\":\"Hebrew Letter Dalet With Dagesh\",\
                 \"1\":\"One\",\"\\ud83d\\ude00\":\"Emoji: Grinning Face\",\"\\u0080\":\"Control\",\
                 \"\\u00f6\":\"Latin Small Letter O With Diaeresis\"}"
            ),
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\
             \"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}"
        );
        for (bits, want) in [
            (0x0000_0000_0000_0000_u64, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        ] {
            let number = serde_json::Number::from_f64(f64::from_bits(bits)).expect("finite");
            let shown = serde_json_canonicalizer::to_string(&Value::Number(number)).expect("a number");
            assert_eq!(shown, want, "{bits:x}");
        }
    }
}
