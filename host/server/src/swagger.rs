//! The documents of `/swagger.json`: Swagger 2.0, OpenAPI 3.0 and OpenAPI 3.1.
//!
//! Texts, the order of keys and the spacing are those of the contract of Azure ML's inference server 1.5.1. The
//! documents are made once, at deploy, from the name of the service and the schema of its scorer; answering a request
//! is a clone of some bytes.
//!
//! # Schema fragments
//!
//! A scorer says what it takes and gives in JSON Schema fragments. Those of decorated Python scripts use what all
//! versions have in common and appear unchanged. Others are adapted to each version:
//!
//! - definitions (`$defs`, `definitions`, `components.schemas`) move to where the document has its own, and references
//!   follow them; two different definitions of one name get different names;
//! - what a version has no word for is said in its words (`const` → `enum`, `type: [T, "null"]` ↔ `nullable`,
//!   alternatives of constants → `enum`, ...) or left out, so that the schema allows more, never less;
//! - in 2.0 `nullable` is the customary `x-nullable`.

#![allow(clippy::doc_markdown, reason = "OpenAPI is a name")]

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::input::InputMode;
use crate::python_json::{self, Object, ParseError, PyStr, Value};
use crate::query::percent_decode;

/// How deep a fragment may nest, in arrays and objects around a value.
pub const MAX_FRAGMENT_DEPTH: usize = 128;

/// A version of the Swagger (OpenAPI) specification. `Display` is its short name: `2`, `3`, `3.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SwaggerVersion {
    /// Swagger 2.0
    V2,
    /// OpenAPI 3.0
    V3,
    /// OpenAPI 3.1
    V3_1,
}

impl SwaggerVersion {
    /// All versions, in order.
    pub const ALL: [Self; 3] = [Self::V2, Self::V3, Self::V3_1];

    fn from_name(name: &str) -> Option<Self> {
        match name {
            "2" | "2.0" => Some(Self::V2),
            "3" | "3.0" => Some(Self::V3),
            "3.1" => Some(Self::V3_1),
            _ => None,
        }
    }

    /// Names of the files with which a user gives this version's document, the first one first.
    #[must_use]
    pub fn user_files(self) -> &'static [&'static str] {
        match self {
            Self::V2 => &["swagger.json", "swagger2.json"],
            Self::V3 => &["swagger3.json"],
            Self::V3_1 => &["swagger3.1.json"],
        }
    }

    /// What a reference to a definition begins with.
    fn definitions(self) -> &'static str {
        match self {
            Self::V2 => "#/definitions/",
            Self::V3 | Self::V3_1 => "#/components/schemas/",
        }
    }
}

impl fmt::Display for SwaggerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V2 => "2",
            Self::V3 => "3",
            Self::V3_1 => "3.1",
        })
    }
}

/// What the documents call the service.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    /// `SERVICE_NAME`, any text.
    pub name: &'a str,
    /// `SERVICE_VERSION`, any text.
    pub version: &'a str,
    /// `SERVICE_PATH_PREFIX`: with or without `/` around it, empty for none. It appears in the documents only.
    pub path_prefix: &'a str,
}

/// What a scorer says about itself.
#[derive(Clone, Debug)]
pub struct ScorerSchema {
    /// How it wants its input.
    pub mode: InputMode,
    /// JSON Schema of the input, the text of an object; none when undeclared.
    pub input: Option<String>,
    /// JSON Schema of the output, the text of an object; none when undeclared.
    pub output: Option<String>,
    /// Versions in which the two can be written down; empty means all.
    pub versions: Vec<SwaggerVersion>,
}

/// The documents cannot be made. The deployment is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A schema of the scorer is not JSON.
    #[error("the scorer's {fragment} schema is not valid JSON: {source}")]
    FragmentSyntax {
        /// `input` or `output`.
        fragment: &'static str,
        /// What is wrong with it.
        source: ParseError,
    },
    /// A schema of the scorer is JSON, but no object.
    #[error("the scorer's {fragment} schema is not a JSON object")]
    FragmentType {
        /// `input` or `output`.
        fragment: &'static str,
    },
    /// A schema of the scorer refers to a definition that it does not have.
    #[error("the scorer's {fragment} schema refers to {reference}, which it does not define")]
    Reference {
        /// `input` or `output`.
        fragment: &'static str,
        /// The value of `$ref`.
        reference: String,
    },
    /// A file of the user is not text.
    #[error("{file} is not UTF-8")]
    FileEncoding {
        /// Its name.
        file: &'static str,
    },
    /// A file of the user is not JSON.
    #[error("{file} is not valid JSON: {source}")]
    FileSyntax {
        /// Its name.
        file: &'static str,
        /// What is wrong with it.
        source: ParseError,
    },
}

/// There is no document of the version that was asked for. `Display` is the message of the answer, whose status is 404.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SwaggerError {
    /// There is no such version.
    #[error("Swagger version [{version}] is not valid. Supported versions: [{supported}].")]
    Invalid {
        /// The version as it was given.
        version: String,
        /// The versions that there are.
        supported: String,
    },
    /// The scorer's schema cannot be written in this version.
    #[error(
        "Swagger version [{version}] is not supported for the scoring script. Supported swagger versions: [{supported}]."
    )]
    Unsupported {
        /// The version as it was given.
        version: String,
        /// The versions that there are.
        supported: String,
    },
}

