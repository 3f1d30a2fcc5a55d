//! Schemas in the words of each version of the specification.

#![allow(clippy::doc_markdown, reason = "OpenAPI is a name")]

use std::collections::BTreeMap;

use super::fragment::{Fragment, Names};
use super::{BuildError, SwaggerVersion};
use crate::python_json::{self, Object, PyStr, Value};
use crate::query::percent_decode;

/// Adapts the schemas of one fragment to one version.
pub(super) struct Adapter<'a> {
    pub(super) version: SwaggerVersion,
    pub(super) fragment: &'a Fragment,
    /// Name of the fragment's schema in the document.
    pub(super) component: &'static str,
    pub(super) names: &'a Names,
}

/// Keywords of a schema that are written as they are, by version: those that Swagger 2.0 has, those that OpenAPI 3.0
/// has besides.
const KEYWORDS_2: [&str; 20] = [
    "format",
    "title",
    "description",
    "default",
    "multipleOf",
    "maximum",
    "minimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxProperties",
    "minProperties",
    "required",
    "enum",
    "readOnly",
    "xml",
    "externalDocs",
];
const KEYWORDS_3: [&str; 3] = ["writeOnly", "deprecated", "discriminator"];

impl Adapter<'_> {
    /// Adds the fragment's definitions to those of the document.
    pub(super) fn definitions(&self, definitions: &mut BTreeMap<String, Value>) -> Result<(), BuildError> {
        for (name, schema) in &self.fragment.definitions {
            if let Some(name) = self.names.get(name.as_escaped()) {
                definitions.insert(name.clone(), self.value(schema)?);
            }
        }
        Ok(())
    }

    /// Adapts what stands where a schema stands: an object, or `true` for anything and `false` for nothing.
    fn value(&self, value: &Value) -> Result<Value, BuildError> {
        match value {
            Value::Object(schema) => self.schema(schema),
            Value::Bool(false) if self.version == SwaggerVersion::V3 => {
                Ok(Value::Object([(PyStr::from("not"), Value::Object(Object::new()))].into_iter().collect()))
            }
            Value::Bool(_) if self.version != SwaggerVersion::V3_1 => Ok(Value::Object(Object::new())),
            other => Ok(other.clone()),
        }
    }

    fn values(&self, value: &Value) -> Result<Value, BuildError> {
        match value {
            Value::Array(items) => {
                items.iter().map(|item| self.value(item)).collect::<Result<_, _>>().map(Value::Array)
            }
            other => self.value(other),
        }
    }

    /// Adapts the values of a map from names to schemas.
    fn named(&self, value: &Value) -> Result<Value, BuildError> {
        let Value::Object(members) = value else {
            return Ok(value.clone());
        };
        let adapted = members.iter().map(|(name, schema)| Ok((name.clone(), self.value(schema)?)));
        adapted.collect::<Result<_, _>>().map(Value::Object)
    }

    pub(super) fn schema(&self, schema: &Object) -> Result<Value, BuildError> {
        if self.version == SwaggerVersion::V3_1 {
            return self.schema_3_1(schema);
        }
        let is_2 = self.version == SwaggerVersion::V2;
        let mut out = Object::new();
        let mut nullable = matches!(schema.get("nullable"), Some(Value::Bool(true)));
        for (key, value) in schema {
            let name = key.as_escaped();
            match name {
                "$ref" => {
                    out.insert(key.clone(), self.reference(value)?);
                }
                "type" => {
                    let (kind, null) = type_and_null(value);
                    nullable |= null;
                    if let Some(kind) = kind {
                        out.insert(key.clone(), kind);
                    }
                }
                "properties" => {
                    out.insert(key.clone(), self.named(value)?);
                }
                "additionalProperties" => {
                    // Here 2.0 has `true` and `false`, too.
                    let value = if let Value::Bool(_) = value { value.clone() } else { self.value(value)? };
                    out.insert(key.clone(), value);
                }
                "items" | "prefixItems" => {
                    if let Some(items) = items(schema, name) {
                        out.insert(PyStr::from("items"), self.value(&items)?);
                    }
                }
                "allOf" => {
                    out.insert(key.clone(), self.values(value)?);
                }
                "oneOf" | "anyOf" => nullable |= self.alternatives(key, value, &mut out)?,
                "not" if !is_2 => {
                    out.insert(key.clone(), self.value(value)?);
                }
                "const" if !schema.contains_key("enum") => {
                    if *value == Value::Null {
                        nullable = true;
                    }
                    out.insert(PyStr::from("enum"), Value::Array(vec![value.clone()]));
                }
                "exclusiveMinimum" | "exclusiveMaximum" => exclusive_bound(key, value, &mut out),
                "minimum" | "maximum" => {
                    // An exclusive bound that came before stays.
                    out.entry(key.clone()).or_insert_with(|| value.clone());
                }
                "discriminator" if is_2 => {
                    if let Value::Str(_) = value {
                        out.insert(key.clone(), value.clone());
                    }
                }
                "example" => {
                    out.insert(key.clone(), value.clone());
                }
                "examples" if !schema.contains_key("example") => {
                    if let Value::Array(examples) = value
                        && let Some(example) = examples.first()
                    {
                        out.insert(PyStr::from("example"), example.clone());
                    }
                }
                _ if KEYWORDS_2.contains(&name) || name.starts_with("x-") || !is_2 && KEYWORDS_3.contains(&name) => {
                    out.insert(key.clone(), value.clone());
                }
                _ => {}
            }
        }
        if nullable {
            out.insert(PyStr::from(if is_2 { "x-nullable" } else { "nullable" }), Value::Bool(true));
        }
        Ok(Value::Object(reference_alone(out)))
    }

    /// OpenAPI 3.1 has all of JSON Schema. What is said in the words of 3.0 is said in its own.
    fn schema_3_1(&self, schema: &Object) -> Result<Value, BuildError> {
        let mut out = Object::new();
        for (key, value) in schema {
            let value = match key.as_escaped() {
                "$ref" => self.reference(value)?,
                "nullable" | "exclusiveMinimum" | "exclusiveMaximum" if matches!(value, Value::Bool(_)) => continue,
                "items" if matches!(value, Value::Array(_)) => {
                    out.insert(PyStr::from("prefixItems"), self.values(value)?);
                    continue;
                }
                "additionalItems" if matches!(schema.get("items"), Some(Value::Array(_))) => {
                    out.insert(PyStr::from("items"), self.value(value)?);
                    continue;
                }
                bound @ ("minimum" | "maximum") => {
                    let exclusive = if bound == "minimum" { "exclusiveMinimum" } else { "exclusiveMaximum" };
                    if schema.get(exclusive) == Some(&Value::Bool(true)) {
                        out.insert(PyStr::from(exclusive), value.clone());
                        continue;
                    }
                    value.clone()
                }
                "properties" | "patternProperties" | "dependentSchemas" | "$defs" | "definitions" => {
                    self.named(value)?
                }
                "items"
                | "prefixItems"
                | "allOf"
                | "oneOf"
                | "anyOf"
                | "not"
                | "if"
                | "then"
                | "else"
                | "contains"
                | "additionalProperties"
                | "unevaluatedProperties"
                | "unevaluatedItems"
                | "propertyNames" => self.values(value)?,
                _ => value.clone(),
            };
            out.insert(key.clone(), value);
        }
        if schema.get("nullable") != Some(&Value::Bool(true)) {
            return Ok(Value::Object(out));
        }
        let null = Value::string("null");
        if let Some(kind) = out.get_mut("type") {
            match kind {
                Value::Array(kinds) if kinds.contains(&null) => {}
                Value::Array(kinds) => kinds.push(null),
                kind => *kind = Value::Array(vec![kind.clone(), null]),
            }
        } else {
            // What limits the value without a type has to be an alternative to null.
            let parts = ["$ref", "allOf", "anyOf", "oneOf", "not"].into_iter();
            let other: Object = parts.filter_map(|part| out.shift_remove_entry(part)).collect();
            if !other.is_empty() {
                let null = Value::Object([(PyStr::from("type"), null)].into_iter().collect());
                out.insert(PyStr::from("anyOf"), Value::Array(vec![Value::Object(other), null]));
            }
        }
        Ok(Value::Object(out))
    }

    /// Adapts `oneOf` or `anyOf`. Whether `null` was among the alternatives.
    fn alternatives(&self, key: &PyStr, value: &Value, out: &mut Object) -> Result<bool, BuildError> {
        let Value::Array(alternatives) = value else {
            return Ok(false);
        };
        let others: Vec<&Value> = alternatives.iter().filter(|alternative| !is_null(alternative)).collect();
        let null = others.len() < alternatives.len();
        let adapted: Vec<Value> = others.iter().map(|other| self.value(other)).collect::<Result<_, _>>()?;
        if let [Value::Object(only)] = &*adapted {
            // The only alternative is the schema itself, when the two do not say different things.
            if only.keys().all(|key| !out.contains_key(key)) && !only.contains_key("$ref") {
                out.extend(only.clone());
            } else {
                out.insert(PyStr::from("allOf"), Value::Array(adapted));
            }
        } else if let Some((kind, constants)) = constants(&adapted) {
            out.insert(PyStr::from("type"), kind);
            out.insert(PyStr::from("enum"), Value::Array(constants));
        } else if self.version != SwaggerVersion::V2 && !adapted.is_empty() {
            out.insert(key.clone(), Value::Array(adapted));
        } else if let Some(kind) = common_type(&adapted) {
            out.entry(PyStr::from("type")).or_insert(kind);
        }
        Ok(null)
    }

    /// Where a `$ref` of the fragment points to in the document.
    fn reference(&self, value: &Value) -> Result<Value, BuildError> {
        let Value::Str(reference) = value else {
            return Ok(value.clone());
        };
        let reference = reference.as_escaped();
        let Some(pointer) = reference.strip_prefix('#') else {
            return Ok(value.clone());
        };
        let wrong = || BuildError::Reference { fragment: self.fragment.what, reference: reference.to_owned() };
        // An anchor: the versions have no word for it.
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(wrong());
        }
        let base = self.version.definitions();
        for start in ["/$defs/", "/definitions/", "/components/schemas/"] {
            let Some(path) = pointer.strip_prefix(start) else {
                continue;
            };
            let (name, rest) = path.find('/').map_or((path, ""), |slash| path.split_at(slash));
            let own_name = name.replace("~1", "/").replace("~0", "~");
            // A reference is a URI, in which a name may be percent-encoded.
            let decoded_name = PyStr::from(&*percent_decode(&own_name, false));
            return match self.names.get(&own_name).or_else(|| self.names.get(decoded_name.as_escaped())) {
                Some(name) => Ok(escaped(&format!("{base}{name}{rest}"))),
                None => Err(wrong()),
            };
        }
        Ok(escaped(&format!("{base}{}{pointer}", self.component)))
    }
}

