//! The parameters of a GET request as the input of the scorer.
//!
//! The rule is that of the contract of Azure ML's inference server 1.5.1: the query becomes a JSON object with a
//! member for each parameter, in the order of first appearance. A value that is JSON, in [Python's
//! dialect](crate::python_json), is that value; another is the string itself. A parameter that appears more than once
//! is an array.

use std::borrow::Cow;

use indexmap::IndexMap;

use crate::python_json::{self, PyStr, Value, write_escaped};

/// The JSON text of the query, in Python's style: `a=1&b=x&b=[2]` → `{"a": 1, "b": ["x", [2]]}`; no query → `{}`.
///
/// `query` is what follows the `?`, as sent: percent-encoded, `+` for a space. `;` separates nothing, and a parameter
/// without `=` is empty. Every query has a text: what cannot be decoded stays as it is.
///
/// A value that nests deeper than [`python_json::MAX_DEPTH`] is a string. (The real server answers 500.)
#[must_use]
pub fn query_to_json(query: Option<&str>) -> String {
    let Some(query) = query.filter(|query| !query.is_empty()) else {
        return "{}".to_owned();
    };
    // The first value of each parameter, and the others.
    let mut parameters: IndexMap<PyStr, (Value, Vec<Value>)> = IndexMap::new();
    for (name, value) in pairs(query) {
        let text = decode(value);
        let value = python_json::parse(&text).unwrap_or_else(|_| Value::string(&text));
        match parameters.entry(PyStr::from(&*decode(name))) {
            indexmap::map::Entry::Vacant(entry) => {
                entry.insert((value, Vec::new()));
            }
            indexmap::map::Entry::Occupied(entry) => entry.into_mut().1.push(value),
        }
    }
    let mut out = String::with_capacity(query.len() * 2 + 2);
    out.push('{');
    for (index, (name, (first, others))) in parameters.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write_escaped(name, &mut out);
        out.push_str(": ");
        if others.is_empty() {
            first.write(&mut out);
            continue;
        }
        out.push('[');
        first.write(&mut out);
        for value in others {
            out.push_str(", ");
            value.write(&mut out);
        }
        out.push(']');
    }
    out.push('}');
    out
}

/// The first value of the parameter `name`, decoded; none when the query has no such parameter. Names are compared
/// with their case.
#[must_use]
pub fn first_value<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, str>> {
    pairs(query?).find(|(candidate, _)| decode(candidate) == name).map(|(_, value)| decode(value))
}

/// Names and values of the parameters, still encoded.
fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let fields = query.split('&').filter(|field| !field.is_empty());
    fields.map(|field| field.split_once('=').unwrap_or((field, "")))
}

/// Decodes a name or value.
fn decode(text: &str) -> Cow<'_, str> {
    percent_decode(text, true)
}

/// Decodes `%XX`, and `+` when it is a space. `%` without two hexadecimal digits stays; bytes that are no UTF-8 stay
/// encoded, with upper-case digits.
pub(crate) fn percent_decode(text: &str, plus_is_space: bool) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+' && plus_is_space) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match (byte, tail) {
            (b'+', _) if plus_is_space => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            _ => bytes.push(*byte),
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) => Cow::Owned(text),
        Err(error) => Cow::Owned(encode_invalid(error.as_bytes())),
    }
}

fn encode_invalid(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 0xf)]));
        }
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_query_becomes_a_json_object() {
        for (query, expected) in [
            ("", "{}"),
            (
                "a=1&b=[1,2]&c=a&d=null&e=true&f=1.5&g=%22q%22&h=%7B%22x%22%3A%22y%22%7D",
                r#"{"a": 1, "b": [1, 2], "c": "a", "d": null, "e": true, "f": 1.5, "g": "q", "h": {"x": "y"}}"#,
            ),
            ("foo=1&foo=&foo=null", r#"{"foo": [1, "", null]}"#),
            ("a=1&b=2&a=3", r#"{"a": [1, 3], "b": 2}"#),
            ("a=", r#"{"a": ""}"#),
            ("a", r#"{"a": ""}"#),
            ("=", r#"{"": ""}"#),
            ("&&", "{}"),
            ("&&a=1&=2", r#"{"a": 1, "": 2}"#),
            ("a==1", r#"{"a": "=1"}"#),
            ("a%5B%5D=1&%20k=2", r#"{"a[]": 1, " k": 2}"#),
            ("a=1;b=2", r#"{"a": "1;b=2"}"#),
            ("a=x+y%2Bz", r#"{"a": "x y+z"}"#),
            ("a+b=+1+", r#"{"a b": 1}"#),
            ("a=NaN&b=Infinity&c=-Infinity&d=1e400", r#"{"a": NaN, "b": Infinity, "c": -Infinity, "d": Infinity}"#),
            (
                "a=01&b=.5&c=1e3&d=-0&e=1.0&f=1.&g=-",
                r#"{"a": "01", "b": ".5", "c": 1000.0, "d": 0, "e": 1.0, "f": "1.", "g": "-"}"#,
            ),
            ("a=%E4%B8%96", r#"{"a": "\u4e16"}"#),
            ("a=世", r#"{"a": "\u4e16"}"#),
            ("a=%FF", r#"{"a": "%FF"}"#),
            ("a=%ffx%e4%b8", r#"{"a": "%FFx%E4%B8"}"#),
            ("a=%ed%a0%80", r#"{"a": "%ED%A0%80"}"#),
            ("a=%zz%4&b=%", r#"{"a": "%zz%4", "b": "%"}"#),
            ("a=%22%0A%22&b=%22%5Cud800%22", r#"{"a": "\"\n\"", "b": "\ud800"}"#),
            ("a=%EF%BB%BF1", r#"{"a": "\ufeff1"}"#),
            ("a=18446744073709551616", r#"{"a": 18446744073709551616}"#),
            ("a={\"x\":1,\"y\":2,\"x\":3}", r#"{"a": {"x": 3, "y": 2}}"#),
            ("a=%00", r#"{"a": "\u0000"}"#),
        ] {
            assert_eq!(query_to_json(Some(query)), expected, "{query}");
        }
        assert_eq!(query_to_json(None), "{}");
    }

    #[test]
    fn what_python_refuses_stays_a_string() {
        let digits = "9".repeat(4301);
        assert_eq!(query_to_json(Some(&format!("a={digits}"))), format!("{{\"a\": \"{digits}\"}}"));
        let nested = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(query_to_json(Some(&format!("a={nested}"))), format!("{{\"a\": \"{nested}\"}}"));
    }

    #[test]
    fn the_first_value_of_a_parameter_counts() {
        for (query, expected) in [
            (None, None),
            (Some(""), None),
            (Some("version=3&version=2"), Some("3")),
            (Some("Version=3"), None),
            (Some("version"), Some("")),
            (Some("a=1&ver%73ion=3%2E1"), Some("3.1")),
        ] {
            assert_eq!(first_value(query, "version").as_deref(), expected, "{query:?}");
        }
    }

    proptest! {
        #[test]
        fn every_query_gives_an_object_of_ascii_json(query in "[a-c=&%0-9A-F+\\[\\]{}\",: \u{e9}]{0,60}") {
            let text = query_to_json(Some(&query));
            prop_assert!(text.is_ascii());
            prop_assert!(matches!(python_json::parse(&text), Ok(Value::Object(_))), "{}", text);
        }
    }
}
