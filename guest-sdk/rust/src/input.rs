//! From the bytes of a request to the scorer's input, or to an error that tells the client what to change.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;

use crate::fault::{Fault, Result};

/// Parses a body that has to be a JSON object of the form of `T`.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    // serde takes an array for a struct, too; a request has to be an object.
    if body.trim_ascii_start().first() == Some(&b'{')
        && let Ok(input) = serde_json::from_slice(body)
    {
        return Ok(input);
    }
    Err(diagnose::<T>(body))
}

/// Says why `parse` refuses the body. Apart from it, so that good input pays for no bookkeeping.
#[cold]
fn diagnose<T: DeserializeOwned>(body: &[u8]) -> Fault {
    if body.is_empty() {
        return Fault::bad_input("POST body is empty. Expecting a JSON dictionary.");
    }
    if let Err(error) = std::str::from_utf8(body) {
        return not_json(error);
    }
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(body) {
        return not_json(error);
    }
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Fault::bad_input("POST body should be a JSON dictionary.");
    }
    match serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_slice(body)) {
        Ok(_) => Fault::failed("the input's Deserialize refused a value that it takes at a second try"),
        Err(error) if error.inner().classify() == Category::Data => misfit(error.path(), error.inner()),
        Err(error) => not_json(error.inner()),
    }
}

fn not_json(error: impl std::fmt::Display) -> Fault {
    Fault::bad_input(format!("POST body could not be decoded as JSON: {error}"))
}

/// JSON, but not of the form that the scorer takes.
fn misfit(path: &serde_path_to_error::Path, error: &serde_json::Error) -> Fault {
    let at_root = path.iter().next().is_none();
    let message = error.to_string();
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    Fault::bad_input(match (missing, at_root) {
        (Some(field), true) => format!("A value is not provided for the '{field}' parameter."),
        (Some(field), false) => format!("A value is not provided for the '{path}.{field}' parameter."),
        (None, true) => format!("POST body cannot be used: {message}"),
        (None, false) => format!("The value of the '{path}' parameter cannot be used: {message}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    struct Rows {
        data: Vec<Vec<f64>>,
        #[serde(default)]
        named: Vec<Named>,
    }

    #[derive(Debug, Deserialize)]
    struct Named {
        #[expect(dead_code, reason = "only its presence matters")]
        name: String,
    }

    fn refused(body: &[u8], message: &str) {
        match parse::<Rows>(body) {
            Err(Fault::BadInput(text)) => assert_eq!(text, message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn good_input_is_taken() {
        for body in [r#"{"data": [[0.1]]}"#, " \r\n{\"data\": [[0.1]], \"more\": 1}\n", "\u{feff}{\"data\": [[0.1]]}"] {
            let rows: Rows = parse(body.as_bytes()).unwrap_or_else(|fault| panic!("{body}: {fault}"));
            assert_eq!(rows.data, [[0.1]]);
            assert!(rows.named.is_empty());
        }
    }

    #[test]
    fn a_number_is_the_nearest_double() {
        for text in ["0.1", "5.1", "9007199254740993", "2.2250738585072011e-308", "5e-324", "1.7976931348623157e308"] {
            let rows: Rows = parse(format!(r#"{{"data": [[{text}]]}}"#).as_bytes()).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(Ok(rows.data[0][0].to_bits()), text.parse().map(f64::to_bits), "{text}");
        }
    }

    #[test]
    fn an_empty_body_is_refused() {
        refused(b"", "POST body is empty. Expecting a JSON dictionary.");
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        refused(b"{\"data\"", "POST body could not be decoded as JSON: EOF while parsing an object at line 1 column 7");
        refused(b"[1,]", "POST body could not be decoded as JSON: expected value at line 1 column 4");
        refused(b"{\"data\": []} x", "POST body could not be decoded as JSON: trailing characters at line 1 column 14");
        refused(
            b"{\"data\": [[1e999]]}",
            "POST body could not be decoded as JSON: number out of range at line 1 column 16",
        );
        refused(
            b"{\"data\": \"\xff\"}",
            "POST body could not be decoded as JSON: invalid utf-8 sequence of 1 bytes from index 10",
        );
        let deep = "[".repeat(1000);
        refused(
            format!("{{\"data\": {deep}").as_bytes(),
            "POST body could not be decoded as JSON: EOF while parsing a list at line 1 column 1009",
        );
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in ["[[[1.0]]]", "null", "1", "\"data\"", " []"] {
            refused(body.as_bytes(), "POST body should be a JSON dictionary.");
        }
    }

    #[test]
    fn a_missing_value_is_named() {
        refused(b"{}", "A value is not provided for the 'data' parameter.");
        refused(
            b"{\"data\": [], \"named\": [{\"name\": \"a\"}, {}]}",
            "A value is not provided for the 'named[1].name' parameter.",
        );
    }

    #[test]
    fn a_value_of_another_form_is_named_with_what_was_expected() {
        refused(
            b"{\"data\": [[1.0, \"x\"]]}",
            "The value of the 'data[0][1]' parameter cannot be used: \
             invalid type: string \"x\", expected f64 at line 1 column 19",
        );
        refused(
            b"{\"data\": null}",
            "The value of the 'data' parameter cannot be used: \
             invalid type: null, expected a sequence at line 1 column 13",
        );
    }
}