/// A string from its escaped form.
fn escaped(text: &str) -> Value {
    python_json::parse(&format!("\"{text}\"")).unwrap_or(Value::Null)
}

/// The only type in the value of `type`, and whether `null` is among them.
fn type_and_null(value: &Value) -> (Option<Value>, bool) {
    let null = Value::string("null");
    match value {
        Value::Array(kinds) => {
            let mut others = kinds.iter().filter(|kind| **kind != null);
            let only = others.next().cloned().filter(|_| others.next().is_none());
            (only, kinds.contains(&null))
        }
        kind if *kind == null => (None, true),
        kind => (Some(kind.clone()), false),
    }
}

/// The one schema of all items, for the keyword `items` or `prefixItems`. None when the other keyword has it.
fn items(schema: &Object, keyword: &str) -> Option<Value> {
    let (items, rest) = match (keyword, schema.get("prefixItems")) {
        ("items", None) => (schema.get("items")?, schema.get("additionalItems")),
        ("items", Some(_)) => return None,
        (_, prefix) => (prefix?, schema.get("items")),
    };
    let Value::Array(items) = items else {
        return Some(items.clone());
    };
    // The items of a tuple have schemas of their own, which are one only when they are equal, those of the items after
    // them included.
    let anything = || Value::Object(Object::new());
    let Some((first, others)) = items.split_first() else {
        return Some(rest.cloned().unwrap_or_else(anything));
    };
    let is_closed = rest == Some(&Value::Bool(false))
        || matches!(schema.get("maxItems"), Some(Value::Int(count)) if **count == *items.len().to_string());
    let is_one = others.iter().all(|other| other == first) && (is_closed || rest == Some(first));
    Some(if is_one { first.clone() } else { anything() })
}

