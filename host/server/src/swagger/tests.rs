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

const ERROR_RESPONSE: &str = r#""ErrorResponse": {"type": "object", "properties": {"message": {"type": "string"}}}"#;

/// What becomes of an input fragment in the three versions.
#[track_caller]
fn check(fragment: &str, expected: [&str; 3]) {
    let swagger = build(&schema(Some(fragment), None));
    for (version, expected) in ["2", "3", "3.1"].into_iter().zip(expected) {
        let document = text(&swagger, version);
        assert!(python_json::parse(&document).is_ok());
        let expected =
            format!("\"ServiceInput\": {expected}, \"ServiceOutput\": {{\"type\": \"object\"}}, {ERROR_RESPONSE}");
        assert!(definitions(&document).starts_with(&expected), "{version}:\n{}\n{expected}", definitions(&document));
    }
}

#[test]
fn the_document_of_version_2_is_that_of_the_contract() {
    let input =
        r#"{"type": "object", "properties": {"num": {"type": "integer", "format": "int64"}}, "example": {"num": 1}}"#;
    let output = r#"{"type": "integer", "format": "int64", "example": 11}"#;
    let expected = r##"{"swagger": "2.0", "info": {"title": "ML service", "description": "API specification for the Azure Machine Learning service ML service", "version": "1.0"}, "schemes": ["https"], "consumes": ["application/json"], "produces": ["application/json"], "securityDefinitions": {"Bearer": {"type": "apiKey", "name": "Authorization", "in": "header", "description": "For example: Bearer abc123"}}, "paths": {"/": {"get": {"operationId": "ServiceHealthCheck", "description": "Simple health check endpoint to ensure the service is up at any given point.", "responses": {"200": {"description": "If service is up and running, this response will be returned with the content 'Healthy'", "schema": {"type": "string"}, "examples": {"application/json": "Healthy"}}, "default": {"description": "The service failed to execute due to an error.", "schema": {"$ref": "#/definitions/ErrorResponse"}}}}}, "/score": {"post": {"operationId": "RunMLService", "description": "Run web service's model and get the prediction output", "security": [{"Bearer": []}], "parameters": [{"name": "serviceInputPayload", "in": "body", "description": "The input payload for executing the real-time machine learning service.", "schema": {"$ref": "#/definitions/ServiceInput"}}], "responses": {"200": {"description": "The service processed the input correctly and provided a result prediction, if applicable.", "schema": {"$ref": "#/definitions/ServiceOutput"}}, "default": {"description": "The service failed to execute due to an error.", "schema": {"$ref": "#/definitions/ErrorResponse"}}}}}, "/swagger.json": {"get": {"operationId": "GetSwaggerSpec", "description": "Get the Swagger specification.", "parameters": [{"name": "version", "in": "query", "required": false, "type": "integer", "enum": [2, 3]}], "responses": {"200": {"description": "The Swagger specification.", "schema": {"type": "string"}}, "default": {"description": "The service failed to execute due to an error.", "schema": {"$ref": "#/definitions/ErrorResponse"}}}}}}, "definitions": {"ServiceInput": {"type": "object", "properties": {"num": {"type": "integer", "format": "int64"}}, "example": {"num": 1}}, "ServiceOutput": {"type": "integer", "format": "int64", "example": 11}, "ErrorResponse": {"type": "object", "properties": {"message": {"type": "string"}}}}}"##;
    let swagger = build(&schema(Some(input), Some(output)));
    assert_eq!(text(&swagger, "2"), expected);
    assert_eq!(swagger.document(None), swagger.document(Some("2.0")));
}

#[test]
fn the_documents_of_version_3_are_those_of_the_contract() {
    let input = r#"{"type": "object", "properties": {"data": {"type": "array", "items": {"type": "array", "items": {"type": "number", "format": "double"}}, "format": "numpy.ndarray"}}, "example": {"data": [[1.0, 2.0, 3.0]]}}"#;
    let output =
        r#"{"type":"array","items":{"type":"number","format":"double"},"example":[3726.995],"format":"numpy.ndarray"}"#;
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