/// The documents of one deployment.
#[derive(Clone, Debug)]
pub struct Swagger {
    documents: [Option<Bytes>; 3],
    from_files: Vec<(SwaggerVersion, &'static str)>,
}

impl Swagger {
    /// Makes the documents.
    ///
    /// `user_files` are files of the user by name, of which those of [`SwaggerVersion::user_files`] are looked at: they
    /// are the documents of their versions, whatever the schema says, except when they hold `null`, `false`, zero, or
    /// something empty.
    ///
    /// # Errors
    ///
    /// [`BuildError`] for a fragment or a file that cannot be used.
    pub fn build(
        service: &Service<'_>,
        schema: &ScorerSchema,
        user_files: &BTreeMap<String, Bytes>,
    ) -> Result<Self, BuildError> {
        let input = Fragment::parse("input", schema.input.as_deref())?;
        let output = Fragment::parse("output", schema.output.as_deref())?;
        let mut documents = [const { None }; 3];
        let mut from_files = Vec::new();
        for (document, version) in documents.iter_mut().zip(SwaggerVersion::ALL) {
            *document = if let Some((file, value)) = user_document(version, user_files)? {
                from_files.push((version, file));
                Some(Bytes::from(value.to_string()))
            } else if schema.versions.is_empty() || schema.versions.contains(&version) {
                Some(generate(version, service, input.as_ref(), output.as_ref())?)
            } else {
                None
            };
        }
        Ok(Self { documents, from_files })
    }

    /// The document of a version, for the parameter `version` of the request: `2`, `2.0`, `3`, `3.0`, `3.1`; none
    /// means 2.
    ///
    /// # Errors
    ///
    /// [`SwaggerError`] for another version, or one that the scorer's schema has no document in.
    pub fn document(&self, version: Option<&str>) -> Result<Bytes, SwaggerError> {
        let name = version.unwrap_or("2");
        let supported = || join(self.versions());
        let Some(version) = SwaggerVersion::from_name(name) else {
            return Err(SwaggerError::Invalid { version: name.to_owned(), supported: supported() });
        };
        let document = self.documents[version as usize].clone();
        document.ok_or_else(|| SwaggerError::Unsupported { version: name.to_owned(), supported: supported() })
    }

    /// The versions that there is a document of, in order.
    pub fn versions(&self) -> impl Iterator<Item = SwaggerVersion> + use<'_> {
        self.with_document(true)
    }

    /// The versions whose document is a file of the user, with its name.
    #[must_use]
    pub fn from_files(&self) -> &[(SwaggerVersion, &'static str)] {
        &self.from_files
    }

    /// What to log, by the logger `azmlinfsrv.swagger`, once the documents are made.
    #[must_use]
    pub fn summary(&self) -> String {
        let (prepared, skipped) = (join(self.versions()), join(self.with_document(false)));
        match (prepared.is_empty(), skipped.is_empty()) {
            (true, _) => "No swagger is prepared.".to_owned(),
            (false, true) => format!("Swaggers are prepared for the following versions: [{prepared}]."),
            (false, false) => {
                format!("Swaggers are prepared for versions [{prepared}] and skipped for versions [{skipped}].")
            }
        }
    }

    fn with_document(&self, exists: bool) -> impl Iterator<Item = SwaggerVersion> + use<'_> {
        SwaggerVersion::ALL.into_iter().filter(move |version| self.documents[*version as usize].is_some() == exists)
    }
}

fn join(versions: impl Iterator<Item = SwaggerVersion>) -> String {
    versions.map(|version| version.to_string()).collect::<Vec<_>>().join(", ")
}

/// The document that a user gives for a version: the first of its files that Python takes for true.
fn user_document(
    version: SwaggerVersion,
    files: &BTreeMap<String, Bytes>,
) -> Result<Option<(&'static str, Value)>, BuildError> {
    for &file in version.user_files() {
        let Some(contents) = files.get(file) else {
            continue;
        };
        let text = std::str::from_utf8(contents).map_err(|_| BuildError::FileEncoding { file })?;
        let value = python_json::parse(text).map_err(|source| BuildError::FileSyntax { file, source })?;
        if !value.is_falsy() {
            return Ok(Some((file, value)));
        }
    }
    Ok(None)
}

