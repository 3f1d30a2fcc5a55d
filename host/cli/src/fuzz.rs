//! Ways in for the fuzz targets: what reads bytes from outside, with plain values around it. No API.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::num::NonZeroUsize;
use std::path::Path;

use crate::azmlinfsrv;
use crate::build;
use crate::config::{Config, Environment, SETTINGS, Source};
use crate::python::{Archived, Requirement, RequirementFiles, archive_component, imports};
use crate::workers::Workers;

/// Paths and contents.
pub type Files = Vec<(String, Vec<u8>)>;

/// A setting: its name, its value, and where that came from.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name in the contract.
    pub name: &'static str,
    /// Its value, as the environment would have it.
    pub value: String,
    /// `command line`, `environment` or `file`.
    pub source: &'static str,
}

/// What a configuration comes to.
#[derive(Debug)]
pub struct Configured {
    /// All that is set.
    pub settings: Vec<Setting>,
    /// Keys of the file that are no settings.
    pub extra_keys: Vec<String>,
    /// What is wrong with it.
    pub error: Option<String>,
    /// The workers, if they can be read.
    pub workers: Option<Gunicorn>,
}

/// What is taken over of gunicorn's settings.
#[derive(Debug)]
pub struct Gunicorn {
    /// How many requests are scored at the same time.
    pub concurrency: Option<NonZeroUsize>,
    /// What has no effect.
    pub without_effect: Vec<String>,
}

/// The names of all settings of the contract.
pub fn settings() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|setting| setting.name)
}

/// Puts the command line, the environment and a configuration file together.
pub fn configure(command_line: &[(&'static str, String)], environment: &[(String, String)], file: &Path) -> Configured {
    let own = ("AZUREML_CONFIG_FILE".to_owned(), file.to_string_lossy().into_owned());
    let variables = environment.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(&own.0)).cloned();
    let environment = Environment::from_variables(variables.chain([own.clone()]));
    let config = Config::load(&command_line.iter().cloned().collect::<BTreeMap<_, _>>(), &environment);
    let source = |source: &Source| match source {
        Source::CommandLine => "command line",
        Source::Environment(_) => "environment",
        Source::File(_) => "file",
    };
    let settings = SETTINGS.iter().filter_map(|setting| {
        let resolved = config.get(setting.name)?;
        Some(Setting { name: setting.name, value: resolved.text.clone(), source: source(&resolved.source) })
    });
    let workers = Workers::read(&config).ok();
    Configured {
        settings: settings.collect(),
        extra_keys: config.extra_keys.clone(),
        error: config.check().err().map(ToString::to_string),
        workers: workers
            .map(|workers| Gunicorn { concurrency: workers.concurrency, without_effect: workers.without_effect }),
    }
}

/// The imports that are preloaded of a script, of whose app `own` is a module.
pub fn script_imports(text: &str, own: &str) -> String {
    imports(text, |name| name == own)
}

/// Reads the command line of Azure ML's inference server: its options with their values, or what is wrong.
pub fn options(arguments: &[String]) -> Result<Vec<(&'static str, Option<String>)>, String> {
    match azmlinfsrv::read(arguments) {
        azmlinfsrv::Parsed::Options(options) => Ok(options),
        azmlinfsrv::Parsed::Help => Err("help".to_owned()),
        azmlinfsrv::Parsed::Wrong(why) => Err(why),
    }
}

/// Whether options that were read are options of `scorebox serve` as well.
pub fn serves(arguments: &[String]) -> bool {
    azmlinfsrv::parse(arguments).is_ok()
}

/// Reads an archive: its files, and an archive that is made of them again; or what is wrong with it.
pub fn unpack(archive: &[u8], limit: u64) -> Result<(Files, Vec<u8>), String> {
    let (files, packed) = match Archived::unpack(Cursor::new(archive), limit).map_err(|error| error.to_string())? {
        Archived::App(app) => {
            let packed = app.archive(None);
            (app.files, packed)
        }
        Archived::Component { component, files } => {
            let packed = archive_component(&component, &files);
            (files, packed)
        }
    };
    let packed = packed.map_err(|error| error.to_string())?;
    Ok((files.into_iter().map(|file| (file.path, file.contents)).collect(), packed))
}

/// Reads a wheel: the files that are installed, or what is wrong with it.
pub fn wheel(bytes: &[u8]) -> Result<Files, String> {
    build::unpack_wheel(bytes).map(|files| files.into_iter().map(|file| (file.path, file.contents)).collect())
}

/// Reads a requirement, and writes it.
pub fn requirement(text: &str) -> Result<String, String> {
    let requirement: Requirement = text.parse()?;
    requirement.applies("");
    Ok(requirement.to_string())
}

/// Reads a requirement file: what it asks for, its constraints and pip's options, or what is wrong with it.
pub fn requirement_file(path: &Path) -> Result<[Vec<String>; 3], String> {
    let files = RequirementFiles::read_file(path).map_err(|error| error.to_string())?;
    let written = |list: &[crate::python::Wanted]| list.iter().map(|wanted| wanted.requirement.to_string()).collect();
    Ok([written(&files.wanted), written(&files.constraints), files.options])
}
