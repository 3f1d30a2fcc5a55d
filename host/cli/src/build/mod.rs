//! `scorebox build`: from a project to what can be served.
//!
//! A folder with a Cargo.toml is a Rust project, of which a component is made. A folder with a `score.py` is a Python app,
//! of which an archive is made that has the packages it needs.

mod python;
mod rust;

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bytesize::ByteSize;
use scorebox_sandbox::model_dir_of;

use self::python::PythonProject;
pub(crate) use self::python::unpack_wheel;
use self::rust::{RustProject, Target};
use crate::console;
use crate::failure::Failure;
use crate::python::{ARCHIVE_EXTENSION, Carried, RequirementFiles};
use crate::scorer;

/// What the script is called when nobody says.
const SCRIPT: &str = "score.py";
/// Stack of a scorer in Rust when nobody says.
const STACK: ByteSize = ByteSize::kib(128);
/// What a component is called when nobody says.
const COMPONENT: &str = "model.wasm";

/// `scorebox build`
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArgs {
    /// The project: a folder with a Cargo.toml, or a folder with a score.py.
    #[arg(value_name = "DIR")]
    project: PathBuf,
    /// The file to write; by default model.wasm for Rust, and for Python the folder's name with the ending .scorebox.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What the project is written in, where its folder leaves that open: rust or python.
    #[arg(long, value_name = "LANGUAGE", value_parser = Language::from_str)]
    language: Option<Language>,

    /// What to compile for: wasm32-unknown-unknown or wasm32-wasip2.
    #[arg(long, value_name = "TARGET", value_parser = Target::from_str, help_heading = "Rust projects")]
    target: Option<Target>,
    /// Stack of the scorer, by default 128KiB. Each fresh instance starts with it in its memory: less is faster.
    #[arg(long, value_name = "SIZE", help_heading = "Rust projects")]
    stack: Option<ByteSize>,
    /// Write the core module instead of a component.
    #[arg(long, hide = true)]
    core_module: bool,

    /// The script in the folder; by default score.py.
    #[arg(long = "entry_script", alias = "entry-script", value_name = "NAME", help_heading = "Python apps")]
    entry_script: Option<PathBuf>,
    /// The model directory; by default the folder `model` in the folder, if it is there.
    #[arg(long = "model_dir", alias = "model-dir", value_name = "DIR", help_heading = "Python apps")]
    model_dir: Option<PathBuf>,
    /// What lists the packages that the app needs: a requirements.txt, or conda's file in YAML; by default those in the
    /// folder.
    #[arg(long, value_name = "FILE", help_heading = "Python apps")]
    requirements: Option<PathBuf>,
    /// The Python whose pip gets the packages. Any version will do: it does not run the app.
    #[arg(long, value_name = "PROGRAM", default_value = "python3", help_heading = "Python apps")]
    python: OsString,
    /// Refuse a package that is asked for in another version than the runtime carries, instead of warning.
    #[arg(long, help_heading = "Python apps")]
    strict: bool,
    /// Build packages of which there is only source code. That runs their code on this machine, outside of any sandbox.
    #[arg(long, help_heading = "Python apps")]
    allow_sdist: bool,
    /// Folder of the Python runtime; by default `python-runtime` beside the program, or in ../lib/scorebox.
    #[arg(long, value_name = "DIR", env = "SCOREBOX_PYTHON_RUNTIME", help_heading = "Python apps")]
    python_runtime: Option<PathBuf>,
}

/// What projects are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Rust,
    Python,
}

impl Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "rust",
            Self::Python => "python",
        })
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Rust, Self::Python]
            .into_iter()
            .find(|language| language.to_string() == text)
            .ok_or_else(|| format!("`{text}` cannot be built; use rust or python"))
    }
}

/// Builds a project.
pub(crate) fn build(args: &BuildArgs) -> Result<(), Failure> {
    // The script itself is taken for its folder.
    let (folder, entry_script) = match (&args.entry_script, args.project.file_name()) {
        (None, Some(name))
            if args.project.is_file() && args.project.extension().is_some_and(|ending| ending == "py") =>
        {
            (folder(&args.project).to_owned(), Some(PathBuf::from(name)))
        }
        (script, _) => (args.project.clone(), script.clone()),
    };
    let language = match args.language {
        Some(language) => language,
        None => language_of(&folder, entry_script.as_deref()).map_err(Failure::failed)?,
    };
    refuse_options_of_others(args, language)?;
    match language {
        Language::Rust => build_rust(args),
        Language::Python => build_python(args, folder, entry_script),
    }
}

/// Finds out by what is in the folder.
fn language_of(folder: &Path, entry_script: Option<&Path>) -> Result<Language, String> {
    let has_rust = folder.join("Cargo.toml").is_file();
    let has_python =
        entry_script.is_some() || folder.join(SCRIPT).is_file() || !has_rust && RequirementFiles::are_in(folder);
    match (has_rust, has_python) {
        (true, false) => Ok(Language::Rust),
        (false, true) => Ok(Language::Python),
        (true, true) => Err(format!(
            "{} has a Cargo.toml and a Python script; say which of them to build: --language rust or --language python",
            folder.display()
        )),
        (false, false) => Err(format!(
            "{} has neither a Cargo.toml nor a {SCRIPT}. Give the folder of a crate that uses scorebox-guest, or the \
             folder of a script, with --entry_script NAME if the script is called otherwise",
            folder.display()
        )),
    }
}

