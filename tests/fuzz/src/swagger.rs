//! OpenAPI documents: made of a scorer's schemas, or given by the user.

use std::collections::BTreeMap;

use bytes::Bytes;
use scorebox_server::input::InputMode;
use scorebox_server::python_json::{self, Object, PyStr, Value};
use scorebox_server::swagger::{ScorerSchema, Service, Swagger, SwaggerVersion};

use crate::texts;

/// Deeper than any document that is made.
const DEPTH: usize = 1000;
/// Keys whose values are the user's data, and no schemas.
const DATA: [&str; 6] = ["const", "default", "enum", "example", "examples", "properties"];

/// Seven parts: the name, version and prefix of the service, the schemas of input and output (none where they are empty),
/// and the user's documents of versions 2 and 3.
pub fn check(data: &[u8]) {
    let [name, version, path_prefix, input, output, swagger, swagger3] = texts(data);
    let service = Service { name: &name, version: &version, path_prefix: &path_prefix };
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let schema =
        ScorerSchema { mode: InputMode::Json, input: given(&input), output: given(&output), versions: Vec::new() };
    let files: BTreeMap<_, _> = [("swagger.json", swagger), ("swagger3.json", swagger3)]
        .into_iter()
        .filter_map(|(name, text)| Some((name.to_owned(), Bytes::from(given(&text)?))))
        .collect();
    let Ok(documents) = Swagger::build(&service, &schema, &files) else { return };
    for version in SwaggerVersion::ALL {
        let document = documents.document(Some(&version.to_string())).expect("there is one of each version");
        let document = std::str::from_utf8(&document).expect("it is text");
        let value = python_json::parse_nested(document, DEPTH).expect("it is JSON");
        assert_eq!(value.to_string(), document, "it is written as Python writes it");
        if let Some((_, file)) = documents.from_files().iter().find(|(of, _)| *of == version) {
            let text = std::str::from_utf8(&files[*file]).expect("it was a text");
            assert_eq!(python_json::parse(text).expect("it was JSON").to_string(), document);
            continue;
        }
        let (info, definitions) = match (&value, version) {
            (Value::Object(document), SwaggerVersion::V2) => {
                (member(document, "info"), member(document, "definitions"))
            }
            (Value::Object(document), _) => {
                (member(document, "info"), member(member(document, "components"), "schemas"))
            }
            _ => panic!("it is an object"),
        };
        assert_eq!(info.get("title"), Some(&Value::Str(PyStr::from(&*name))));
        let prefix = if version == SwaggerVersion::V2 { "#/definitions/" } else { "#/components/schemas/" };
        assert_known(&value, prefix, definitions);
    }
}

fn member<'a>(object: &'a Object, name: &str) -> &'a Object {
    match object.get(name) {
        Some(Value::Object(member)) => member,
        other => panic!("{name} is {other:?}"),
    }
}

/// What is referred to is there.
fn assert_known(value: &Value, prefix: &str, definitions: &Object) {
    match value {
        Value::Object(members) => {
            if let Some(Value::Str(reference)) = members.get("$ref")
                && let Some(name) = reference.as_escaped().strip_prefix(prefix)
                && let Some(name) =
                    name.split('/').next().filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric()))
            {
                assert!(definitions.contains_key(name), "{} leads nowhere", reference.as_escaped());
            }
            for (name, value) in members {
                let name = name.as_escaped();
                if !DATA.contains(&name) && !name.starts_with("x-") {
                    assert_known(value, prefix, definitions);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| assert_known(item, prefix, definitions)),
        _ => {}
    }
}
