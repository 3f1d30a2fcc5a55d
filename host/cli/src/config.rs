//! Settings from the environment and from the configuration file of Azure ML's inference server.
//!
//! The command line wins over the environment, and that over the file. Names and messages are those of the contract of
//! Azure ML's inference server 1.5.1.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::failure::Failure;

/// Where settings come from that are not on the command line.
#[derive(Debug)]
pub(crate) struct Config {
    file: Map<String, Value>,
    environment: fn(&str) -> Option<OsString>,
}

impl Config {
    /// Reads the configuration file: the one given, or else the one that `AZUREML_CONFIG_FILE` names. One that is not
    /// there or empty counts as none.
    pub(crate) fn load(given: Option<&Path>) -> Result<Self, Failure> {
        let environment = |name: &str| std::env::var_os(name);
        let path = given.map(Path::to_owned).or_else(|| environment("AZUREML_CONFIG_FILE").map(PathBuf::from));
        let file = match path {
            Some(path) => read(&path)?,
            None => Map::new(),
        };
        Ok(Self { file, environment })
    }

    /// The value of a setting as text, with where it came from.
    fn get(&self, name: &'static str) -> Option<(String, &'static str)> {
        if let Some(value) = (self.environment)(name) {
            return Some((value.to_string_lossy().into_owned(), "environment variable"));
        }
        let value = self.file.get(name)?;
        let text = match value {
            Value::Null => return None,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Some((text, "config file key"))
    }

    /// A setting that is text.
    pub(crate) fn text(&self, name: &'static str) -> Option<String> {
        self.get(name).map(|(text, _)| text)
    }

    /// A setting that is a whole number: `200` and `200.0`, but not `1.5`.
    pub(crate) fn integer(&self, name: &'static str) -> Result<Option<i64>, Failure> {
        let Some((text, source)) = self.get(name) else { return Ok(None) };
        let trimmed = text.trim();
        let digits = trimmed.strip_suffix(".0").unwrap_or(trimmed);
        digits.parse().map(Some).map_err(|_| {
            Failure::start(format!(
                "{name}: Input should be a valid integer, unable to parse string as an integer ({source}: {name})"
            ))
        })
    }

    /// A setting that is on or off.
    pub(crate) fn flag(&self, name: &'static str, default: bool) -> bool {
        self.get(name).map_or(default, |(text, _)| text.eq_ignore_ascii_case("true"))
    }
}

fn read(path: &Path) -> Result<Map<String, Value>, Failure> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => {
            return Err(Failure::start(format!("Invalid config file!: cannot read {}: {error}", path.display())));
        }
    };
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(&text) {
        Ok(Value::Object(keys)) => Ok(keys),
        Ok(_) => Err(Failure::start(format!("Invalid config file!: {} is not a JSON object", path.display()))),
        Err(error) => Err(Failure::start(format!("Invalid config file!: {}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Config {
        let Ok(Value::Object(file)) = serde_json::from_str(json) else { panic!("{json} is no object") };
        Config { file, environment: |name| (name == "FROM_ENVIRONMENT").then(|| "7".into()) }
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let config = config(r#"{"FROM_ENVIRONMENT": 1, "FROM_FILE": 2, "NULL": null}"#);
        assert_eq!(config.integer("FROM_ENVIRONMENT").unwrap(), Some(7));
        assert_eq!(config.integer("FROM_FILE").unwrap(), Some(2));
        assert_eq!(config.integer("NULL").unwrap(), None);
        assert_eq!(config.integer("ABSENT").unwrap(), None);
    }

    #[test]
    fn numbers_are_whole() {
        let config = config(r#"{"A": "200", "B": 200.0, "C": "1.5", "D": "abc"}"#);
        assert_eq!(config.integer("A").unwrap(), Some(200));
        assert_eq!(config.integer("B").unwrap(), Some(200));
        assert!(config.integer("C").is_err());
        assert!(config.integer("D").is_err());
    }
}
