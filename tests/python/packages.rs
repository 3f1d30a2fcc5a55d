//! `scorebox build` of a script with packages, and what is served of it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use scorebox_tests::{Serve, fixtures, python};
use serde_json::json;
use tempfile::TempDir;

const SCRIPT: &str = "import json\n\nimport humanize\n\n\ndef init():\n    pass\n\n\ndef run(data):\n    \
                      return humanize.intword(json.loads(data)[\"number\"])\n";

fn project(script: &str, requirements: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    fs::write(folder.path().join("score.py"), script).expect("it can be written to");
    fs::write(folder.path().join("requirements.txt"), requirements).expect("it can be written to");
    folder
}

/// Builds with this machine's pip, as it is set up.
fn build(folder: &Path) -> Output {
    Command::new(fixtures::binary())
        .arg("build")
        .arg(folder)
        .arg("-o")
        .arg(folder.join("app.scorebox"))
        .output()
        .expect("the binary can be started")
}

#[test]
fn an_archive_has_the_packages_that_the_script_asks_for_and_is_served_without_python() {
    let folder = project(SCRIPT, "humanize==4.13.0\nnumpy==1.26.4  # another version is carried\nazureml-defaults\n");
    let built = build(folder.path());
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    assert!(said.contains("numpy==1.26.4") && said.contains("2.5.2"), "both versions are said: {said}");
    let server = Serve::new(folder.path().join("app.scorebox")).cache(python::compiled_cache()).start();
    let response = server.score(r#"{"number": 1200000}"#);
    assert_eq!((response.status, response.json()), (200, json!("1.2 million")), "{}", server.process().said());
}

#[test]
fn a_package_of_native_code_is_refused_with_its_name_and_a_way_out() {
    let folder = project(SCRIPT, "lightgbm\n");
    let built = build(folder.path());
    let said = String::from_utf8_lossy(&built.stderr);
    assert_eq!(built.status.code(), Some(1), "{said}");
    assert!(said.contains("lightgbm") && said.contains("HistGradientBoosting"), "{said}");
    assert!(!folder.path().join("app.scorebox").exists());
}

#[test]
fn a_script_whose_packages_are_not_carried_is_refused_until_it_is_built() {
    let folder = project(SCRIPT, "humanize==4.13.0\n");
    let ended = Serve::new(folder.path()).cache(python::compiled_cache()).refused();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("humanize") && ended.stderr.contains("scorebox build"), "{ended:?}");
}

#[test]
fn requirements_are_those_of_the_app_folder_wherever_in_it_the_script_is() {
    let folder = project(SCRIPT, "humanize==4.13.0\n");
    fs::create_dir(folder.path().join("src")).expect("it can be written to");
    fs::rename(folder.path().join("score.py"), folder.path().join("src/score.py")).expect("it can be written to");
    let serve = Serve::nothing().args("--entry_script src/score.py").in_folder(folder.path());
    let ended = serve.cache(python::compiled_cache()).refused();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("requirements.txt line 1 asks for humanize==4.13.0"), "{ended:?}");
}
