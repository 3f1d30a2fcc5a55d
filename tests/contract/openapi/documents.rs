//! Every document is valid by the official schema of its version.
//!
//! With one exception, which is the contract's. A sample without keys, such as `StandardPythonParameterType({})`, has the
//! schema `"required": []`, because inference-schema writes the list of the sample's keys in any case. JSON Schema before
//! draft 6 wants at least one name in `required` (`minItems: 1`), so OpenAPI 2.0 and 3.0 do, and 3.1 does not. The document
//! is the contract's byte by byte, so it stays: the meaning of an empty list is plain, and readers take it.

use std::collections::BTreeMap;

use scorebox_tests::fixtures::workspace;
use scorebox_tests::{Serve, Server};
use serde_json::{Value, json};

use super::{VERSIONS, document, output_of, script};

/// What is wrong with each of some documents.
fn wrong(documents: &BTreeMap<String, Value>) -> BTreeMap<String, Vec<String>> {
    let schemas = workspace().join("tests/contract/openapi/schemas");
    let wrong = output_of("validate.py", schemas, &json!(documents).to_string());
    serde_json::from_value(wrong).expect("lists of texts by name")
}

/// Checks all documents of a server, which has those of these versions.
#[track_caller]
fn assert_valid(server: &Server, versions: &[&str]) {
    let documents: BTreeMap<_, _> =
        VERSIONS.iter().filter_map(|&version| Some((version.to_owned(), document(server, version)?))).collect();
    assert_eq!(documents.keys().collect::<Vec<_>>(), versions, "{}", server.process().said());
    for (version, wrong) in wrong(&documents) {
        assert!(wrong.is_empty(), "version {version}: {wrong:#?}\n{:#}", documents[&version]);
    }
}

mod of_rust_scorers {
    use super::*;

    #[test]
    fn the_documents_of_the_examples_are_valid() {
        for example in ["iris-rust", "house-price-rust"] {
            assert_valid(&Serve::example(example).start(), &VERSIONS);
        }
    }

    #[test]
    fn the_documents_of_a_raw_scorer_are_valid() {
        assert_valid(&Serve::guest("echo").start(), &VERSIONS);
    }

    #[test]
    fn the_documents_of_a_scorer_with_every_kind_of_type_are_valid() {
        assert_valid(&Serve::guest("typed").start(), &VERSIONS);
    }
}

mod of_scripts {
    use super::*;

    #[test]
    fn the_documents_of_an_undecorated_script_are_valid() {
        assert_valid(&script("undecorated").start(), &VERSIONS);
    }

    #[test]
    fn the_documents_of_the_types_of_python_are_valid() {
        assert_valid(&script("standard").start(), &VERSIONS);
    }

    #[test]
    fn the_documents_of_arrays_are_valid() {
        assert_valid(&script("numpy_arrays").start(), &VERSIONS);
    }

    #[test]
    fn the_documents_of_frames_are_valid() {
        assert_valid(&script("pandas_frames").start(), &VERSIONS);
    }

    #[test]
    fn the_documents_of_frames_that_version_2_has_no_words_for_are_valid_in_the_others() {
        assert_valid(&script("pandas_rows").start(), &["3", "3.1"]);
    }

    #[test]
    fn the_documents_of_types_within_types_are_valid() {
        assert_valid(&script("nested").start(), &VERSIONS);
    }

    #[test]
    fn the_documents_of_a_script_that_says_only_what_it_gives_are_valid() {
        assert_valid(&script("output_only").start(), &VERSIONS);
    }

    #[test]
    fn a_sample_without_keys_has_an_empty_list_of_required_ones_as_the_contract_has_it() {
        let server = script("empty").start();
        let documents: BTreeMap<_, _> = VERSIONS
            .iter()
            .map(|&version| (version.to_owned(), document(&server, version).expect("a document")))
            .collect();
        let empty = |definitions| {
            ["ServiceInput.properties.mapping", "ServiceOutput.properties.inner"]
                .map(|schema| format!("$.{definitions}.{schema}.required: minItems: [] should be non-empty"))
                .to_vec()
        };
        let wrong = wrong(&documents);
        assert_eq!(wrong["2"], empty("definitions"));
        assert_eq!(wrong["3"], empty("components.schemas"));
        assert_eq!(wrong["3.1"], Vec::<String>::new());
    }
}

mod of_any_name {
    use super::*;

    #[test]
    fn the_documents_of_a_service_of_any_name_version_and_prefix_are_valid() {
        for (name, version, prefix) in [
            ("irises", "7", "/api/v1/"),
            ("", "", ""),
            ("a \"quoted\" name", "1.0-\\\"beta\"", "with spaces/and \"quotes\""),
            ("two\nlines\tand a tab", "\u{7f}\u{1}", "a\\b"),
            ("Größe 模型 🌷", "№ 1", "größe/模型"),
            ("@NAME@ {{name}} $ref #/definitions/x", "@VERSION@", "@PREFIX@//~1"),
        ] {
            let server = Serve::example("iris-rust")
                .env("SERVICE_NAME", name)
                .env("SERVICE_VERSION", version)
                .env("SERVICE_PATH_PREFIX", prefix)
                .start();
            assert_valid(&server, &VERSIONS);
            let document = document(&server, "3.1").expect("a document");
            assert_eq!(document["info"]["title"], name);
            assert_eq!(document["info"]["version"], version);
        }
    }
}

#[test]
fn a_document_that_is_not_valid_is_found_out() {
    let server = Serve::example("iris-rust").start();
    let mut documents = BTreeMap::new();
    for (version, schemas) in [("2", "/definitions"), ("3", "/components/schemas"), ("3.1", "/components/schemas")] {
        let document = document(&server, version).expect("a document");
        let mut change = |name: &str, pointer: &str, key: &str, value: Value| {
            let mut changed = document.clone();
            changed.pointer_mut(pointer).expect("it is there")[key] = value;
            documents.insert(format!("{version} {name}"), changed);
        };
        change("type", &format!("{schemas}/ServiceInput"), "type", json!("list"));
        change("response", "/paths/~1score/post/responses/200", "description", json!(1));
        change("path", "/paths", "score", json!({"get": {"responses": {"200": {"description": ""}}}}));
        change("reference", &format!("{schemas}/ServiceInput"), "items", json!({"$ref": "#/definitions/nothing"}));
        change("title", "/info", "title", Value::Null);
    }
    let wrong = wrong(&documents);
    assert_eq!(wrong.len(), 15);
    for (name, wrong) in wrong {
        assert_eq!(wrong.len(), 1, "{name}: {wrong:#?}");
    }
}
