//! The settings of the contract: from the command line, the environment and the configuration file of Azure ML's inference
//! server 1.5.1.
//!
//! The command line wins over the environment, and that over the file. A setting has the name by which that server really
//! knows it; where its documentation has another one, that is taken as well, and the real one wins.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// The configuration file where none is named.
const CONFIG_FILE: &str = "config.json";

/// The setting that names the scorer.
const ENTRY_SCRIPT: &str = "AZUREML_ENTRY_SCRIPT";
/// The setting that names the model directory.
const MODEL_DIR: &str = "AZUREML_MODEL_DIR";
/// The settings that name what is read, each with another way to name that. The source directory is none of them: it has to
/// be in the app folder, whoever names it.
const READ: [(&str, &str); 2] =
    [(ENTRY_SCRIPT, "the script with --entry_script"), (MODEL_DIR, "the model directory with --model_dir")];

/// Whether the configuration file may have a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InFile {
    Any,
    /// Only one that is named on the command line or in the environment. One that is found in the app folder is as little to
    /// be trusted as the app is, and that server reads these keys in neither.
    Named,
    None,
}

impl InFile {
    fn allows(self, is_named: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Named => is_named,
            Self::None => false,
        }
    }
}

/// What a setting can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// Text that nobody is shown.
    Secret,
    Integer,
    /// On or off.
    Flag,
}

/// A setting of the contract.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its name in the environment and in the file.
    pub(crate) name: &'static str,
    /// What the documentation calls it.
    other_names: &'static [&'static str],
    /// What holds when nobody says.
    pub(crate) default: Option<&'static str>,
    kind: Kind,
    in_file: InFile,
}

const fn setting(name: &'static str, kind: Kind, default: Option<&'static str>) -> Setting {
    Setting { name, other_names: &[], default, kind, in_file: InFile::Any }
}

impl Setting {
    const fn or(mut self, other_names: &'static [&'static str]) -> Self {
        self.other_names = other_names;
        self
    }

    const fn only_in_environment(mut self) -> Self {
        self.in_file = InFile::None;
        self
    }

    const fn only_in_named_file(mut self) -> Self {
        self.in_file = InFile::Named;
        self
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.other_names.iter().copied())
    }

    /// Whether its value is not to be shown.
    pub(crate) fn is_secret(&self) -> bool {
        self.kind == Kind::Secret
    }
}

/// All settings of the contract. Those that are only in the environment are read there by that server's start script, or by
/// the libraries that it uses.
pub(crate) static SETTINGS: [Setting; 29] = [
    setting("AML_APP_ROOT", Kind::Text, None).only_in_named_file(),
    setting("AZUREML_SOURCE_DIRECTORY", Kind::Text, None).or(&["AML_SOURCE_DIRECTORY"]),
    setting(ENTRY_SCRIPT, Kind::Text, None).or(&["AML_ENTRY_SCRIPT"]),
    setting("SERVICE_NAME", Kind::Text, Some("ML service")),
    setting("WORKSPACE_NAME", Kind::Text, Some("")),
    setting("SERVICE_PATH_PREFIX", Kind::Text, Some("")),
    setting("SERVICE_VERSION", Kind::Text, Some("1.0")),
    setting("SCORING_TIMEOUT_MS", Kind::Integer, Some("3600000")),
    setting("AZUREML_LOG_LEVEL", Kind::Text, None),
    setting("AML_APP_INSIGHTS_ENABLED", Kind::Text, None).or(&["AML_APPINSIGHTS_ENABLED"]).only_in_named_file(),
    setting("AML_APP_INSIGHTS_KEY", Kind::Secret, None).only_in_named_file(),
    setting("AML_MDC_STORAGE_ENABLED", Kind::Flag, Some("false"))
        .or(&["AML_MODEL_DC_STORAGE_ENABLED"])
        .only_in_named_file(),
    setting("APP_INSIGHTS_LOG_RESPONSE_ENABLED", Kind::Flag, Some("true")),
    setting("AML_CORS_ORIGINS", Kind::Text, None).only_in_named_file(),
    setting(MODEL_DIR, Kind::Text, None),
    setting("HOSTNAME", Kind::Text, Some("Unknown")),
    setting("AZUREML_DEBUG_PORT", Kind::Integer, None),
    setting("AML_APP_INSIGHTS_ENDPOINT", Kind::Text, None).only_in_named_file(),
    setting("APPLICATIONINSIGHTS_CONNECTION_STRING", Kind::Secret, None).only_in_environment(),
    setting("AZUREML_CONFIG_FILE", Kind::Text, None).only_in_environment(),
    setting("WORKER_COUNT", Kind::Text, None).only_in_environment(),
    setting("WORKER_TIMEOUT", Kind::Text, None).only_in_environment(),
    setting("WORKER_PRELOAD", Kind::Text, None).only_in_environment(),
    setting("GUNICORN_CMD_ARGS", Kind::Text, None).only_in_environment(),
    setting("SEPERATE_HEALTH_ENDPOINT", Kind::Text, None).or(&["SEPARATE_HEALTH_ENDPOINT"]).only_in_environment(),
    setting("SERVER_VERSION_LOG_RESPONSE_ENABLED", Kind::Text, None).only_in_environment(),
    setting("HTTP_X_MS_SERVER_VERSION", Kind::Text, None).only_in_environment(),
    setting("AML_DBG_MODEL_INFO", Kind::Text, None).only_in_environment(),
    setting("AML_DBG_RESOURCE_INFO", Kind::Text, None).only_in_environment(),
];

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// An option of the command line.
    CommandLine,
    /// A variable of the environment.
    Environment(String),
    /// A key of the configuration file.
    File(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::File(key) => write!(f, "key {key} of the configuration file"),
        }
    }
}

