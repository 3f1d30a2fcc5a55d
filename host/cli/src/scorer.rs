//! From what is named on the command line to what is deployed.

use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use bytes::Bytes;
use scorebox_control::ReadBundle;
use scorebox_sandbox::{Bundle, Code, MODULE_FILE, Runtime, model_dir_of};
use scorebox_server::swagger::SwaggerVersion;

use crate::args::PythonArgs;
use crate::python::{
    self, ARCHIVE_EXTENSION, App, Archived, Carried, GUEST_APP, MAIN_SCRIPT, check_requirements, parse_carried, preload,
};

/// The script of an app when nobody says.
const SCRIPT: &str = "score.py";
/// The folder of the Python runtime.
const RUNTIME: &str = "python-runtime";
/// In it, the list of the packages that the runtime carries.
const PACKAGES: &str = "packages.json";

/// What is to be served.
#[derive(Debug, Clone)]
pub(crate) enum Scorer {
    /// A component, a script, an archive, or a folder with a component or a script.
    Path(PathBuf),
    /// The module `main` of the app folder.
    Main,
}

impl std::fmt::Display for Scorer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Main => f.write_str(MAIN_SCRIPT),
        }
    }
}

/// Where the parts of a scorer are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<'a> {
    pub(crate) scorer: &'a Scorer,
    pub(crate) model_dir: Option<&'a Path>,
    /// The app folder of a script: `AML_APP_ROOT`.
    pub(crate) app_root: Option<&'a Path>,
    /// Folder in the app folder from which modules are imported: `AZUREML_SOURCE_DIRECTORY`.
    pub(crate) source_dir: Option<&'a str>,
}

/// Reads a scorer. `environment` is what a script is given besides what says where its files are.
pub(crate) fn read(
    places: &Places<'_>,
    python: &PythonArgs,
    environment: Vec<(String, String)>,
    limit: u64,
) -> Result<Bundle, String> {
    let scorer = match places.scorer {
        Scorer::Path(path) => &**path,
        Scorer::Main => {
            let main = places.app_root.map_or_else(|| PathBuf::from(MAIN_SCRIPT), |root| root.join(MAIN_SCRIPT));
            return read_app(places, &main, python, environment, limit).map(|bundle| finish(bundle, python));
        }
    };
    let is = |ending: &str| scorer.extension().is_some_and(|found| found == ending);
    let script = scorer.join(SCRIPT);
    let bundle = if is("py") {
        read_app(places, scorer, python, environment, limit)?
    } else if is(ARCHIVE_EXTENSION) {
        if let Some(folder) = places.model_dir {
            return Err(format!(
                "{} brings its own model directory, so {} is not read; leave it out, or build the archive anew with \
                 --model_dir",
                scorer.display(),
                folder.display()
            ));
        }
        let runtime = || open_runtime(&find_runtime(python.python_runtime.as_deref())?);
        let mut bundle = read_archive(scorer, environment, runtime, limit)?;
        if matches!(bundle.code, Code::Component(_)) {
            // What the contract has is for scripts, and has the port in it: at another one it would be another module.
            bundle.environment.clear();
        }
        bundle
    } else if scorer.is_dir() && script.is_file() && !scorer.join(MODULE_FILE).exists() {
        let model_dir = model_dir_of(scorer, places.model_dir).map_err(|error| error.to_string())?;
        let places = Places { model_dir: model_dir.as_deref(), app_root: places.app_root.or(Some(scorer)), ..*places };
        read_app(&places, &script, python, environment, limit)?
    } else {
        Bundle::read(scorer, places.model_dir, limit).map_err(|error| error.to_string())?
    };
    Ok(finish(bundle, python))
}

/// Reads an archive.
fn read_archive(
    path: &Path,
    environment: Vec<(String, String)>,
    runtime: impl FnOnce() -> Result<Runtime, String>,
    limit: u64,
) -> Result<Bundle, String> {
    match Archived::read(path, limit).map_err(|error| error.to_string())? {
        Archived::App(app) => Ok(app_bundle(app, environment, runtime()?)),
        Archived::Component { component, files } => {
            let (owner, code) = (String::new(), Code::Component(component));
            Ok(Bundle { owner, code, environment, files, model_dir: None, preload: None })
        }
    }
}

/// Bundles that were uploaded: archives and components. Which one it is is in its first bytes.
#[derive(Debug)]
pub(crate) struct Uploaded {
    /// The folder of the Python runtime, if the user names one.
    python_runtime: Option<PathBuf>,
    /// The runtime that was used last: to read all of it for each of its deployments takes longer than to load one.
    opened: Mutex<Option<Runtime>>,
}

