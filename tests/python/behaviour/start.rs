//! A script that cannot be served is refused before the port is bound, with Python's own words.

use std::fs;

use scorebox_tests::{Ended, python};

use crate::{folder, serve};

#[track_caller]
fn assert_refused(script: &str, texts: &[&str]) -> Ended {
    let ended = python::serve(folder("starts").join(script)).args("--init-timeout 3s").refused();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    for text in texts {
        assert!(ended.stdout.contains(text) || ended.stderr.contains(text), "no {text:?} in {ended:?}");
    }
    assert!(!ended.stdout.contains("listening on"), "{ended:?}");
    ended
}

#[test]
fn a_script_with_a_syntax_error_is_refused_with_the_line() {
    assert_refused("syntax.py", &["SyntaxError: ", "syntax.py", "line 5", "def run(raw_data)"]);
}

#[test]
fn a_script_without_init_is_refused() {
    assert_refused("no_init.py", &["does not have a init() function defined."]);
}

#[test]
fn a_script_that_is_not_there_is_refused() {
    assert_refused("nothing.py", &["nothing.py"]);
}

#[test]
fn an_exception_in_init_is_refused_with_its_traceback() {
    assert_refused(
        "fails.py",
        &[
            "User's init function failed",
            "Traceback (most recent call last):",
            "fails.py\", line 5, in init",
            "fails.py\", line 9, in load",
            "ValueError: the weights in model/weights are too old",
        ],
    );
}

#[test]
fn a_package_of_native_code_is_named_with_what_can_take_its_place() {
    assert_refused(
        "xgboost_missing.py",
        &["No module named 'xgboost'", "native code", "sklearn.ensemble.HistGradientBoosting"],
    );
}

#[test]
fn a_module_that_is_missing_is_named_with_where_to_put_it() {
    assert_refused(
        "module_missing.py",
        &["No module named 'helper_of_mine'", "requirements.txt", "beside the entry script"],
    );
}

#[test]
fn a_script_that_exits_while_it_starts_is_refused() {
    assert_refused("exits.py", &["os._exit(4)"]);
}

#[test]
fn an_init_that_does_not_end_is_refused() {
    assert_refused("spins.py", &["init() did not end within 3 s"]);
}

#[test]
fn a_model_that_needs_a_class_of_the_script_that_trained_it_is_refused_with_a_way_out() {
    let folder_of_model = tempfile::tempdir().expect("a temporary folder can be made");
    // What pickle writes for a class of the program that was run.
    fs::write(folder_of_model.path().join("model.pkl"), b"c__main__\nMyModel\n.").expect("it can be written to");
    let ended = python::serve(folder("starts").join("pickled_here.py"))
        .arg("--model_dir")
        .arg(folder_of_model.path())
        .refused();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    for text in ["has no attribute 'MyModel'", "Define it in a module beside the entry script"] {
        assert!(ended.stdout.contains(text) || ended.stderr.contains(text), "no {text:?} in {ended:?}");
    }
}

#[test]
fn requirements_that_are_not_there_are_named() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    fs::write(folder.path().join("score.py"), "def init():\n    pass\n\n\ndef run(raw_data):\n    return 1\n")
        .expect("so");
    fs::write(folder.path().join("requirements.txt"), "numpy\nno-such-package-of-mine==1.0\n")
        .expect("it can be written");
    let ended = serve(folder.path()).refused();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("no-such-package-of-mine"), "{ended:?}");
}

/// A script in a folder of its own.
fn script(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    fs::write(folder.path().join("score.py"), text).expect("it can be written to");
    folder
}

#[test]
fn a_model_directory_that_does_not_exist_is_said_and_the_script_is_served() {
    let text =
        "import os\n\n\ndef init():\n    pass\n\n\ndef run(data):\n    return os.environ[\"AZUREML_MODEL_DIR\"]\n";
    let folder = script(text);
    let server = serve(folder.path()).args("--model_dir /nowhere/at/all").start();
    server.logged("the model directory /nowhere/at/all does not exist");
    assert_eq!(server.score("{}").json(), "/nowhere/at/all");
}

#[test]
fn a_model_of_another_version_of_scikit_learn_is_loaded_with_its_warning_in_the_log() {
    let folder = script(
        "from sklearn.linear_model import LinearRegression\n\n\ndef init():\n    global model\n    \
         state = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]).__getstate__()\n    \
         state[\"_sklearn_version\"] = \"1.2.2\"\n    model = LinearRegression.__new__(LinearRegression)\n    \
         model.__setstate__(state)\n\n\ndef run(data):\n    return model.predict([[2.0]]).tolist()\n",
    );
    let server = serve(folder.path()).start();
    server.logged("InconsistentVersionWarning: Trying to unpickle estimator LinearRegression from version 1.2.2");
    assert_eq!(server.score("{}").status, 200);
}

#[test]
fn a_check_says_in_which_line_run_assigns_a_global() {
    let folder = script(
        "count = 0\n\n\ndef init():\n    pass\n\n\ndef run(data):\n    global count\n    count += 1\n    return {}\n",
    );
    let cache = python::compiled_cache();
    let arguments = ["check".as_ref(), folder.path().as_os_str(), "--cache-dir".as_ref(), cache.as_os_str()];
    // Each time, also when the scorer has been checked before.
    for _ in 0..2 {
        let checked = scorebox_tests::process::run(arguments);
        assert_eq!(checked.code, Some(0), "{checked:?}");
        assert!(checked.stderr.contains("score.py:10: run() assigns the global `count`"), "{checked:?}");
    }
}

#[test]
fn a_request_to_warm_up_with_is_scored_before_the_snapshot() {
    let folder = script(
        "import json\n\ncalls = 0\n\n\ndef init():\n    pass\n\n\ndef run(data):\n    global calls\n    calls += 1\n    \
         return [calls, json.loads(data)[\"data\"]]\n",
    );
    fs::write(folder.path().join("request.json"), r#"{"data": "warm"}"#).expect("it can be written to");
    let server = serve(folder.path()).args("--env SCOREBOX_WARM_UP=request.json").start();
    for data in ["a", "b"] {
        // Each begins where the last one before the snapshot ended.
        assert_eq!(server.score(&format!(r#"{{"data": "{data}"}}"#)).json(), serde_json::json!([33, data]));
    }
    fs::write(folder.path().join("request.json"), "{}").expect("it can be written to");
    let ended = serve(folder.path()).args("--env SCOREBOX_WARM_UP=request.json").refused();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let reason = "request.json, which SCOREBOX_WARM_UP names: KeyError: 'data'";
    assert!(ended.stderr.contains(reason), "{ended:?}");
}
