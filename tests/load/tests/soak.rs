//! The soak, for as short a time as shows that it works: its full time is for `make soak`.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_short_soak_of_all_servers_passes_and_says_what_it_has_seen() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("soak.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_scorebox-soak"));
    // Memory still settles in so short a time.
    command.args(["--minutes", "0.3", "--tolerance", "100000", "--noise", "256", "--json"]).arg(&file);
    let output = command.output().expect("the soak can be started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let json: Value = serde_json::from_slice(&std::fs::read(&file).expect("the figures")).expect("they are JSON");
    assert_eq!(json["complaints"], serde_json::json!([]));
    let servers = json["servers"].as_array().expect("the servers");
    assert_eq!(servers.iter().map(|server| &server["server"]).collect::<Vec<_>>(), ["rust", "hostile", "python"]);
    for server in servers {
        let samples = server["samples"].as_array().expect("the samples");
        assert!(samples.len() >= 15, "{server}");
        for sample in samples {
            for quantity in ["rss", "pss", "private", "descriptors", "threads", "mappings"] {
                assert!(sample[quantity].as_f64().expect("a number") > 0.0, "{quantity} in {sample}");
            }
        }
        for (kind, count) in server["requests"].as_object().expect("the kinds of requests") {
            assert!(count["sent"].as_u64().expect("a number") > 0, "{kind}: {server}");
        }
        assert!(server["trends"]["RSS MiB"]["per_hour"].is_f64(), "{server}");
    }
    for quantity in ["RSS MiB", "descriptors", "threads"] {
        assert!(said.contains(quantity), "{said}");
    }
}

#[test]
fn a_soak_fails_when_its_tolerance_is_exceeded() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scorebox-soak"));
    // Resident memory rises from the first request on: so it does from the first to the last fifth without a warm-up.
    let arguments = ["--minutes", "0.05", "--warm-up-minutes", "0", "--no-python", "--tolerance=-1e9", "--noise=-1e9"];
    let output = command.args(arguments).output().expect("the soak can be started");
    assert!(!output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("rust: RSS MiB grows by"), "{said}");
}
