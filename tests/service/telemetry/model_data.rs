use super::*;

#[test]
fn what_goes_into_a_model_and_comes_out_is_collected_when_it_is_asked_for() {
    let watched = Watched::new();
    let app = script(SCRIPT);
    let serve = serve_script(&app).args("--model_dir models").env("AML_MDC_STORAGE_ENABLED", "true");
    let items = watched.record(serve, |server| {
        assert_eq!(server.send(&task("it's")).status, 200);
        assert_eq!(server.send(&task("fail")).status, 500);
        assert_eq!(server.send(&task("exit")).status, 500);
    });
    let exit = data(the(&items, "ExceptionData", "R-exit"));
    assert_eq!(exit["exceptions"][0]["message"], "SystemExit: no more");
    let found = logged(&items, "model_data_collection");
    assert_eq!(found.len(), 1, "{found:#?}");
    let (input, prediction) = (r#""{\"task\":\"it's\"}""#, r#"{"done": "it's"}"#);
    // As Python would write it: a text with a single quote is in double ones, unless it has both.
    let quoted = |text: &str| format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"));
    assert_eq!(
        properties(found[0])["custom_dimensions"],
        format!(
            "{{'Container Id': 'testhost', 'Request Id': \"R-it's\", 'Client Request Id': \"C-it's\", \
                 'Workspace Name': 'myws', 'Service Name': 'mysvc', 'Models': ('m1:1', 'm2:7'), 'Input': {}, \
                 'Prediction': {}}}",
            quoted(input),
            quoted(prediction)
        )
    );
    for (name, value) in [("Input", input), ("Prediction", prediction), ("Models", r#"["m1:1","m2:7"]"#)] {
        assert_eq!(properties(found[0])[name], value);
    }
    assert_eq!(data(found[0])["severityLevel"], "1");
    let request = the(&items, "RequestData", "R-it's");
    assert_eq!(found[0]["tags"]["ai.operation.parentId"], data(request)["id"]);
}

#[test]
fn the_documented_variable_works_and_without_either_nothing_is_collected() {
    let watched = Watched::new();
    let model = folder(&[("weights", "")]);
    let serve = || Serve::guest("spin").arg("--model_dir").arg(model.path());
    let score = |server: &Server| {
        server.score(r#"{"spin": false}"#);
    };
    let items = watched.record(serve().env("AML_MODEL_DC_STORAGE_ENABLED", "true"), score);
    let found = logged(&items, "model_data_collection");
    assert_eq!(found.len(), 1, "{items:#?}");
    assert_eq!(properties(found[0])["Input"], r#"{"spin": false}"#);
    assert_eq!(properties(found[0])["Prediction"].as_str().unwrap().replace(' ', ""), r#"{"spun":false}"#);
    let items = watched.record(serve().env("AML_MODEL_DC_STORAGE_ENABLED", "false"), score);
    assert_eq!(logged(&items, "model_data_collection").len(), 1, "no more than before");
}