/// A value, checked and written as the environment would have it.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub(crate) text: String,
    pub(crate) source: Source,
}

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be used.
    #[error("Invalid config file!: {}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Values are not what their settings take.
    #[error("{}", .0.join("\n"))]
    Values(Vec<String>),
}

impl ConfigError {
    /// What the log says, in the form of the contract.
    pub(crate) fn log(&self) {
        match self {
            Self::File { .. } => tracing::error!(target: "azmlinfsrv", critical = true, "{self}"),
            Self::Values(errors) => {
                for error in errors {
                    tracing::error!(
                        target: "azmlinfsrv",
                        critical = true,
                        "\n===============Configuration Error=================\n{error}\n\
                         ==================================================="
                    );
                }
            }
        }
    }
}

/// The settings that somebody has given.
#[derive(Debug)]
pub(crate) struct Config {
    values: BTreeMap<&'static str, Resolved>,
    /// The configuration file, where there is one.
    pub(crate) file: Option<PathBuf>,
    /// Keys of the file that are no settings.
    pub(crate) extra_keys: Vec<String>,
    /// Keys of the file that count only in one that is named, which this one is not.
    pub(crate) ignored_keys: Vec<String>,
    /// What is wrong with it, if anything. What is right can be shown all the same.
    error: Option<ConfigError>,
}

/// The environment, with its names in capitals: the contract does not tell them apart.
#[derive(Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, (String, String)>);

impl Environment {
    /// That of the process.
    pub(crate) fn of_process() -> Self {
        Self::from_variables(
            env::vars_os().map(|(name, value)| (name.to_string_lossy().into(), value.to_string_lossy().into())),
        )
    }

    pub(crate) fn from_variables(variables: impl Iterator<Item = (String, String)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            let capitals = name.to_ascii_uppercase();
            // The name as it is wins over others that differ in case.
            if name == capitals || !environment.0.contains_key(&capitals) {
                environment.0.insert(capitals, (name, value));
            }
        }
        environment
    }

    fn get(&self, name: &str) -> Option<(String, &str)> {
        self.0.get(name).map(|(name, value)| (name.clone(), &**value))
    }
}