fn generate(
    version: SwaggerVersion,
    service: &Service<'_>,
    input: Option<&Fragment>,
    output: Option<&Fragment>,
) -> Result<Bytes, BuildError> {
    // Neither declared: the example is empty, too. One declared: the other is any object.
    let undeclared = if input.is_none() && output.is_none() {
        r#"{"type": "object", "example": {}}"#
    } else {
        r#"{"type": "object"}"#
    };
    let output_names = output.map(|output| output.definition_names(input)).unwrap_or_default();
    let input_names = input.map(|input| input.definition_names(None)).unwrap_or_default();
    let mut definitions = BTreeMap::new();
    let mut write = |fragment: Option<&Fragment>, component, names: &Names| match fragment {
        Some(fragment) => {
            let adapter = Adapter { version, fragment, component, names };
            adapter.definitions(&mut definitions)?;
            adapter.schema(&fragment.schema).map(|schema| schema.to_string())
        }
        None => Ok(undeclared.to_owned()),
    };
    let input = write(input, INPUT, &input_names)?;
    let output = write(output, OUTPUT, &output_names)?;

    let prefix = match service.path_prefix {
        "" => String::new(),
        prefix => format!("/{}", prefix.trim_matches('/')),
    };
    let (template, openapi) = match version {
        SwaggerVersion::V2 => (SWAGGER_2, ""),
        SwaggerVersion::V3 => (OPENAPI_3, "3.0.3"),
        SwaggerVersion::V3_1 => (OPENAPI_3, "3.1.0"),
    };
    let mut out = String::with_capacity(template.len() + input.len() + output.len() + 128);
    // Places in the template are names between `@`.
    for (index, piece) in template.split('@').enumerate() {
        match (index % 2, piece) {
            (0, text) => out.push_str(text),
            (_, "OPENAPI") => out.push_str(openapi),
            (_, "NAME") => out.push_str(PyStr::from(service.name).as_escaped()),
            (_, "VERSION") => out.push_str(PyStr::from(service.version).as_escaped()),
            (_, "PREFIX") => out.push_str(PyStr::from(&*prefix).as_escaped()),
            (_, "INPUT") => out.push_str(&input),
            (_, "OUTPUT") => out.push_str(&output),
            (_, "DEFINITIONS") => {
                for (name, schema) in &definitions {
                    out.push_str(", ");
                    python_json::write_str(name, &mut out);
                    out.push_str(": ");
                    schema.write(&mut out);
                }
            }
            (_, other) => unreachable!("the template has no place {other}"),
        }
    }
    Ok(Bytes::from(out))
}

/// Names that the documents have for themselves.
const INPUT: &str = "ServiceInput";
const OUTPUT: &str = "ServiceOutput";
const RESERVED: [&str; 3] = [INPUT, OUTPUT, "ErrorResponse"];

/// Definitions of a fragment by their own names, with the names that they get in the document.
type Names = BTreeMap<String, String>;

/// A scorer's schema of its input or output.
struct Fragment {
    /// `input` or `output`.
    what: &'static str,
    /// The schema without its definitions.
    schema: Object,
    definitions: Object,
}

