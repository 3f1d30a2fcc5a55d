//! The chaos, for as short a time as shows that it works: its full time is for `make chaos`.

use std::process::Command;

use serde_json::Value;

#[test]
fn nothing_is_lost_or_mixed_up_while_many_tenants_change_and_the_server_is_killed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("chaos.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_scorebox-chaos"));
    command.args(["--minutes", "0.5", "--kill-every", "6", "--tenants", "4", "--python", "1", "--json"]).arg(&file);
    let output = command.output().expect("the chaos can be started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&std::fs::read(&file).expect("the figures")).expect("they are JSON");
    assert_eq!(report["complaints"], serde_json::json!([]));
    let at_least = |path: &str, least: u64| {
        let found = report.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {report:#}"));
        assert!(found >= least, "{path} is {found} in {report:#}");
    };
    at_least("/kills", 2);
    at_least("/requests/answered", 200);
    at_least("/requests/foreign", 5);
    at_least("/changes/deployed", 8);
    at_least("/changes/traffic", 8);
    at_least("/changes/checked", 4);
}