impl Config {
    /// Puts together what the command line, the environment and the configuration file say.
    ///
    /// The file is the one that `AZUREML_CONFIG_FILE` names, else `config.json` in the app folder, which is the current one
    /// where nobody says, else `config.json` beside the entry script. One that is not there or empty is passed over. One that
    /// is not named may not say where data goes, nor have a script or a model directory that is not below its folder.
    pub(crate) fn load(command_line: &BTreeMap<&'static str, String>, environment: &Environment) -> Self {
        let given = |setting: &Setting| {
            if let Some(text) = command_line.get(setting.name) {
                return Some((text.clone(), Source::CommandLine));
            }
            let (name, value) = setting.names().find_map(|name| environment.get(name))?;
            Some((value.to_owned(), Source::Environment(name)))
        };
        let text =
            |name: &str| SETTINGS.iter().find(|setting| setting.name == name).and_then(given).map(|(text, _)| text);
        let scorer = text(ENTRY_SCRIPT).map(PathBuf::from);
        let folder = scorer.as_deref().map(folder_of);
        // A folder that is served is its own app folder.
        let served = folder.filter(|folder| scorer.as_deref() == Some(*folder));
        let app_root = text("AML_APP_ROOT").map_or_else(|| served.unwrap_or(Path::new(".")).to_owned(), PathBuf::from);
        let named = text("AZUREML_CONFIG_FILE").map(PathBuf::from);
        let places = named
            .iter()
            .cloned()
            .chain([app_root.join(CONFIG_FILE)])
            .chain(folder.map(|folder| folder.join(CONFIG_FILE)));
        let file = places.into_iter().find(|path| fs::metadata(path).is_ok_and(|data| data.len() > 0));
        let is_named = file.is_some() && file == named;
        let (keys, file_error) = match file.as_deref().map(read) {
            None => (Map::new(), None),
            Some(Ok(keys)) => (keys, None),
            Some(Err(error)) => (Map::new(), Some(error)),
        };

        let (mut values, mut errors) = (BTreeMap::new(), Vec::new());
        for setting in &SETTINGS {
            let resolved = match given(setting) {
                Some((text, source)) => setting.kind.of_text(&text).map(|text| Some(Resolved { text, source })),
                None if setting.in_file.allows(is_named) => setting.find_in(&keys),
                None => Ok(None),
            };
            match resolved {
                Ok(None) => {}
                Ok(Some(resolved)) => {
                    values.insert(setting.name, resolved);
                }
                Err(why) => errors.push(format!("{}: {why} (environment variable: {0})", setting.name)),
            }
        }
        let in_file = |key: &str| {
            let setting = SETTINGS.iter().find(|setting| setting.names().any(|name| name == key));
            setting.map_or(InFile::None, |setting| setting.in_file)
        };
        let extra_keys = keys.keys().filter(|key| !in_file(key).allows(true)).cloned().collect();
        let ignored = |key: &&String| in_file(key) == InFile::Named && !is_named;
        let ignored_keys = keys.keys().filter(ignored).cloned().collect();
        let mut config = Self { values, file, extra_keys, ignored_keys, error: None };
        config.error = file_error
            .or_else(|| if is_named { None } else { config.outside() })
            .or_else(|| (!errors.is_empty()).then_some(ConfigError::Values(errors)));
        config
    }

    /// What is wrong where the file has a script or a model directory that is not below its own folder.
    fn outside(&self) -> Option<ConfigError> {
        let path = self.file.as_ref()?;
        let file = path.canonicalize().ok();
        READ.into_iter().find_map(|(name, instead)| {
            let given = self.get(name).filter(|given| matches!(given.source, Source::File(_)))?;
            // A script that is not in the current directory is looked for in the app folder, in which such a file is then.
            let here = Path::new(&given.text).canonicalize();
            let read = here.or_else(|_| folder_of(path).join(&given.text).canonicalize()).ok()?;
            if file.as_deref().is_some_and(|file| read.starts_with(folder_of(file))) {
                return None;
            }
            let why = format!(
                "{name} is {}, which is not below its folder; if that is meant, name the file with --config_file, or \
                 {instead}",
                given.text
            );
            Some(ConfigError::File { path: path.clone(), why })
        })
    }

    /// Whether all of it can be used.
    pub(crate) fn check(&self) -> Result<(), &ConfigError> {
        self.error.as_ref().map_or(Ok(()), Err)
    }

