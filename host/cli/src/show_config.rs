//! `scorebox config`: with what `serve` would start, and why.

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde_json::{Map, json};

use crate::args::ConfigArgs;
use crate::config::{Config, Environment, SETTINGS};
use crate::console;
use crate::failure::Failure;
use crate::settings;
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
    settings::check(serve, &config, settings::scorer(serve, &config)?, &Workers::read(&config)?)?;
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
        rows.extend(option_rows(options));
    }
    console::result(if args.json { as_json(&rows, &config) } else { as_table(&rows, &config) });
    Ok(())
}

fn option_rows(options: &ArgMatches) -> Vec<Row> {
    let mut names: Vec<_> = options
        .ids()
        .map(clap::Id::as_str)
        .filter(|name| name.starts_with(|first: char| first.is_ascii_lowercase()))
        .filter(|name| *name != "json" && !CONTRACT_OPTIONS.contains(name))
        .collect();
    names.sort_unstable();
    names
        .into_iter()
        .filter_map(|name| {
            let source = match options.value_source(name)? {
                ValueSource::CommandLine => "command line".to_owned(),
                ValueSource::EnvVariable => format!("environment variable SCOREBOX_{}", name.to_ascii_uppercase()),
                _ => "default".to_owned(),
            };
            let values = options.get_raw(name)?.map(|value| mask(name, &value.to_string_lossy())).collect::<Vec<_>>();
            Some(Row { name: format!("--{}", name.replace('_', "-")), value: Some(values.join(" ")), source })
        })
        .collect()
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
    let all = json!({"config_file": config.file, "extra_keys": config.extra_keys, "settings": settings});
    format!("{all:#}")
}