impl Uploaded {
    /// Such with the Python runtime in this folder, if the user names one.
    pub(crate) fn new(python_runtime: Option<PathBuf>) -> Self {
        Self { python_runtime, opened: Mutex::default() }
    }

    fn runtime(&self) -> Result<Runtime, String> {
        let folder = find_runtime(self.python_runtime.as_deref())?;
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = opened.as_ref().filter(|runtime| runtime.folder() == folder && runtime.is_unchanged()) {
            return Ok(runtime.clone());
        }
        let runtime = open_runtime(&folder)?;
        *opened = Some(runtime.clone());
        Ok(runtime)
    }
}

impl ReadBundle for Uploaded {
    fn read(
        &self,
        path: &Path,
        environment: &BTreeMap<String, String>,
        limit: u64,
    ) -> Result<(Bundle, BTreeMap<String, Bytes>), String> {
        const MAGIC: usize = 4;
        let mut magic = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAGIC as u64).read_to_end(&mut magic))
            .map_err(|error| format!("cannot read the bundle {}: {error}", path.display()))?;
        let environment: Vec<_> = environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut bundle = match &*magic {
            b"\0asm" => Bundle { environment, ..Bundle::read(path, None, limit).map_err(|error| error.to_string())? },
            b"PK\x03\x04" => read_archive(path, environment, || self.runtime(), limit)?,
            _ => {
                return Err(
                    "the bundle is neither a component nor an archive; upload a component of the world `scorer`, or \
                            what `scorebox build` or `scorebox deploy` makes"
                        .to_owned(),
                );
            }
        };
        sort_environment(&mut bundle);
        let documents =
            swagger_names().filter_map(|name| Some((name.to_owned(), file_of_app(&bundle, name)?))).collect();
        Ok((bundle, documents))
    }
}

/// Adds the environment variables that the user gives.
fn finish(mut bundle: Bundle, python: &PythonArgs) -> Bundle {
    let passed = python.pass_env.iter().filter_map(|name| Some((name.clone(), env::var(name).ok()?)));
    bundle.environment.extend(passed);
    bundle.environment.extend(python.env.iter().map(|Variable { name, value }| (name.clone(), value.clone())));
    sort_environment(&mut bundle);
    bundle
}

/// Puts the variables in order. The last of a name counts.
fn sort_environment(bundle: &mut Bundle) {
    bundle.environment.reverse();
    bundle.environment.sort_by(|a, b| a.0.cmp(&b.0));
    bundle.environment.dedup_by(|a, b| a.0 == b.0);
}

/// An environment variable on the command line: `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl std::str::FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !text.contains('\0') => {
                Ok(Self { name: name.to_owned(), value: value.to_owned() })
            }
            _ => Err(format!("{text:?} is no variable; write NAME=VALUE")),
        }
    }
}

fn read_app(
    places: &Places<'_>,
    script: &Path,
    python: &PythonArgs,
    environment: Vec<(String, String)>,
    limit: u64,
) -> Result<Bundle, String> {
    let runtime = find_runtime(python.python_runtime.as_deref())?;
    // The contract takes folders that do not exist, and so do scripts that need none.
    let is_there = |folder: &Path, what: &str| {
        let exists = folder.exists();
        if !exists && !folder.as_os_str().is_empty() {
            tracing::warn!("the {what} {} does not exist: the script finds nothing there", folder.display());
        }
        exists
    };
    let app_root = places.app_root.filter(|folder| is_there(folder, "app folder"));
    let model_dir = places.model_dir.filter(|folder| is_there(folder, "model directory"));
    if !script.exists() {
        log_missing_script(places, script);
    }
    let root = app_root.unwrap_or(Path::new("."));
    let source_dir = places.source_dir.filter(|name| is_there(&root.join(name), "source directory"));
    let mut app = App::read(script, model_dir, app_root, source_dir, limit).map_err(|error| error.to_string())?;
    if let Some(folder) = places.model_dir {
        // A script sees what is typed, where that leads to the same folder in the sandbox.
        let stays = app.model_dir.as_ref().is_some_and(|inside| {
            folder.is_relative() && Path::new(GUEST_APP).join(folder).components().eq(Path::new(inside).components())
        });
        if model_dir.is_none() || stays {
            app.model_dir = Some(folder.display().to_string());
        }
    }
    if matches!(places.scorer, Scorer::Main) {
        app.entry_script = None;
    }
    let folder = App::root(script, app_root).map_err(|error| error.to_string())?;
    for warning in check_requirements(&folder, &carried(&runtime)?).map_err(|error| error.to_string())? {
        tracing::warn!("{warning}");
    }
    Ok(app_bundle(app, environment, open_runtime(&runtime)?))
}