    /// A setting that is text, where the command line or the environment gives it.
    pub(crate) fn text_outside_file(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|given| !matches!(given.source, Source::File(_))).map(|given| &*given.text)
    }

    /// A setting as it was given.
    pub(crate) fn get(&self, name: &str) -> Option<&Resolved> {
        debug_assert!(SETTINGS.iter().any(|setting| setting.name == name), "{name} is no setting");
        self.values.get(name)
    }

    /// A setting that is text, where somebody has given it.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).map(|resolved| &*resolved.text)
    }

    /// A setting that is text, or its default.
    pub(crate) fn text_or_default(&self, name: &str) -> &str {
        let default = SETTINGS.iter().find(|setting| setting.name == name).and_then(|setting| setting.default);
        self.text(name).or(default).unwrap_or_default()
    }

    /// A setting that is a whole number.
    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        self.text(name).and_then(|text| text.parse().ok())
    }

    /// A setting that is on or off.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.text_or_default(name) == "true"
    }
}

impl Setting {
    /// Its value in the file; `null` counts as none.
    fn find_in(&self, keys: &Map<String, Value>) -> Result<Option<Resolved>, &'static str> {
        let found = self.names().find_map(|name| Some((name, keys.get(name).filter(|value| !value.is_null())?)));
        let Some((name, value)) = found else { return Ok(None) };
        // The one text that may be true or false instead: the file says so in JSON.
        let kind = if self.name == "AML_APP_INSIGHTS_ENABLED" { Kind::Flag } else { self.kind };
        let text = kind.of_value(value)?;
        Ok(Some(Resolved { text, source: Source::File(name) }))
    }
}

impl Kind {
    /// Checks a text. The rules and messages are those of pydantic 2, by which that server reads its settings.
    fn of_text(self, text: &str) -> Result<String, &'static str> {
        match self {
            Self::Text | Self::Secret => Ok(text.to_owned()),
            Self::Integer => {
                let digits = text.trim();
                let whole = digits.split_once('.').map_or(digits, |(whole, fraction)| {
                    if fraction.bytes().all(|digit| digit == b'0') { whole } else { "" }
                });
                whole
                    .replace('_', "")
                    .parse::<i64>()
                    .map(|number| number.to_string())
                    .map_err(|_| "Input should be a valid integer, unable to parse string as an integer")
            }
            Self::Flag => match &*text.to_ascii_lowercase() {
                "true" | "t" | "yes" | "y" | "on" | "1" => Ok("true".to_owned()),
                "false" | "f" | "no" | "n" | "off" | "0" => Ok("false".to_owned()),
                _ => Err("Input should be a valid boolean, unable to interpret input"),
            },
        }
    }

    /// Checks a value of the file.
    fn of_value(self, value: &Value) -> Result<String, &'static str> {
        match (self, value) {
            (_, Value::String(text)) => self.of_text(text),
            (Self::Text | Self::Secret, _) => Err("Input should be a valid string"),
            (Self::Integer, Value::Bool(value)) => Ok(i64::from(*value).to_string()),
            (Self::Integer, Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
                (Some(number), _) => Ok(number.to_string()),
                // Every whole number of this size is one that is a float too.
                (None, Some(float)) if float.fract() == 0.0 && float.abs() < 9.2e18 => Ok((float as i64).to_string()),
                (None, Some(float)) if float.fract() == 0.0 => {
                    Err("Input should be a valid integer, it has more digits than can be used")
                }
                _ => Err("Input should be a valid integer, got a number with a fractional part"),
            },
            (Self::Integer, _) => Err("Input should be a valid integer"),
            (Self::Flag, Value::Bool(value)) => Ok(value.to_string()),
            (Self::Flag, Value::Number(number)) => match number.as_f64() {
                Some(0.0) => Ok("false".to_owned()),
                Some(1.0) => Ok("true".to_owned()),
                _ => Err("Input should be a valid boolean, unable to interpret input"),
            },
            (Self::Flag, _) => Err("Input should be a valid boolean"),
        }
    }
}

/// The folder of a scorer: itself, or the one that it lies in.
pub(crate) fn folder_of(scorer: &Path) -> &Path {
    if scorer.is_dir() { scorer } else { scorer.parent().unwrap_or(Path::new("/")) }
}