impl Fragment {
    fn parse(what: &'static str, text: Option<&str>) -> Result<Option<Self>, BuildError> {
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
    fn definition_names(&self, other: Option<&Self>) -> Names {
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

/// Adapts the schemas of one fragment to one version.
struct Adapter<'a> {
    version: SwaggerVersion,
    fragment: &'a Fragment,
    /// Name of the fragment's schema in the document.
    component: &'static str,
    names: &'a Names,
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
    fn definitions(&self, definitions: &mut BTreeMap<String, Value>) -> Result<(), BuildError> {
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

    fn schema(&self, schema: &Object) -> Result<Value, BuildError> {
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

const SWAGGER_2: &str = concat!(
    r#"{"swagger": "2.0", "info": {"title": "@NAME@", "description": "API specification for the Azure Machine "#,
    r#"Learning service @NAME@", "version": "@VERSION@"}, "schemes": ["https"], "consumes": "#,
    r#"["application/json"], "produces": ["application/json"], "securityDefinitions": {"Bearer": {"type": "#,
    r#""apiKey", "name": "Authorization", "in": "header", "description": "For example: Bearer abc123"}}, "#,
    r#""paths": {"@PREFIX@/": {"get": {"operationId": "ServiceHealthCheck", "description": "Simple health "#,
    r#"check endpoint to ensure the service is up at any given point.", "responses": {"200": {"description": "#,
    r#""If service is up and running, this response will be returned with the content 'Healthy'", "schema": "#,
    r#"{"type": "string"}, "examples": {"application/json": "Healthy"}}, "default": {"description": "The "#,
    r##"service failed to execute due to an error.", "schema": {"$ref": "#/definitions/ErrorResponse"}}}}}, "##,
    r#""@PREFIX@/score": {"post": {"operationId": "RunMLService", "description": "Run web service's model and "#,
    r#"get the prediction output", "security": [{"Bearer": []}], "parameters": [{"name": "#,
    r#""serviceInputPayload", "in": "body", "description": "The input payload for executing the real-time "#,
    r##"machine learning service.", "schema": {"$ref": "#/definitions/ServiceInput"}}], "responses": {"200": "##,
    r#"{"description": "The service processed the input correctly and provided a result prediction, if "#,
    r##"applicable.", "schema": {"$ref": "#/definitions/ServiceOutput"}}, "default": {"description": "The "##,
    r##"service failed to execute due to an error.", "schema": {"$ref": "#/definitions/ErrorResponse"}}}}}, "##,
    r#""@PREFIX@/swagger.json": {"get": {"operationId": "GetSwaggerSpec", "description": "Get the Swagger "#,
    r#"specification.", "parameters": [{"name": "version", "in": "query", "required": false, "type": "#,
    r#""integer", "enum": [2, 3]}], "responses": {"200": {"description": "The Swagger specification.", "#,
    r#""schema": {"type": "string"}}, "default": {"description": "The service failed to execute due to an "#,
    r##"error.", "schema": {"$ref": "#/definitions/ErrorResponse"}}}}}}, "definitions": {"ServiceInput": "##,
    r#"@INPUT@, "ServiceOutput": @OUTPUT@, "ErrorResponse": {"type": "object", "properties": {"message": "#,
    r#"{"type": "string"}}}@DEFINITIONS@}}"#,
);

const OPENAPI_3: &str = concat!(
    r#"{"openapi": "@OPENAPI@", "info": {"title": "@NAME@", "description": "API specification for the Azure "#,
    r#"Machine Learning service @NAME@", "version": "@VERSION@"}, "security": [{"Bearer": []}], "paths": "#,
    r#"{"@PREFIX@/": {"get": {"operationId": "ServiceHealthCheck", "description": "Simple health check "#,
    r#"endpoint to ensure the service is up at any given point.", "responses": {"200": {"description": "If "#,
    r#"service is up and running, this response will be returned with the content 'Healthy'", "content": "#,
    r#"{"text/plain": {"schema": {"type": "string", "example": "Healthy"}}}}, "default": {"description": "The "#,
    r#"service failed to execute due to an error.", "content": {"application/json": {"schema": {"$ref": "#,
    r##""#/components/schemas/ErrorResponse"}}}}}}}, "@PREFIX@/score": {"post": {"operationId": "RunMLService", "##,
    r#""description": "Run web service's model and get the prediction output", "security": [{"Bearer": []}], "#,
    r#""requestBody": {"description": "The input payload for executing the real-time machine learning "#,
    r##"service.", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ServiceInput"}}}}, "##,
    r#""responses": {"200": {"description": "The service processed the input correctly and provided a result "#,
    r#"prediction, if applicable.", "content": {"application/json": {"schema": {"$ref": "#,
    r##""#/components/schemas/ServiceOutput"}}}}, "default": {"description": "The service failed to execute due "##,
    r#"to an error.", "content": {"application/json": {"schema": {"$ref": "#,
    r##""#/components/schemas/ErrorResponse"}}}}}}}, "@PREFIX@/swagger.json": {"get": {"operationId": "##,
    r#""GetSwaggerSpec", "description": "Get the Swagger specification.", "parameters": [{"name": "version", "#,
    r#""in": "query", "required": false, "schema": {"type": "integer", "enum": [2, 3]}}], "responses": {"200": "#,
    r#"{"description": "The Swagger specification.", "content": {"text/plain": {"schema": {"type": "#,
    r#""string"}}}}, "default": {"description": "The service failed to execute due to an error.", "content": "#,
    r##"{"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}}}}}}, "components": "##,
    r#"{"schemas": {"ServiceInput": @INPUT@, "ServiceOutput": @OUTPUT@, "ErrorResponse": {"type": "object", "#,
    r#""properties": {"message": {"type": "string"}}}@DEFINITIONS@}, "securitySchemes": {"Bearer": {"type": "#,
    r#""apiKey", "name": "Authorization", "in": "header", "description": "For example: Bearer abc123"}}}}"#,
);

#[cfg(test)]
mod tests {
    use super::*;

    const ML_SERVICE: Service<'_> = Service { name: "ML service", version: "1.0", path_prefix: "" };

    fn schema(input: Option<&str>, output: Option<&str>) -> ScorerSchema {
        let (input, output) = (input.map(str::to_owned), output.map(str::to_owned));
        ScorerSchema { mode: InputMode::Json, input, output, versions: Vec::new() }
    }

    fn build(schema: &ScorerSchema) -> Swagger {
        Swagger::build(&ML_SERVICE, schema, &BTreeMap::new()).unwrap()
    }

    fn text(swagger: &Swagger, version: &str) -> String {
        String::from_utf8(swagger.document(Some(version)).unwrap().to_vec()).unwrap()
    }

    /// The part of a document from `"ServiceInput"` to the end of the definitions.
    fn definitions(document: &str) -> &str {
        let start = document.find("\"ServiceInput\": ").unwrap();
        let end = document.find(", \"securitySchemes\"").unwrap_or(document.len() - 1);
        &document[start..end - 1]
    }

    const ERROR_RESPONSE: &str =
        r#""ErrorResponse": {"type": "object", "properties": {"message": {"type": "string"}}}"#;

    /// What becomes of an input fragment in the three versions.
    #[track_caller]
    fn check(fragment: &str, expected: [&str; 3]) {
        let swagger = build(&schema(Some(fragment), None));
        for (version, expected) in ["2", "3", "3.1"].into_iter().zip(expected) {
            let document = text(&swagger, version);
            assert!(python_json::parse(&document).is_ok());
            let expected =
                format!("\"ServiceInput\": {expected}, \"ServiceOutput\": {{\"type\": \"object\"}}, {ERROR_RESPONSE}");
            assert!(
                definitions(&document).starts_with(&expected),
                "{version}:\n{}\n{expected}",
                definitions(&document)
            );
        }
    }

    #[test]
    fn the_document_of_version_2_is_that_of_the_contract() {
        let input = r#"{"type": "object", "properties": {"num": {"type": "integer", "format": "int64"}}, "example": {"num": 1}}"#;
        let output = r#"{"type": "integer", "format": "int64", "example": 11}"#;
        let expected = r##"{"swagger": "2.0", "info": {"title": "ML service", "description": "API specification for the Azure Machine Learning service ML service", "version": "1.0"}, "schemes": ["https"], "consumes": ["application/json"], "produces": ["application/json"], "securityDefinitions": {"Bearer": {"type": "apiKey", "name": "Authorization", "in": "header", "description": "For example: Bearer abc123"}}, "paths": {"/": {"get": {"operationId": "ServiceHealthCheck", "description": "Simple health check endpoint to ensure the service is up at any given point.", "responses": {"200": {"description": "If service is up and running, this response will be returned with the content 'Healthy'", "schema": {"type": "string"}, "examples": {"application/json": "Healthy"}}, "default": {"description": "The service failed to execute due to an error.", "schema": {"$ref": "#/definitions/ErrorResponse"}}}}}, "/score": {"post": {"operationId": "RunMLService", "description": "Run web service's model and get the prediction output", "security": [{"Bearer": []}], "parameters": [{"name": "serviceInputPayload", "in": "body", "description": "The input payload for executing the real-time machine learning service.", "schema": {"$ref": "#/definitions/ServiceInput"}}], "responses": {"200": {"description": "The service processed the input correctly and provided a result prediction, if applicable.", "schema": {"$ref": "#/definitions/ServiceOutput"}}, "default": {"description": "The service failed to execute due to an error.", "schema": {"$ref": "#/definitions/ErrorResponse"}}}}}, "/swagger.json": {"get": {"operationId": "GetSwaggerSpec", "description": "Get the Swagger specification.", "parameters": [{"name": "version", "in": "query", "required": false, "type": "integer", "enum": [2, 3]}], "responses": {"200": {"description": "The Swagger specification.", "schema": {"type": "string"}}, "default": {"description": "The service failed to execute due to an error.", "schema": {"$ref": "#/definitions/ErrorResponse"}}}}}}, "definitions": {"ServiceInput": {"type": "object", "properties": {"num": {"type": "integer", "format": "int64"}}, "example": {"num": 1}}, "ServiceOutput": {"type": "integer", "format": "int64", "example": 11}, "ErrorResponse": {"type": "object", "properties": {"message": {"type": "string"}}}}}"##;
        let swagger = build(&schema(Some(input), Some(output)));
        assert_eq!(text(&swagger, "2"), expected);
        assert_eq!(swagger.document(None), swagger.document(Some("2.0")));
    }

    #[test]
    fn the_documents_of_version_3_are_those_of_the_contract() {
        let input = r#"{"type": "object", "properties": {"data": {"type": "array", "items": {"type": "array", "items": {"type": "number", "format": "double"}}, "format": "numpy.ndarray"}}, "example": {"data": [[1.0, 2.0, 3.0]]}}"#;
        let output = r#"{"type":"array","items":{"type":"number","format":"double"},"example":[3726.995],"format":"numpy.ndarray"}"#;
        let expected = r##"{"openapi": "3.0.3", "info": {"title": "ML service", "description": "API specification for the Azure Machine Learning service ML service", "version": "1.0"}, "security": [{"Bearer": []}], "paths": {"/": {"get": {"operationId": "ServiceHealthCheck", "description": "Simple health check endpoint to ensure the service is up at any given point.", "responses": {"200": {"description": "If service is up and running, this response will be returned with the content 'Healthy'", "content": {"text/plain": {"schema": {"type": "string", "example": "Healthy"}}}}, "default": {"description": "The service failed to execute due to an error.", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}}}}}, "/score": {"post": {"operationId": "RunMLService", "description": "Run web service's model and get the prediction output", "security": [{"Bearer": []}], "requestBody": {"description": "The input payload for executing the real-time machine learning service.", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ServiceInput"}}}}, "responses": {"200": {"description": "The service processed the input correctly and provided a result prediction, if applicable.", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ServiceOutput"}}}}, "default": {"description": "The service failed to execute due to an error.", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}}}}}, "/swagger.json": {"get": {"operationId": "GetSwaggerSpec", "description": "Get the Swagger specification.", "parameters": [{"name": "version", "in": "query", "required": false, "schema": {"type": "integer", "enum": [2, 3]}}], "responses": {"200": {"description": "The Swagger specification.", "content": {"text/plain": {"schema": {"type": "string"}}}}, "default": {"description": "The service failed to execute due to an error.", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}}}}}}, "components": {"schemas": {"ServiceInput": {"type": "object", "properties": {"data": {"type": "array", "items": {"type": "array", "items": {"type": "number", "format": "double"}}, "format": "numpy.ndarray"}}, "example": {"data": [[1.0, 2.0, 3.0]]}}, "ServiceOutput": {"type": "array", "items": {"type": "number", "format": "double"}, "example": [3726.995], "format": "numpy.ndarray"}, "ErrorResponse": {"type": "object", "properties": {"message": {"type": "string"}}}}, "securitySchemes": {"Bearer": {"type": "apiKey", "name": "Authorization", "in": "header", "description": "For example: Bearer abc123"}}}}"##;
        let swagger = build(&schema(Some(input), Some(output)));
        assert_eq!(text(&swagger, "3"), expected);
        assert_eq!(text(&swagger, "3.0"), expected);
        assert_eq!(text(&swagger, "3.1"), expected.replace("3.0.3", "3.1.0"));
    }

    #[test]
    fn what_is_undeclared_is_any_object() {
        for (input, output, expected) in [
            (
                None,
                None,
                r#""ServiceInput": {"type": "object", "example": {}}, "ServiceOutput": {"type": "object", "example": {}}"#,
            ),
            (None, Some("{}"), r#""ServiceInput": {"type": "object"}, "ServiceOutput": {}"#),
            (Some("{}"), None, r#""ServiceInput": {}, "ServiceOutput": {"type": "object"}"#),
        ] {
            let swagger = build(&schema(input, output));
            for version in ["2", "3", "3.1"] {
                assert_eq!(definitions(&text(&swagger, version)), format!("{expected}, {ERROR_RESPONSE}"));
            }
        }
    }

    #[test]
    fn names_are_escaped_and_paths_have_the_prefix() {
        for (prefix, expected) in [("", ""), ("/", "/"), ("test", "/test"), ("/api/v1/", "/api/v1")] {
            let service = Service { name: "a \"@VERSION@\" é", version: "7\\1", path_prefix: prefix };
            let swagger = Swagger::build(&service, &schema(None, None), &BTreeMap::new()).unwrap();
            for version in ["2", "3", "3.1"] {
                let document: serde_json::Value = serde_json::from_str(&text(&swagger, version)).unwrap();
                assert_eq!(document["info"]["title"], "a \"@VERSION@\" é");
                assert_eq!(document["info"]["version"], "7\\1");
                let description = "API specification for the Azure Machine Learning service a \"@VERSION@\" é";
                assert_eq!(document["info"]["description"], description);
                let paths: Vec<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
                assert_eq!(paths, ["/", "/score", "/swagger.json"].map(|path| format!("{expected}{path}")));
            }
        }
    }

    #[test]
    fn other_versions_are_refused() {
        let mut declared = schema(None, None);
        let swagger = build(&declared);
        for version in ["4", "3.0a", "3.1.0", ""] {
            assert_eq!(
                swagger.document(Some(version)).unwrap_err().to_string(),
                format!("Swagger version [{version}] is not valid. Supported versions: [2, 3, 3.1].")
            );
        }
        assert_eq!(swagger.summary(), "Swaggers are prepared for the following versions: [2, 3, 3.1].");
        declared.versions = vec![SwaggerVersion::V3_1, SwaggerVersion::V3];
        let swagger = build(&declared);
        for version in [None, Some("2"), Some("2.0")] {
            let name = version.unwrap_or("2");
            assert_eq!(
                swagger.document(version).unwrap_err().to_string(),
                format!(
                    "Swagger version [{name}] is not supported for the scoring script. Supported swagger versions: [3, 3.1]."
                )
            );
        }
        assert!(swagger.document(Some("3")).is_ok());
        assert_eq!(
            swagger.document(Some("1")).unwrap_err().to_string(),
            "Swagger version [1] is not valid. Supported versions: [3, 3.1]."
        );
        assert_eq!(swagger.summary(), "Swaggers are prepared for versions [3, 3.1] and skipped for versions [2].");
    }

    #[test]
    fn files_of_the_user_win() {
        let files = |files: &[(&str, &str)]| -> BTreeMap<String, Bytes> {
            files.iter().map(|(name, text)| ((*name).to_owned(), Bytes::copy_from_slice(text.as_bytes()))).collect()
        };
        let mut declared = schema(None, None);
        declared.versions = vec![SwaggerVersion::V3];
        let generated = |version| text(&build(&schema(None, None)), version);
        let all = files(&[
            ("swagger.json", "{\"mine\":\"swagger\"}"),
            ("swagger2.json", "{not json"),
            ("swagger3.json", "[NaN,1e5]"),
            ("swagger3.1.json", "\"just a string\""),
        ]);
        let swagger = Swagger::build(&ML_SERVICE, &declared, &all).unwrap();
        assert_eq!(text(&swagger, "2"), "{\"mine\": \"swagger\"}");
        assert_eq!(text(&swagger, "3"), "[NaN, 100000.0]");
        assert_eq!(text(&swagger, "3.1"), "\"just a string\"");
        assert_eq!(swagger.from_files().len(), 3);
        let some = files(&[("swagger.json", "{}"), ("swagger2.json", "{\"mine\": 2}"), ("swagger3.json", " 0.0 ")]);
        let swagger = Swagger::build(&ML_SERVICE, &declared, &some).unwrap();
        assert_eq!(text(&swagger, "2"), "{\"mine\": 2}");
        assert_eq!(text(&swagger, "3"), generated("3"));
        assert_eq!(swagger.summary(), "Swaggers are prepared for versions [2, 3] and skipped for versions [3.1].");
        assert_eq!(swagger.from_files(), [(SwaggerVersion::V2, "swagger2.json")]);
        for (file, contents, expected) in [
            (
                "swagger2.json",
                &b"{not json"[..],
                "swagger2.json is not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
            ),
            ("swagger3.json", b"\xff", "swagger3.json is not UTF-8"),
        ] {
            let files = [(file.to_owned(), Bytes::from_static(contents))].into();
            assert_eq!(Swagger::build(&ML_SERVICE, &declared, &files).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn fragments_that_cannot_be_used_are_refused() {
        for (input, output, expected) in [
            (
                Some("{"),
                None,
                "the scorer's input schema is not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
            ),
            (None, Some("[]"), "the scorer's output schema is not a JSON object"),
            (
                None,
                Some(r##"{"items": {"$ref": "#/$defs/Row"}}"##),
                "the scorer's output schema refers to #/$defs/Row, which it does not define",
            ),
            (
                Some(r##"{"items": {"$ref": "#row"}, "$defs": {"Row": {"$anchor": "row"}}}"##),
                None,
                "the scorer's input schema refers to #row, which it does not define",
            ),
        ] {
            let error = Swagger::build(&ML_SERVICE, &schema(input, output), &BTreeMap::new()).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        let deep = "{\"items\": ".repeat(1000) + "{}" + &"}".repeat(1000);
        assert!(Swagger::build(&ML_SERVICE, &schema(Some(&deep), None), &BTreeMap::new()).is_err());
    }

    #[test]
    fn fragments_of_python_scripts_pass_unchanged() {
        for fragment in [
            r#"{"type": "object", "properties": {"p": {}}, "example": {"p": ""}}"#,
            r#"{"type": "object", "properties": {"param": {"type": "array", "items": {"type": "object", "properties": {"state": {"type": "string"}, "type": {"type": "integer", "format": "int64"}, "nullable": {"type": "boolean"}, "oneOf": {"type": "object"}}, "required": ["state"]}, "format": "pandas.DataFrame:records"}}, "example": {"param": [{"state": "WA", "$ref": 1, "oneOf": [NaN, -Infinity]}]}}"#,
            r#"{"type": "string", "format": "timedelta", "example": "\u00e9\ud800"}"#,
            r#"{"type": "object", "required": ["columns", "data"], "properties": {"columns": {"type": "array", "items": {"type": "string"}}}, "example": {"data": [[1, "a", 12345678901234567890123]]}, "format": "pandas.DataFrame:split"}"#,
            r#"{"type": "array", "items": {"type": "object"}, "example": []}"#,
        ] {
            check(fragment, [fragment; 3]);
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn keywords_are_said_in_the_words_of_each_version() {
        for (fragment, expected) in [
            (
                r#"{"$schema": "x", "title": "T", "type": "string", "nullable": true, "writeOnly": true, "x-own": [1]}"#,
                [
                    r#"{"title": "T", "type": "string", "x-own": [1], "x-nullable": true}"#,
                    r#"{"title": "T", "type": "string", "writeOnly": true, "x-own": [1], "nullable": true}"#,
                    r#"{"$schema": "x", "title": "T", "type": ["string", "null"], "writeOnly": true, "x-own": [1]}"#,
                ],
            ),
            (
                r#"{"type": ["integer", "null"], "const": 1}"#,
                [
                    r#"{"type": "integer", "enum": [1], "x-nullable": true}"#,
                    r#"{"type": "integer", "enum": [1], "nullable": true}"#,
                    r#"{"type": ["integer", "null"], "const": 1}"#,
                ],
            ),
            (
                r#"{"type": ["integer", "string"], "examples": [1, 2]}"#,
                [r#"{"example": 1}"#, r#"{"example": 1}"#, r#"{"type": ["integer", "string"], "examples": [1, 2]}"#],
            ),
            (
                r#"{"type": "number", "exclusiveMinimum": 0, "maximum": 1, "exclusiveMaximum": true}"#,
                [
                    r#"{"type": "number", "minimum": 0, "exclusiveMinimum": true, "maximum": 1, "exclusiveMaximum": true}"#,
                    r#"{"type": "number", "minimum": 0, "exclusiveMinimum": true, "maximum": 1, "exclusiveMaximum": true}"#,
                    r#"{"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}"#,
                ],
            ),
            (
                r#"{"oneOf": [{"type": "string", "const": "A", "description": "first"}, {"type": "string", "enum": ["B", "C"]}]}"#,
                [
                    r#"{"type": "string", "enum": ["A", "B", "C"]}"#,
                    r#"{"type": "string", "enum": ["A", "B", "C"]}"#,
                    r#"{"oneOf": [{"type": "string", "const": "A", "description": "first"}, {"type": "string", "enum": ["B", "C"]}]}"#,
                ],
            ),
            (
                r#"{"anyOf": [{"type": "object", "required": ["a"]}, {"type": "object"}], "not": {"type": "object", "nullable": true}}"#,
                [
                    r#"{"type": "object"}"#,
                    r#"{"anyOf": [{"type": "object", "required": ["a"]}, {"type": "object"}], "not": {"type": "object", "nullable": true}}"#,
                    r#"{"anyOf": [{"type": "object", "required": ["a"]}, {"type": "object"}], "not": {"type": ["object", "null"]}}"#,
                ],
            ),
            (
                r#"{"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]}"#,
                [
                    r#"{"type": "integer", "minimum": 0, "x-nullable": true}"#,
                    r#"{"type": "integer", "minimum": 0, "nullable": true}"#,
                    r#"{"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]}"#,
                ],
            ),
            (
                r#"{"type": "array", "prefixItems": [{"type": "integer"}, {"type": "integer"}], "items": false, "minItems": 2}"#,
                [
                    r#"{"type": "array", "items": {"type": "integer"}, "minItems": 2}"#,
                    r#"{"type": "array", "items": {"type": "integer"}, "minItems": 2}"#,
                    r#"{"type": "array", "prefixItems": [{"type": "integer"}, {"type": "integer"}], "items": false, "minItems": 2}"#,
                ],
            ),
            (
                r#"{"type": "array", "items": [{"type": "integer"}, true]}"#,
                [
                    r#"{"type": "array", "items": {}}"#,
                    r#"{"type": "array", "items": {}}"#,
                    r#"{"type": "array", "prefixItems": [{"type": "integer"}, true]}"#,
                ],
            ),
            (
                r#"{"type": "array", "items": [{"type": "integer"}], "additionalItems": {"type": "integer"}, "maxItems": 3}"#,
                [
                    r#"{"type": "array", "items": {"type": "integer"}, "maxItems": 3}"#,
                    r#"{"type": "array", "items": {"type": "integer"}, "maxItems": 3}"#,
                    r#"{"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "integer"}, "maxItems": 3}"#,
                ],
            ),
            (
                r#"{"prefixItems": [{"type": "integer"}], "minItems": 1}"#,
                [
                    r#"{"items": {}, "minItems": 1}"#,
                    r#"{"items": {}, "minItems": 1}"#,
                    r#"{"prefixItems": [{"type": "integer"}], "minItems": 1}"#,
                ],
            ),
            (
                r#"{"properties": {"a": true, "b": false}, "additionalProperties": false, "patternProperties": {"x": {}}, "if": {}}"#,
                [
                    r#"{"properties": {"a": {}, "b": {}}, "additionalProperties": false}"#,
                    r#"{"properties": {"a": {}, "b": {"not": {}}}, "additionalProperties": false}"#,
                    r#"{"properties": {"a": true, "b": false}, "additionalProperties": false, "patternProperties": {"x": {}}, "if": {}}"#,
                ],
            ),
            (
                r#"{"allOf": [{"type": "object"}], "nullable": true, "description": "d"}"#,
                [
                    r#"{"allOf": [{"type": "object"}], "description": "d", "x-nullable": true}"#,
                    r#"{"allOf": [{"type": "object"}], "description": "d", "nullable": true}"#,
                    r#"{"description": "d", "anyOf": [{"allOf": [{"type": "object"}]}, {"type": "null"}]}"#,
                ],
            ),
        ] {
            check(fragment, expected);
        }
    }

    #[test]
    fn definitions_move_to_those_of_the_document() {
        let fragment = r##"{"type": "object", "properties": {"rows": {"type": "array", "items": {"$ref": "#/$defs/Row"}}, "best": {"$ref": "#/$defs/Row", "nullable": true}, "more": {"$ref": "#"}, "a": {"$ref": "#/properties/rows"}, "b": {"$ref": "#/$defs/Row/properties/next"}}, "$defs": {"Row": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Row"}, {"type": "null"}]}}}}}"##;
        let at = |base: &str, best: &str, next: &str| {
            let input = format!(
                r##""ServiceInput": {{"type": "object", "properties": {{"rows": {{"type": "array", "items": {{"$ref": "#/{base}/Row"}}}}, "best": {best}, "more": {{"$ref": "#/{base}/ServiceInput"}}, "a": {{"$ref": "#/{base}/ServiceInput/properties/rows"}}, "b": {{"$ref": "#/{base}/Row/properties/next"}}}}}}"##
            );
            let row = format!(r#""Row": {{"type": "object", "properties": {{"next": {next}}}}}"#);
            format!(r#"{input}, "ServiceOutput": {{"type": "object"}}, {ERROR_RESPONSE}, {row}"#)
        };
        let swagger = build(&schema(Some(fragment), None));
        let row_2 = r##"{"allOf": [{"$ref": "#/definitions/Row"}], "x-nullable": true}"##;
        assert_eq!(definitions(&text(&swagger, "2")), at("definitions", row_2, row_2));
        let row_3 = r##"{"allOf": [{"$ref": "#/components/schemas/Row"}], "nullable": true}"##;
        assert_eq!(definitions(&text(&swagger, "3")), at("components/schemas", row_3, row_3));
        let row_3_1 = r##"{"anyOf": [{"$ref": "#/components/schemas/Row"}, {"type": "null"}]}"##;
        assert_eq!(definitions(&text(&swagger, "3.1")), at("components/schemas", row_3_1, row_3_1));
    }

    #[test]
    fn definitions_of_one_name_are_one_only_when_they_are_the_same() {
        let with = |row: &str, reference: &str| {
            format!(
                r##"{{"$ref": "#/definitions/{reference}", "definitions": {{"Row": {{"type": "{row}"}}, "ErrorResponse": {{}}, "a b": {{}}}}}}"##
            )
        };
        let (input, same, other) = (with("string", "Row"), with("string", "ErrorResponse"), with("integer", "a%20b"));
        let swagger = build(&schema(Some(&input), Some(&same)));
        assert_eq!(
            definitions(&text(&swagger, "2")),
            format!(
                r##""ServiceInput": {{"$ref": "#/definitions/Row"}}, "ServiceOutput": {{"$ref": "#/definitions/ErrorResponse_2"}}, {ERROR_RESPONSE}, "ErrorResponse_2": {{}}, "Row": {{"type": "string"}}, "a_b": {{}}"##
            )
        );
        let swagger = build(&schema(Some(&input), Some(&other)));
        assert_eq!(
            definitions(&text(&swagger, "2")),
            format!(
                r##""ServiceInput": {{"$ref": "#/definitions/Row"}}, "ServiceOutput": {{"$ref": "#/definitions/a_b_2"}}, {ERROR_RESPONSE}, "ErrorResponse_2": {{}}, "ErrorResponse_3": {{}}, "Row": {{"type": "string"}}, "Row_2": {{"type": "integer"}}, "a_b": {{}}, "a_b_2": {{}}"##
            )
        );
    }
}