/// What the contract's log says about a script that is not there.
fn log_missing_script(places: &Places<'_>, script: &Path) {
    if let Some(root) = places.app_root
        && root.join(script).exists()
    {
        return;
    }
    match places.scorer {
        Scorer::Path(_) => {
            tracing::error!(target: "azmlinfsrv", "No such file or directory.");
            let path = script.display();
            tracing::error!(target: "azmlinfsrv", "FileNotFoundError: [Errno 2] No such file or directory: '{path}'");
        }
        Scorer::Main => {
            tracing::error!(target: "azmlinfsrv", "No score script found. Expected score script {MAIN_SCRIPT}.");
            let folder = script.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let mut names: Vec<_> = folder
                .read_dir()
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| format!("'{}'", entry.file_name().to_string_lossy()))
                .collect();
            names.sort_unstable();
            let names = names.join(", ");
            tracing::error!(target: "azmlinfsrv", "Current contents of AML_APP_ROOT: [{names}]");
        }
    }
}

/// The user's own OpenAPI documents, by file name: those in the app folder.
pub(crate) fn swagger_files(places: &Places<'_>, bundle: &Bundle) -> BTreeMap<String, Bytes> {
    if places.app_root.is_some_and(|folder| !folder.exists()) {
        return BTreeMap::new();
    }
    let component_folder = match places.scorer {
        Scorer::Path(path) if path.is_dir() => Some(&**path),
        Scorer::Path(path) => path.parent(),
        Scorer::Main => None,
    };
    let find = |name: &str| match &bundle.code {
        Code::Runtime(_) => file_of_app(bundle, name),
        Code::Component(_) => {
            let folder = places.app_root.or(component_folder)?;
            std::fs::read(folder.join(name)).ok().map(Bytes::from)
        }
    };
    swagger_names().filter_map(|name| Some((name.to_owned(), find(name)?))).collect()
}

/// What the user's own OpenAPI documents are called.
fn swagger_names() -> impl Iterator<Item = &'static str> {
    SwaggerVersion::ALL.into_iter().flat_map(SwaggerVersion::user_files).copied()
}

/// A file of the app folder that is in a bundle.
fn file_of_app(bundle: &Bundle, name: &str) -> Option<Bytes> {
    let file = bundle.files.iter().find(|file| file.path.strip_prefix("app/") == Some(name))?;
    Some(Bytes::from(file.contents.clone()))
}

fn open_runtime(folder: &Path) -> Result<Runtime, String> {
    Runtime::open(folder).map_err(|error| error.to_string())
}

fn app_bundle(app: App, mut environment: Vec<(String, String)>, runtime: Runtime) -> Bundle {
    let code = Code::Runtime(runtime);
    let preload = Some(preload(app.entry_script.as_deref(), &app.files));
    let mut set = |name: &str, value: String| environment.push((name.to_owned(), value));
    set("AML_APP_ROOT", GUEST_APP.to_owned());
    if let Some(script) = app.entry_script {
        set("AZUREML_ENTRY_SCRIPT", format!("{GUEST_APP}/{script}"));
    }
    if let Some(folder) = app.source_dir {
        set("AZUREML_SOURCE_DIRECTORY", folder);
    }
    if let Some(folder) = app.model_dir {
        set("AZUREML_MODEL_DIR", folder);
    }
    Bundle { owner: String::new(), code, environment, preload, files: app.files, model_dir: None }
}

/// The packages that the runtime carries.
pub(crate) fn carried(runtime: &Path) -> Result<Vec<Carried>, String> {
    let path = runtime.join(PACKAGES);
    let json = std::fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    parse_carried(&json)
}

/// The program's file, as long as the system knows it: once another one is in its place it has no name any more.
static PROGRAM: LazyLock<PathBuf> =
    LazyLock::new(|| env::current_exe().and_then(|program| program.canonicalize()).unwrap_or_default());

/// The folder of the Python runtime: the one that is named, else beside the program, else where packages install it.
pub(crate) fn find_runtime(named: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(folder) = named {
        return Ok(folder.to_owned());
    }
    let folder = PROGRAM.parent().unwrap_or(Path::new(""));
    let places = [folder.join(RUNTIME), folder.join("../lib/scorebox").join(RUNTIME)];
    places.iter().find(|place| place.is_dir()).cloned().ok_or_else(|| {
        format!(
            "the Python {} runtime is not there: neither {} nor {} exists; make it with `make python-runtime`, or name its \
             folder with --python-runtime",
            python::PYTHON,
            places[0].display(),
            places[1].display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_has_a_name_and_may_have_an_empty_value() {
        assert_eq!("A=b=c".parse(), Ok(Variable { name: "A".to_owned(), value: "b=c".to_owned() }));
        assert!("A=".parse::<Variable>().is_ok());
        assert!("A".parse::<Variable>().is_err());
        assert!("=b".parse::<Variable>().is_err());
    }
}