fn read(path: &Path) -> Result<Map<String, Value>, ConfigError> {
    let invalid = |why: String| ConfigError::File { path: path.to_owned(), why };
    let text = fs::read(path).map_err(|error| invalid(format!("cannot read it: {error}")))?;
    match serde_json::from_slice(&text) {
        Ok(Value::Object(keys)) => Ok(keys),
        Ok(_) => Err(invalid("it is no JSON object".to_owned())),
        Err(error) => Err(invalid(format!("it is not JSON: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(command_line: &[(&'static str, &str)], environment: &[(&str, &str)], json: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("given.json");
        fs::write(&path, json).expect("it can be written to");
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut variables: Vec<_> = environment.iter().map(own).collect();
        variables.push(("AZUREML_CONFIG_FILE".to_owned(), path.display().to_string()));
        variables.push(("AML_APP_ROOT".to_owned(), folder.path().join("app").display().to_string()));
        let command_line = command_line.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let config = Config::load(&command_line, &Environment::from_variables(variables.into_iter()));
        config.check().map_err(ToString::to_string)?;
        Ok(config)
    }

    #[test]
    fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
        let file = r#"{"SERVICE_NAME": "file", "SERVICE_VERSION": "file", "WORKSPACE_NAME": "file"}"#;
        let environment = [("SERVICE_NAME", "environment"), ("SERVICE_VERSION", "environment")];
        let config = load(&[("SERVICE_NAME", "command line")], &environment, file).unwrap();
        assert_eq!(config.text("SERVICE_NAME"), Some("command line"));
        assert_eq!(config.text("SERVICE_VERSION"), Some("environment"));
        assert_eq!(config.text("WORKSPACE_NAME"), Some("file"));
        assert_eq!(config.text("SERVICE_PATH_PREFIX"), None);
        assert_eq!(config.text_or_default("SCORING_TIMEOUT_MS"), "3600000");
    }

    #[test]
    fn a_documented_name_is_taken_and_the_real_one_wins() {
        let config = load(&[], &[("AML_ENTRY_SCRIPT", "a.py")], "").unwrap();
        assert_eq!(config.text("AZUREML_ENTRY_SCRIPT"), Some("a.py"));
        let both = [("AML_ENTRY_SCRIPT", "a.py"), ("AZUREML_ENTRY_SCRIPT", "b.py")];
        assert_eq!(load(&[], &both, "").unwrap().text("AZUREML_ENTRY_SCRIPT"), Some("b.py"));
        let file = r#"{"AML_MODEL_DC_STORAGE_ENABLED": true, "AML_MDC_STORAGE_ENABLED": false}"#;
        assert!(!load(&[], &[], file).unwrap().flag("AML_MDC_STORAGE_ENABLED"));
        assert!(load(&[], &[], r#"{"AML_MODEL_DC_STORAGE_ENABLED": true}"#).unwrap().flag("AML_MDC_STORAGE_ENABLED"));
    }

    #[test]
    fn names_in_the_environment_are_not_told_apart_by_case() {
        assert_eq!(load(&[], &[("service_name", "x")], "").unwrap().text("SERVICE_NAME"), Some("x"));
        let both = [("SERVICE_NAME", "x"), ("service_name", "y")];
        assert_eq!(load(&[], &both, "").unwrap().text("SERVICE_NAME"), Some("x"));
    }

    #[test]
    fn whole_numbers_are_taken_in_all_their_forms() {
        for (json, expected) in
            [("200", "200"), ("200.0", "200"), ("\"200\"", "200"), ("\" 2_00.0 \"", "200"), ("true", "1")]
        {
            let config = load(&[], &[], &format!("{{\"SCORING_TIMEOUT_MS\": {json}}}")).unwrap();
            assert_eq!(config.text("SCORING_TIMEOUT_MS"), Some(expected), "{json}");
        }
    }

    #[test]
    fn values_of_another_kind_are_refused_with_the_words_of_the_contract() {
        let integer = "Input should be a valid integer";
        let boolean = "Input should be a valid boolean";
        for (name, json, expected) in [
            ("SCORING_TIMEOUT_MS", "\"abc\"", format!("{integer}, unable to parse string as an integer")),
            ("SCORING_TIMEOUT_MS", "\"1.5\"", format!("{integer}, unable to parse string as an integer")),
            ("SCORING_TIMEOUT_MS", "1.5", format!("{integer}, got a number with a fractional part")),
            ("SCORING_TIMEOUT_MS", "[]", integer.to_owned()),
            ("APP_INSIGHTS_LOG_RESPONSE_ENABLED", "\"maybe\"", format!("{boolean}, unable to interpret input")),
            ("SERVICE_VERSION", "2", "Input should be a valid string".to_owned()),
        ] {
            let error = load(&[], &[], &format!("{{\"{name}\": {json}}}")).unwrap_err();
            assert_eq!(error, format!("{name}: {expected} (environment variable: {name})"));
        }
    }

    #[test]
    fn the_file_may_be_empty_but_not_something_else_than_an_object() {
        assert!(load(&[], &[], "").is_ok());
        assert!(load(&[], &[], "[]").unwrap_err().contains("no JSON object"));
        assert!(load(&[], &[], "{").unwrap_err().starts_with("Invalid config file!"));
    }

    #[test]
    fn a_file_that_nobody_names_does_not_say_where_data_goes() {
        const KEYS: &str = r#"{"SERVICE_NAME": "x", "AML_APP_INSIGHTS_ENABLED": true, "AML_APP_INSIGHTS_KEY": "k",
            "AML_APP_INSIGHTS_ENDPOINT": "http://127.0.0.1:9", "AML_MODEL_DC_STORAGE_ENABLED": true, "AML_CORS_ORIGINS": "*",
            "AML_APP_ROOT": "/"}"#;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        fs::write(folder.path().join(CONFIG_FILE), KEYS).expect("it can be written to");
        let app_root = [("AML_APP_ROOT", folder.path().display().to_string())];
        let config = Config::load(&BTreeMap::from(app_root.clone()), &Environment::default());
        config.check().unwrap();
        assert_eq!(config.text("SERVICE_NAME"), Some("x"));
        assert_eq!(config.values.len(), 2, "{:?}", config.values);
        assert_eq!(config.ignored_keys.len(), 6, "{:?}", config.ignored_keys);
        let named = ("AZUREML_CONFIG_FILE", folder.path().join(CONFIG_FILE).display().to_string());
        let config = Config::load(&app_root.into_iter().chain([named]).collect(), &Environment::default());
        assert_eq!(config.text("AML_APP_INSIGHTS_KEY"), Some("k"));
        assert_eq!(config.values.len(), 8, "{:?}", config.values);
        assert!(config.ignored_keys.is_empty());
    }

    #[test]
    fn a_file_that_nobody_names_has_a_script_and_a_model_below_its_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let (app, other) = (folder.path().join("app"), folder.path().join("other"));
        for path in [&app, &other] {
            fs::create_dir_all(path.join("model")).expect("a folder");
            fs::write(path.join("score.py"), "").expect("a file");
        }
        std::os::unix::fs::symlink(&other, app.join("link")).expect("a link");
        let app_root = BTreeMap::from([("AML_APP_ROOT", app.display().to_string())]);
        let config = |key: &str, path: &Path| {
            fs::write(app.join(CONFIG_FILE), serde_json::json!({ key: path }).to_string()).expect("a file");
            Config::load(&app_root, &Environment::default())
        };
        for (key, path) in [
            (ENTRY_SCRIPT, &PathBuf::from("score.py")),
            (ENTRY_SCRIPT, &app.join("score.py")),
            (ENTRY_SCRIPT, &PathBuf::from("missing.py")),
            (MODEL_DIR, &app.join("model")),
        ] {
            config(key, path).check().unwrap();
        }
        for (key, path) in [
            (ENTRY_SCRIPT, &other.join("score.py")),
            (ENTRY_SCRIPT, &other),
            ("AML_ENTRY_SCRIPT", &other.join("score.py")),
            (ENTRY_SCRIPT, &PathBuf::from("../other/score.py")),
            (ENTRY_SCRIPT, &PathBuf::from("link/score.py")),
            (MODEL_DIR, &other.join("model")),
            (MODEL_DIR, &app.join("link/model")),
        ] {
            let error = config(key, path).check().unwrap_err().to_string();
            assert!(error.contains(&format!("is {}, which is not below its folder", path.display())), "{error}");
        }
    }

    #[test]
    fn keys_that_are_no_settings_are_named() {
        let config =
            load(&[], &[], r#"{"BOGUS": 1, "SERVICE_NAME": "x", "service_name": "y", "WORKER_COUNT": 2}"#).unwrap();
        assert_eq!(config.extra_keys, ["BOGUS", "service_name", "WORKER_COUNT"]);
    }
}
