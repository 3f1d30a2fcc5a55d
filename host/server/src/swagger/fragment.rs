//! The schemas that a scorer declares, and what their definitions are called in a document.

use std::collections::BTreeMap;

use super::{BuildError, MAX_FRAGMENT_DEPTH};
use crate::python_json::{self, Object, PyStr, Value};

/// Names that the documents have for themselves.
pub(super) const INPUT: &str = "ServiceInput";
pub(super) const OUTPUT: &str = "ServiceOutput";
const RESERVED: [&str; 3] = [INPUT, OUTPUT, "ErrorResponse"];

/// Definitions of a fragment by their own names, with the names that they get in the document.
pub(super) type Names = BTreeMap<String, String>;

/// A scorer's schema of its input or output.
pub(super) struct Fragment {
    /// `input` or `output`.
    pub(super) what: &'static str,
    /// The schema without its definitions.
    pub(super) schema: Object,
    pub(super) definitions: Object,
}

impl Fragment {
    pub(super) fn parse(what: &'static str, text: Option<&str>) -> Result<Option<Self>, BuildError> {
        let Some(text) = text else {
            return Ok(None);
        };
        let value = python_json::parse_nested(text, MAX_FRAGMENT_DEPTH)
            .map_err(|source| BuildError::FragmentSyntax { fragment: what, source })?;
        let Value::Object(mut schema) = value else {
            return Err(BuildError::FragmentType { fragment: what });
        };
        let mut definitions = Object::new();
        for key in ["$defs", "definitions", "components"] {
            let Some(Value::Object(members)) = schema.get(key) else {
                continue;
            };
            let members = match members.get("schemas") {
                Some(Value::Object(schemas)) if key == "components" => schemas,
                _ if key == "components" => continue,
                _ => members,
            };
            definitions.extend(members.clone());
            schema.shift_remove(key);
        }
        Ok(Some(Self { what, schema, definitions }))
    }

    /// The names of the definitions in the document, beside those of `other`: the same where the definitions are the
    /// same ones.
    pub(super) fn definition_names(&self, other: Option<&Self>) -> Names {
        let empty = Object::new();
        let others = other.map_or(&empty, |other| &other.definitions);
        // They refer to each other: they are the same only when all of one name are.
        let shared = self.definitions.iter().all(|(name, schema)| others.get(name).is_none_or(|other| other == schema));
        // Names that are in use, with the number that the next one of this base gets.
        let mut taken: BTreeMap<String, usize> = RESERVED.map(|name| (name.to_owned(), 2)).into();
        let mut names = Names::new();
        if let Some(other) = other {
            let other_names = other.definition_names(None);
            for (name, new_name) in &other_names {
                if shared && self.definitions.contains_key(&**name) {
                    names.insert(name.clone(), new_name.clone());
                }
            }
            taken.extend(other_names.into_values().map(|name| (name, 2)));
        }
        for name in self.definitions.keys().map(PyStr::as_escaped) {
            if names.contains_key(name) {
                continue;
            }
            // What OpenAPI allows in the name of a component.
            let is_allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_');
            let base: String = name.chars().map(|char| if is_allowed(char) { char } else { '_' }).collect();
            let mut new_name = base.clone();
            while taken.contains_key(&new_name) {
                let number = taken.entry(base.clone()).or_insert(2);
                new_name = format!("{base}_{number}");
                *number += 1;
            }
            taken.insert(new_name.clone(), 2);
            names.insert(name.to_owned(), new_name);
        }
        names
    }
}
