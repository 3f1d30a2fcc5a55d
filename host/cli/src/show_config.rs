//! `scorebox config`: with what `serve` would start, and why.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use serde_json::{Map, json};

use crate::args::{ConfigArgs, ServeArgs};
use crate::config::{Config, Environment, SETTINGS};
use crate::console;
use crate::failure::Failure;
use crate::manual;
use crate::scorer;
use crate::second_wall;
use crate::settings::{self, Checked};
use crate::telemetry;
use crate::tenants;
use crate::workers::Workers;

/// What stands for a value that nobody is shown.
const MASK: &str = "********";

/// Options that are settings of the contract as well, and are shown as those.
const CONTRACT_OPTIONS: [&str; 7] = [
    "scorer",
    "entry_script",
    "config_file",
    "model_dir",
    "access_control_allow_origins",
    "worker_count",
    "appinsights_instrumentation_key",
];

/// A line of the table.
struct Row {
    name: String,
    value: Option<String>,
    source: String,
}

/// Prints the configuration: the settings of the contract first, then the options of Scorebox.
pub(crate) fn show(args: &ConfigArgs, matches: &ArgMatches) -> Result<(), Failure> {
    let serve = &args.serve;
    let config = Config::load(&settings::command_line(serve), &Environment::of_process());
    config.check().map_err(Failure::start)?;
    // What would keep the server from starting is said here, too.
    let workers = Workers::read(&config)?;
    let checked = settings::check(serve, &config, settings::scorer(serve, &config)?, &workers)?;
    serve.tls.check()?;
    let mut rows: Vec<Row> = SETTINGS
        .iter()
        .map(|setting| match config.get(setting.name) {
            Some(given) => Row {
                name: setting.name.to_owned(),
                value: Some(if setting.is_secret() { MASK.to_owned() } else { given.text.clone() }),
                source: given.source.to_string(),
            },
            None => Row {
                name: setting.name.to_owned(),
                value: setting.default.map(str::to_owned),
                source: "default".to_owned(),
            },
        })
        .collect();
    if let Some(options) = matches.subcommand_matches("config") {
        let effective = |name: &str| effective(name, serve, &config, &workers, &checked);
        rows.extend(option_rows(&manual::command(), options, effective));
    }
    console::result(if args.json { as_json(&rows, &config) } else { as_table(&rows, &config) });
    Ok(())
}

/// A row for each option of `serve`, whether it is given or not.
fn option_rows(
    command: &Command,
    options: &ArgMatches,
    effective: impl Fn(&str) -> (Option<String>, &'static str),
) -> Vec<Row> {
    let arguments = command.find_subcommand("config").into_iter().flat_map(Command::get_arguments);
    let mut names: Vec<_> = arguments
        .map(|argument| argument.get_id().as_str())
        .filter(|name| !["help", "json"].contains(name) && !CONTRACT_OPTIONS.contains(name))
        .collect();
    names.sort_unstable();
    let row = |name: &str| {
        let given = options.get_raw(name).map(|values| {
            let values = values.map(|value| mask(name, &value.to_string_lossy())).collect::<Vec<_>>();
            values.join(" ")
        });
        let (value, source) = match options.value_source(name) {
            Some(ValueSource::CommandLine) => (given, "command line".to_owned()),
            Some(ValueSource::EnvVariable) => {
                (given, format!("environment variable SCOREBOX_{}", name.to_ascii_uppercase()))
            }
            Some(_) => (given, "default".to_owned()),
            None => {
                let (value, source) = effective(name);
                (value, source.to_owned())
            }
        };
        Row { name: format!("--{}", name.replace('_', "-")), value, source }
    };
    names.into_iter().map(row).collect()
}

/// What holds for an option that is not given and has no fixed default, and where that comes from.
fn effective(
    name: &str,
    serve: &ServeArgs,
    config: &Config,
    workers: &Workers,
    checked: &Checked,
) -> (Option<String>, &'static str) {
    const DEFAULT: &str = "default";
    const GUNICORN: &str = "environment variable GUNICORN_CMD_ARGS";
    let time = |time: Duration| Some(humantime::format_duration(time).to_string());
    let folder = |folder: PathBuf| folder.display().to_string();
    let (connections, sandbox) = (&checked.connections, &checked.sandbox);
    match name {
        "timeout" => (time(checked.plan.limits.deadline), "SCORING_TIMEOUT_MS and WORKER_TIMEOUT"),
        "threads" => {
            let source = if workers.concurrency.is_some() { "WORKER_COUNT and GUNICORN_CMD_ARGS" } else { DEFAULT };
            (Some(sandbox.threads.to_string()), source)
        }
        "max_running" => (Some(sandbox.max_running.to_string()), DEFAULT),
        "max_waiting" => (Some(sandbox.max_waiting.to_string()), DEFAULT),
        "idle_timeout" => {
            (time(connections.idle_timeout), if workers.keep_alive.is_some() { GUNICORN } else { DEFAULT })
        }
        "grace" => (time(connections.grace), if workers.grace.is_some() { GUNICORN } else { DEFAULT }),
        "log_level" => (Some(settings::log_level(serve, config).to_string()), "AZUREML_LOG_LEVEL"),
        "memory_budget" => (tenants::budget(serve).map(|bytes| ByteSize(bytes).to_string()), DEFAULT),
        "cache_dir" => (second_wall::cache_folder(&serve.cache, serve.manage.cache()).map(folder), DEFAULT),
        "telemetry_buffer" => (telemetry::buffer(serve).map(|buffer| folder(buffer.folder)), DEFAULT),
        "python_runtime" => (scorer::find_runtime(None).ok().map(folder), DEFAULT),
        _ => (None, DEFAULT),
    }
}

/// The variables that a scorer is given may be secrets of the user's.
fn mask(option: &str, value: &str) -> String {
    match value.split_once('=') {
        Some((name, _)) if option == "env" => format!("{name}={MASK}"),
        _ => value.to_owned(),
    }
}

fn as_table(rows: &[Row], config: &Config) -> String {
    let width = |text: fn(&Row) -> usize| rows.iter().map(text).max().unwrap_or_default();
    let name_width = width(|row| row.name.len());
    let value_width = width(|row| row.value.as_ref().map_or(1, String::len)).min(60);
    let mut lines = vec![match &config.file {
        Some(path) => format!("configuration file: {}", path.display()),
        None => "configuration file: none".to_owned(),
    }];
    if !config.extra_keys.is_empty() {
        lines.push(format!("keys of it that are no settings: {}", config.extra_keys.join(", ")));
    }
    if !config.ignored_keys.is_empty() {
        lines.push(format!("keys that count only in a file that is named: {}", config.ignored_keys.join(", ")));
    }
    lines.extend(rows.iter().map(|Row { name, value, source }| {
        let value = value.as_deref().unwrap_or("-");
        format!("{name:name_width$}  {value:value_width$}  {source}")
    }));
    lines.join("\n")
}

fn as_json(rows: &[Row], config: &Config) -> String {
    let settings: Map<_, _> = rows
        .iter()
        .map(|Row { name, value, source }| (name.clone(), json!({"value": value, "source": source})))
        .collect();
    let all = json!({
        "config_file": config.file,
        "extra_keys": config.extra_keys,
        "ignored_keys": config.ignored_keys,
        "settings": settings,
    });
    format!("{all:#}")
}
