//! Section 9 of the contract: the documents of `/swagger.json`.

use scorebox_tests::Serve;
use serde_json::json;

#[test]
fn every_version_of_the_document_describes_the_scorer() {
    let server = Serve::example("iris-rust").env("SERVICE_NAME", "irises").env("SERVICE_VERSION", "7").start();
    for (target, key, version, definitions) in [
        ("/swagger.json", "swagger", "2.0", "/definitions"),
        ("/swagger.json?version=2", "swagger", "2.0", "/definitions"),
        ("/swagger.json?version=2.0&version=3", "swagger", "2.0", "/definitions"),
        ("/swagger.json?version=3", "openapi", "3.0.3", "/components/schemas"),
        ("/swagger.json?version=3.0", "openapi", "3.0.3", "/components/schemas"),
        ("/swagger.json?version=3.1", "openapi", "3.1.0", "/components/schemas"),
    ] {
        let response = server.get(target);
        assert_eq!(response.status, 200, "{target}");
        assert_eq!(response.header("content-type"), Some("application/json"));
        let document = response.json();
        assert_eq!(document[key], version, "{target}");
        assert_eq!(document["info"]["title"], "irises");
        assert_eq!(document["info"]["version"], "7");
        let schemas = document.pointer(definitions).expect("schemas");
        let row = &schemas["ServiceInput"]["properties"]["data"]["items"];
        assert_eq!((&row["type"], &row["items"]["type"]), (&"array".into(), &"number".into()), "{target}");
        assert_eq!(schemas["ServiceInput"]["required"], json!(["data"]));
        assert_eq!(schemas["ServiceInput"]["example"]["data"][0], json!([5.1, 3.5, 1.4, 0.2]));
        assert!(schemas["ServiceOutput"]["properties"]["prediction"].is_object(), "{target}");
        assert!(document["paths"]["/score"]["post"].is_object(), "{target}");
    }
}

#[test]
fn a_raw_scorer_has_documents_of_any_object() {
    let document = Serve::guest("echo").start().get("/swagger.json").json();
    assert_eq!(document["definitions"]["ServiceInput"], json!({"type": "object", "example": {}}));
}

#[test]
fn a_version_that_there_is_not_is_not_found() {
    let server = Serve::example("iris-rust").start();
    for version in ["4", "", "2.1", "x"] {
        let response = server.get(&format!("/swagger.json?version={version}"));
        response
            .assert_error(404, &format!("Swagger version [{version}] is not valid. Supported versions: [2, 3, 3.1]."));
        assert_eq!(response.header("x-ms-run-function-failed"), Some("False"));
        assert!(response.header("x-request-id").is_some());
    }
    assert_eq!(server.get("/swagger.json?Version=4").status, 200, "the name of the parameter has its case");
}

#[test]
fn the_log_says_which_versions_there_are() {
    let server = Serve::example("iris-rust").start();
    server.logged(" I [");
    server.logged("azmlinfsrv.swagger - Swaggers are prepared for the following versions: [2, 3, 3.1].");
}

#[test]
fn the_prefix_of_the_service_is_in_the_document_and_not_in_the_routes() {
    let server = Serve::example("iris-rust").env("SERVICE_PATH_PREFIX", "/api/v1/").start();
    let paths = server.get("/swagger.json").json()["paths"].clone();
    let mut paths: Vec<_> = paths.as_object().expect("paths").keys().cloned().collect();
    paths.sort();
    assert_eq!(paths, ["/api/v1/", "/api/v1/score", "/api/v1/swagger.json"]);
    assert_eq!(server.get("/api/v1/score").status, 404);
}