/// `exclusiveMinimum: 0` → `minimum: 0, exclusiveMinimum: true`.
fn exclusive_bound(key: &PyStr, value: &Value, out: &mut Object) {
    if let Value::Int(_) | Value::Float(_) = value {
        let bound = if key.as_escaped() == "exclusiveMinimum" { "minimum" } else { "maximum" };
        out.insert(PyStr::from(bound), value.clone());
        out.insert(key.clone(), Value::Bool(true));
    } else {
        out.insert(key.clone(), value.clone());
    }
}

/// What stands beside a reference is ignored; with `allOf` around the reference it counts.
fn reference_alone(mut schema: Object) -> Object {
    if schema.len() < 2 {
        return schema;
    }
    let Some((index, key, reference)) = schema.shift_remove_full("$ref") else {
        return schema;
    };
    let reference = Value::Object([(key, reference)].into_iter().collect());
    if let Some(Value::Array(all)) = schema.get_mut("allOf") {
        all.push(reference);
    } else {
        schema.shift_insert(index, PyStr::from("allOf"), Value::Array(vec![reference]));
    }
    schema
}

/// Whether a schema allows `null` only.
fn is_null(schema: &Value) -> bool {
    let Value::Object(schema) = schema else {
        return false;
    };
    schema.get("type") == Some(&Value::string("null"))
        || schema.get("const") == Some(&Value::Null)
        || schema.get("enum") == Some(&Value::Array(vec![Value::Null]))
}

/// The type of which all alternatives are.
fn common_type(alternatives: &[Value]) -> Option<Value> {
    let kind = |alternative: &Value| match alternative {
        Value::Object(schema) => schema.get("type").cloned(),
        _ => None,
    };
    let first = kind(alternatives.first()?)?;
    alternatives.iter().all(|alternative| kind(alternative).as_ref() == Some(&first)).then_some(first)
}

/// Type and values of alternatives that are constants of one type: the variants of an enum.
fn constants(alternatives: &[Value]) -> Option<(Value, Vec<Value>)> {
    let kind = common_type(alternatives)?;
    let mut all = Vec::new();
    for alternative in alternatives {
        let Value::Object(schema) = alternative else {
            return None;
        };
        let Some(Value::Array(values)) = schema.get("enum") else {
            return None;
        };
        if schema.keys().any(|key| !matches!(key.as_escaped(), "type" | "enum" | "title" | "description")) {
            return None;
        }
        all.extend(values.iter().cloned());
    }
    Some((kind, all))
}
