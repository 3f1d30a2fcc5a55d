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

mod adapter;
mod fragment;

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use self::adapter::Adapter;
use self::fragment::{Fragment, INPUT, Names, OUTPUT};
use crate::input::InputMode;
use crate::python_json::{self, ParseError, PyStr, Value};

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
mod tests;
