//! The query of a GET request, as JSON.

use scorebox_server::python_json::{self, MAX_DEPTH, PyStr, Value};
use scorebox_server::query::{first_value, query_to_json};

/// Any text as a query.
pub fn check(data: &[u8]) {
    let Ok(query) = std::str::from_utf8(data) else { return };
    let json = query_to_json(Some(query));
    assert!(json.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "it is one line of ASCII: {json:?}");

    // Parameters and lists of them are around the values.
    let value = python_json::parse_nested(&json, MAX_DEPTH + 2).expect("it is JSON");
    assert_eq!(value.to_string(), json, "it is written as Python writes it");
    let Value::Object(parameters) = &value else { panic!("it is an object") };

    for field in query.split('&').filter(|field| !field.is_empty()) {
        let (name, text) = field.split_once('=').unwrap_or((field, ""));
        let (Some(name), Some(text)) = (decoded(name), decoded(text)) else { continue };
        let found = parameters.get(&PyStr::from(&*name)).unwrap_or_else(|| panic!("{name:?} is not in {json}"));
        let expected = python_json::parse(&text).unwrap_or_else(|_| Value::string(&text));
        let is_there = |value: &Value| value.to_string() == expected.to_string();
        let in_list = matches!(found, Value::Array(values) if values.iter().any(is_there));
        assert!(is_there(found) || in_list, "{name:?} is {found}, without {expected}");
        assert!(first_value(Some(query), &name).is_some());
    }

    let is_plain = !["NaN", "Infinity", "\\ud"].iter().any(|text| json.contains(text)) && depth(&json) < 120;
    if is_plain && let Err(error) = serde_json::from_str::<serde_json::Value>(&json) {
        assert!(error.to_string().starts_with("number out of range"), "{json}: {error}");
    }
}

/// A text that is well encoded, decoded in the plainest way.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let digits = std::str::from_utf8(&digits).ok().filter(|digits| !digits.starts_with('+'))?;
                u8::from_str_radix(digits, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// How deep brackets nest at most, those in strings counted too.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in json.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
