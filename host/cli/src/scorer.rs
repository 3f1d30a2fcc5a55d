//! From what is named on the command line to what is deployed.

use std::env;
use std::path::{Path, PathBuf};

use scorebox_sandbox::{Bundle, Code, MODEL_DIR, MODULE_FILE, Runtime};

use crate::args::PythonArgs;
use crate::python::{self, ARCHIVE_EXTENSION, App, Carried, GUEST_APP, check_requirements, parse_carried};

/// The script of an app when nobody says.
const SCRIPT: &str = "score.py";
/// The folder of the Python runtime.
const RUNTIME: &str = "python-runtime";
/// In it, the list of the packages that the runtime carries.
const PACKAGES: &str = "packages.json";

/// Where the parts of a scorer are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<'a> {
    /// A component, a script, an archive, or a folder with a component or a script.
    pub(crate) scorer: &'a Path,
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
    let scorer = places.scorer;
    let is = |ending: &str| scorer.extension().is_some_and(|found| found == ending);
    let script = scorer.join(SCRIPT);
    let mut bundle = if is("py") {
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
        let app = App::read_archive(scorer, limit).map_err(|error| error.to_string())?;
        app_bundle(app, environment, &find_runtime(python.python_runtime.as_deref())?)?
    } else if scorer.is_dir() && script.is_file() && !scorer.join(MODULE_FILE).exists() {
        let own_model_dir = Some(scorer.join(MODEL_DIR)).filter(|folder| folder.is_dir());
        let places = Places {
            model_dir: places.model_dir.or(own_model_dir.as_deref()),
            app_root: places.app_root.or(Some(scorer)),
            ..*places
        };
        read_app(&places, &script, python, environment, limit)?
    } else {
        Bundle::read(scorer, places.model_dir, limit).map_err(|error| error.to_string())?
    };
    bundle.environment.extend(python.env.iter().map(|Variable { name, value }| (name.clone(), value.clone())));
    // The last of a name counts.
    bundle.environment.reverse();
    bundle.environment.sort_by(|a, b| a.0.cmp(&b.0));
    bundle.environment.dedup_by(|a, b| a.0 == b.0);
    Ok(bundle)
}

/// An environment variable on the command line: `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    name: String,
    value: String,
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
    // The contract takes one that does not exist, and so do scripts that need none.
    let missing = places.model_dir.filter(|folder| !folder.exists());
    if let Some(folder) = missing {
        tracing::warn!("the model directory {} does not exist: the script finds nothing there", folder.display());
    }
    let model_dir = places.model_dir.filter(|_| missing.is_none());
    let mut app =
        App::read(script, model_dir, places.app_root, places.source_dir, limit).map_err(|error| error.to_string())?;
    if let Some(folder) = missing {
        app.model_dir = Some(folder.display().to_string());
    }
    let folder =
        places.app_root.or(script.parent()).filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for warning in check_requirements(folder, &carried(&runtime)?).map_err(|error| error.to_string())? {
        tracing::warn!("{warning}");
    }
    app_bundle(app, environment, &runtime)
}

fn app_bundle(app: App, mut environment: Vec<(String, String)>, runtime: &Path) -> Result<Bundle, String> {
    let code = Code::Runtime(Runtime::open(runtime).map_err(|error| error.to_string())?);
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
    Ok(Bundle { code, environment, files: app.files, model_dir: None })
}

/// The packages that the runtime carries.
pub(crate) fn carried(runtime: &Path) -> Result<Vec<Carried>, String> {
    let path = runtime.join(PACKAGES);
    let json = std::fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    parse_carried(&json)
}

/// The folder of the Python runtime: the one that is named, else beside the program, else where packages install it.
pub(crate) fn find_runtime(named: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(folder) = named {
        return Ok(folder.to_owned());
    }
    let program = env::current_exe().and_then(|program| program.canonicalize()).unwrap_or_default();
    let folder = program.parent().unwrap_or(Path::new(""));
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