/// An option without an effect is a mistake that should not be found out later.
fn refuse_options_of_others(args: &BuildArgs, language: Language) -> Result<(), Failure> {
    let (other, given) = match language {
        Language::Rust => (
            "a Python app",
            vec![
                ("--entry_script", args.entry_script.is_some()),
                ("--model_dir", args.model_dir.is_some()),
                ("--requirements", args.requirements.is_some()),
                ("--strict", args.strict),
                ("--allow-sdist", args.allow_sdist),
            ],
        ),
        Language::Python => (
            "a Rust project",
            vec![
                ("--target", args.target.is_some()),
                ("--stack", args.stack.is_some()),
                ("--core-module", args.core_module),
            ],
        ),
    };
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((name, _)) => Err(Failure::failed(format!(
            "{name} is an option for {other}, and {} is built as {language}; leave it out",
            args.project.display()
        ))),
    }
}

fn build_rust(args: &BuildArgs) -> Result<(), Failure> {
    let project = RustProject {
        folder: args.project.clone(),
        target: args.target.unwrap_or_default(),
        stack: args.stack.unwrap_or(STACK).as_u64(),
        core_module: args.core_module,
    };
    let output = args.output.clone().unwrap_or_else(|| PathBuf::from(COMPONENT));
    let report = rust::build(&project, &output).map_err(Failure::failed)?;
    console::result(format_args!(
        "{}: {} bytes, for {}, built with {}",
        report.output.display(),
        report.bytes,
        report.target,
        report.toolchain
    ));
    Ok(())
}

fn build_python(args: &BuildArgs, folder: PathBuf, entry_script: Option<PathBuf>) -> Result<(), Failure> {
    let output = match &args.output {
        Some(output) => output.clone(),
        None => default_archive(&folder)?,
    };
    let model_dir = model_dir_of(&folder, args.model_dir.as_deref()).map_err(Failure::failed)?;
    let project = PythonProject {
        entry_script: folder.join(entry_script.unwrap_or_else(|| PathBuf::from(SCRIPT))),
        folder,
        model_dir,
        requirements: args.requirements.clone(),
        python: absolute(&args.python),
        strict: args.strict,
        allow_sdist: args.allow_sdist,
        carried: carried(args).map_err(Failure::failed)?,
    };
    let report = python::build(&project, &output, &|text| console::note(text)).map_err(Failure::failed)?;
    for warning in &report.warnings {
        console::note(format_args!("warning: {warning}"));
    }
    console::result(report);
    Ok(())
}

/// A program's path that does not depend on the current directory; a mere name is looked for as always.
fn absolute(program: &OsStr) -> OsString {
    let path = Path::new(program);
    if path.components().count() == 1 {
        return program.to_owned();
    }
    std::path::absolute(path).map_or_else(|_| program.to_owned(), OsString::from)
}

/// The packages that the runtime carries.
fn carried(args: &BuildArgs) -> Result<Vec<Carried>, String> {
    scorer::carried(&scorer::find_runtime(args.python_runtime.as_deref())?)
}

/// The name of the folder with the ending of archives, in the current directory.
fn default_archive(folder: &Path) -> Result<PathBuf, Failure> {
    let cannot = |error: &dyn Display| Failure::failed(format!("cannot read {}: {error}", folder.display()));
    let folder = folder.canonicalize().map_err(|error| cannot(&error))?;
    let mut name = folder.file_name().map_or_else(|| OsString::from("app"), OsString::from);
    name.push(".");
    name.push(ARCHIVE_EXTENSION);
    Ok(name.into())
}

/// Writes a file beside `path` and renames it: at no time is there half a file.
fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".scorebox-build-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As readable as a compiler's output is; the umask still applies.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder(path))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// The folder that a file is in.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn language_with(files: &[&str], script: Option<&str>) -> Result<Language, String> {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        language_of(folder.path(), script.map(Path::new))
    }

    #[test]
    fn what_is_in_the_folder_decides() {
        assert_eq!(language_with(&["Cargo.toml"], None), Ok(Language::Rust));
        assert_eq!(language_with(&["Cargo.toml", "requirements.txt"], None), Ok(Language::Rust));
        assert_eq!(language_with(&["score.py"], None), Ok(Language::Python));
        assert_eq!(language_with(&["main.py"], Some("main.py")), Ok(Language::Python));
        assert_eq!(language_with(&["conda.yml"], None), Ok(Language::Python));
        let both = language_with(&["Cargo.toml", "score.py"], None).unwrap_err();
        assert!(both.contains("--language rust or --language python"), "{both}");
        let none = language_with(&["x"], None).unwrap_err();
        assert!(none.contains("has neither a Cargo.toml nor a score.py"), "{none}");
    }

    #[test]
    fn a_language_is_read_by_the_name_that_it_is_written_with() {
        for language in [Language::Rust, Language::Python] {
            assert_eq!(language.to_string().parse(), Ok(language));
        }
        assert!("go".parse::<Language>().unwrap_err().contains("use rust or python"));
    }

    #[test]
    fn a_program_is_a_name_or_a_path() {
        assert_eq!(absolute(OsStr::new("python3")), "python3");
        assert!(Path::new(&absolute(OsStr::new("venv/bin/python"))).is_absolute());
    }

    #[test]
    fn writing_replaces_the_file_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("model.wasm");
        for content in [b"old", b"new"] {
            write_atomically(&path, content).expect("the file is written");
        }
        assert_eq!(std::fs::read(&path).expect("the file is there"), b"new");
        assert_eq!(folder.path().read_dir().expect("the folder is there").count(), 1);
    }
}
