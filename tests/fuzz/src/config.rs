//! The settings of the contract: command line, environment, configuration file, and gunicorn's arguments.

use std::fs;
use std::path::Path;

use scorebox::fuzz::{self, Setting, configure};
use serde_json::Value;

use crate::{folder, texts};

/// Settings that are whole numbers, and those that are on or off.
const INTEGERS: [&str; 2] = ["AZUREML_DEBUG_PORT", "SCORING_TIMEOUT_MS"];
const FLAGS: [&str; 2] = ["AML_MDC_STORAGE_ENABLED", "APP_INSIGHTS_LOG_RESPONSE_ENABLED"];
/// Settings that say where the file is.
const PLACES: [&str; 3] = ["AML_APP_ROOT", "AZUREML_CONFIG_FILE", "AZUREML_ENTRY_SCRIPT"];

/// Three parts: the configuration file, and lines `NAME=VALUE` of the environment and of the command line.
pub fn check(data: &[u8]) {
    thread_local! {
        static FOLDER: tempfile::TempDir = folder();
    }
    let [file, environment, command_line] = texts(data);
    let environment: Vec<_> = pairs(&environment).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let command_line: Vec<_> = pairs(&command_line)
        .filter_map(|(name, value)| Some((fuzz::settings().find(|setting| *setting == name)?, value.to_owned())))
        .collect();
    if environment.iter().map(|(name, _)| &**name).chain(command_line.iter().map(|(name, _)| *name)).any(is_place) {
        return;
    }
    FOLDER.with(|folder| {
        let path = folder.path().join("given.json");
        fs::write(&path, &file).expect("it can be written");
        check_all(&path, &file, &environment, &command_line);
    });
}

fn is_place(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    PLACES.contains(&&*name) || name == "AML_ENTRY_SCRIPT"
}

fn pairs(lines: &str) -> impl Iterator<Item = (&str, &str)> {
    lines.lines().filter_map(|line| line.split_once('='))
}

fn check_all(path: &Path, file: &str, environment: &[(String, String)], command_line: &[(&'static str, String)]) {
    let configured = configure(command_line, environment, path);
    let keys = if let Ok(Value::Object(keys)) = serde_json::from_str(file) {
        keys
    } else {
        assert!(file.is_empty() || configured.error.is_some(), "what is no object is refused");
        serde_json::Map::new()
    };
    assert!(configured.extra_keys.iter().all(|key| keys.contains_key(key)));
    for Setting { name, value, source } in &configured.settings {
        // Where it comes from is where it is, and nowhere that wins over that.
        let said = command_line.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value);
        let set = environment.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        let is_typed = INTEGERS.contains(name) || FLAGS.contains(name);
        match (*source, said) {
            ("command line", Some(said)) => assert!(is_typed || said == value, "{name} is {value}, not {said}"),
            ("environment", None) => assert!(is_place(name) || other_name(name) || set, "{name} is not set"),
            ("file", None) => assert!(!set && configured.extra_keys.iter().all(|key| key != name)),
            (source, _) => panic!("{name} comes from the {source}"),
        }
        if INTEGERS.contains(name) {
            assert!(value.parse::<i64>().is_ok(), "{name} is {value}, which is no number");
        }
        if FLAGS.contains(name) {
            assert!(["true", "false"].contains(&&**value), "{name} is {value}, neither on nor off");
        }
    }
    // Said once more, in its own words, it is the same.
    let own: Vec<_> = configured
        .settings
        .iter()
        .filter(|setting| !is_place(setting.name))
        .map(|setting| (setting.name, setting.value.clone()))
        .collect();
    let again = configure(&own, &[], path);
    for (name, value) in &own {
        let same = again.settings.iter().find(|setting| setting.name == *name).map(|setting| &setting.value);
        assert_eq!(same, Some(value), "{name}");
    }
    let given = |name| configured.settings.iter().find(|setting| setting.name == name);
    if let Some(workers) = &configured.workers
        && let Some(Setting { value: arguments, .. }) = given("GUNICORN_CMD_ARGS")
    {
        assert!(workers.without_effect.len() <= arguments.len() + 1, "each is of an argument");
        // Threads multiply workers.
        let count = given("WORKER_COUNT").and_then(|count| count.value.trim().parse::<usize>().ok()).unwrap_or(1);
        assert!(workers.concurrency.map_or(1, std::num::NonZeroUsize::get) >= count);
    }
}

/// Whether the environment may have a setting under another name.
fn other_name(name: &str) -> bool {
    ["AZUREML_SOURCE_DIRECTORY", "AML_APP_INSIGHTS_ENABLED", "AML_MDC_STORAGE_ENABLED", "SEPERATE_HEALTH_ENDPOINT"]
        .contains(&name)
}
