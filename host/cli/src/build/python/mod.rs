//! From a Python app to an archive with the packages that it needs.
//!
//! 1. Read the app's folder and its requirement files.
//! 2. Find out which packages it needs that the runtime does not carry, and get their wheels with pip.
//! 3. Put the app's files and those of the packages into one archive.
//! 4. Put it in place with a rename, so that a reader sees the old file or the new one.
//!
//! A requirement on a package that the runtime carries in another version is a warning by default. Most requirement files
//! pin the versions of the days in which the model was trained, like `numpy==1.26.4`; the runtime has one version of each,
//! built for it, and there is no other to be had. To refuse would mean that hardly any script is served unchanged, though
//! most of them work. Silence would be wrong too: a pickled model may need just that version. With `--strict` it is an
//! error.
//!
//! Source code is not built unless it is allowed: a package's build runs whatever its authors wrote, with all the rights of
//! the user, on the machine on which the app is built. Everything else here only unpacks files, which run in the sandbox.
//! Where it is allowed and hashes are required, source code is compared with its hash before it runs.

mod pip;
mod refusal;
mod resolve;
mod wheel;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use scorebox_sandbox::BundleFile;

use self::pip::{Pip, PipError};
use self::resolve::{ResolveError, Resolved, resolve};
use self::wheel::{Wheel, sha256_of_all};
use super::{folder, write_atomically};
use crate::python::{
    App, AppError, Carried, Package, RequirementFiles, RequirementsError, Wanted, Warning, normalized,
};

/// Bytes that an app may have: no instance can have more memory.
const MAX_BYTES: u64 = 4 << 30;

/// What is built, and how.
#[derive(Debug)]
pub(super) struct PythonProject {
    /// The app folder.
    pub(super) folder: PathBuf,
    /// The script in it.
    pub(super) entry_script: PathBuf,
    /// The model directory.
    pub(super) model_dir: Option<PathBuf>,
    /// The requirement file, if it is none of those that are looked for in the app folder.
    pub(super) requirements: Option<PathBuf>,
    /// The Python whose pip gets the packages.
    pub(super) python: OsString,
    /// Whether another version than the runtime carries is refused.
    pub(super) strict: bool,
    /// Whether code of packages may be run to make wheels of them.
    pub(super) allow_sdist: bool,
    /// What the runtime carries.
    pub(super) carried: Vec<Carried>,
}

/// What was built.
#[derive(Debug)]
pub(super) struct BuildReport {
    /// The archive.
    output: PathBuf,
    /// Its size in bytes.
    bytes: u64,
    /// What is in it.
    app: App,
    /// What was installed: name and version, file, and who asked for it.
    installed: Vec<(String, String, String)>,
    /// What the runtime has: name, version if it has one, and who asked for it.
    from_runtime: Vec<(String, Option<String>, String)>,
    /// What may not go well.
    pub(super) warnings: Vec<Warning>,
}

impl fmt::Display for BuildReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |prefix: &str| self.app.files.iter().filter(|file| file.path.starts_with(prefix)).count();
        for (name, version, who) in &self.from_runtime {
            match version {
                Some(version) => writeln!(f, "in the runtime  {name} {version}, for {who}")?,
                None => writeln!(f, "in the runtime  what stands in for {name}, for {who}")?,
            }
        }
        for (package, file, who) in &self.installed {
            writeln!(f, "installed       {package} from {file}, for {who}")?;
        }
        write!(
            f,
            "{}: {} bytes; {} with {} files of the app, {} of the model directory and {} of packages, {} unpacked",
            self.output.display(),
            self.bytes,
            self.app.entry_script.as_deref().unwrap_or_default(),
            count("app/"),
            count("model/"),
            count("site/"),
            ByteSize::b(self.app.bytes())
        )
    }
}

/// Why there is no archive. The output file is as it was before.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    /// The app cannot be read.
    #[error(transparent)]
    App(#[from] AppError),
    /// Its requirement files cannot be read.
    #[error(transparent)]
    Requirements(#[from] RequirementsError),
    /// The packages cannot be had.
    #[error(transparent)]
    Resolve(#[from] ResolveError<PipError>),
    /// A wheel is not one of those that are allowed.
    #[error(
        "{file} has the SHA-256 {sha256}, which is none of the hashes that {who} has for it; it was changed, or the hashes \
         are those of other files: get them anew (`pip hash FILE`) if you trust it"
    )]
    Hash {
        /// The wheel.
        file: String,
        /// Its digest.
        sha256: String,
        /// Who asks for it.
        who: String,
    },
    /// A package without a hash where others have one.
    #[error(
        "{package} has no hash, and others have; write it down with one (`{package} --hash=sha256:{sha256}` for {file})"
    )]
    NoHash {
        /// Its name and version.
        package: String,
        /// The wheel.
        file: String,
        /// Its digest.
        sha256: String,
    },
    /// The packages together with the app are too large.
    #[error(
        "the app and its packages have more than the {MAX_BYTES} bytes that an instance can have; take out some of them"
    )]
    TooLarge,
    /// The archive cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Reads an app, gets what it needs, and writes the archive to `output`, whose folder has to exist already.
pub(super) fn build(project: &PythonProject, output: &Path, note: &dyn Fn(&str)) -> Result<BuildReport, BuildError> {
    let write = |source| BuildError::Write { path: output.to_owned(), source };
    if !folder(output).is_dir() {
        return Err(write(io::Error::new(io::ErrorKind::NotFound, "its folder does not exist; create it first")));
    }
    let mut app =
        App::read(&project.entry_script, project.model_dir.as_deref(), Some(&project.folder), None, MAX_BYTES)?;
    let files = match &project.requirements {
        Some(path) => RequirementFiles::read_file(path)?,
        None => RequirementFiles::read(&project.folder)?,
    };
    let mut pip = Pip {
        python: project.python.clone(),
        folder: project.folder.clone(),
        files: &files,
        allow_source: project.allow_sdist,
        note,
        warnings: Vec::new(),
        made: BTreeSet::new(),
    };
    let Resolved { wheels, from_runtime, mut warnings } = resolve(&files, &project.carried, project.strict, &mut pip)?;
    warnings.append(&mut pip.warnings);
    let installed = wheels
        .iter()
        .map(|(wheel, who)| (format!("{} {}", wheel.name, wheel.version), wheel.file.clone(), who.clone()))
        .collect();
    let wheels: Vec<_> = wheels.into_iter().map(|(wheel, _)| wheel).collect();
    check_hashes(&files, &wheels, &pip.made)?;
    install(&mut app, wheels, &mut warnings);
    if app.bytes() > MAX_BYTES {
        return Err(BuildError::TooLarge);
    }
    let requirements = digest(&files, &project.folder);
    let archive = app.archive(requirements.as_deref()).map_err(write)?;
    write_atomically(output, &archive).map_err(write)?;
    Ok(BuildReport { output: output.to_owned(), bytes: archive.len() as u64, app, installed, from_runtime, warnings })
}

/// The digest of the requirement files: names relative to the folder, and text.
fn digest(files: &RequirementFiles, folder: &Path) -> Option<String> {
    if files.files.is_empty() {
        return None;
    }
    let named: Vec<_> = files
        .files
        .iter()
        .map(|(path, text)| (path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned(), text))
        .collect();
    Some(sha256_of_all(named.iter().map(|(name, text)| (name.as_str(), text.as_str()))))
}

/// What is installed of a wheel, for the fuzz targets.
pub(crate) fn unpack_wheel(bytes: &[u8]) -> Result<Vec<BundleFile>, String> {
    Wheel::unpack("", bytes).map(|wheel| wheel.files)
}

/// Compares wheels with the hashes that the files have. pip is not asked to: it would want one for each package that the
/// runtime carries as well. Wheels that were `made` of source code have no hash of their own: the source code had it.
fn check_hashes(files: &RequirementFiles, wheels: &[Wheel], made: &BTreeSet<String>) -> Result<(), BuildError> {
    if !files.require_hashes {
        return Ok(());
    }
    for wheel in wheels.iter().filter(|wheel| !made.contains(&wheel.sha256)) {
        let lines = lines_about(files, &normalized(&wheel.name));
        if lines.iter().all(|wanted| wanted.hashes.is_empty()) {
            return Err(BuildError::NoHash {
                package: format!("{}=={}", wheel.name, wheel.version),
                file: wheel.file.clone(),
                sha256: wheel.sha256.clone(),
            });
        }
        let hash = format!("sha256:{}", wheel.sha256);
        if let Some(wanted) = lines.iter().find(|wanted| !wanted.hashes.is_empty() && !wanted.hashes.contains(&hash)) {
            return Err(BuildError::Hash {
                file: wheel.file.clone(),
                sha256: wheel.sha256.clone(),
                who: wanted.origin.to_string(),
            });
        }
    }
    Ok(())
}

/// The lines of the files that ask for a package, or limit it.
fn lines_about<'a>(files: &'a RequirementFiles, key: &str) -> Vec<&'a Wanted> {
    let is_meant = |wanted: &&Wanted| wanted.requirement.key() == key && wanted.requirement.applies("");
    files.wanted.iter().chain(&files.constraints).filter(is_meant).collect()
}

/// Puts the files of wheels into the app.
fn install(app: &mut App, wheels: Vec<Wheel>, warnings: &mut Vec<Warning>) {
    let mut files: BTreeMap<String, (Vec<u8>, String)> = BTreeMap::new();
    for wheel in wheels {
        if let Some(file) = wheel.native.first() {
            warnings.push(Warning(format!(
                "{} {} brings machine code along ({file}), which the sandbox does not run; what needs it will fail",
                wheel.name, wheel.version
            )));
        }
        for BundleFile { path, contents } in wheel.files {
            if let Some((other, owner)) = files.get(&path)
                && *other != contents
            {
                warnings.push(Warning(format!(
                    "{} and {owner} both have {path}; that of {} is taken",
                    wheel.name, wheel.name
                )));
            }
            files.insert(path, (contents, wheel.name.clone()));
        }
        app.packages.push(Package { name: wheel.name, version: wheel.version.to_string(), sha256: wheel.sha256 });
    }
    app.files.extend(files.into_iter().map(|(path, (contents, _))| BundleFile { path, contents }));
    app.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::wheel::sha256 as sha256_of;
    use super::wheel::tests::wheel;
    use super::*;
    use crate::python::Archived;

    /// An app with these files, and a wheel `own-1.0` in the folder `wheels`.
    fn project(files: &[(&str, &str)]) -> (tempfile::TempDir, PythonProject) {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_owned();
        fs::create_dir(folder.join("wheels")).unwrap();
        let own = wheel(&[
            ("own/__init__.py", "x = 1"),
            ("own-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: own\nVersion: 1.0\nRequires-Dist: numpy<2\n"),
            ("own-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
        ]);
        fs::write(folder.join("wheels/own-1.0-py3-none-any.whl"), own).unwrap();
        fs::write(folder.join("score.py"), "").unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        let project = PythonProject {
            entry_script: folder.join("score.py"),
            folder,
            model_dir: None,
            requirements: None,
            python: "python3".into(),
            strict: false,
            allow_sdist: false,
            carried: vec![Carried { name: "numpy".to_owned(), version: "2.5.2".to_owned() }],
        };
        (temporary, project)
    }

    fn run(project: &PythonProject) -> Result<(BuildReport, App), BuildError> {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("x.scorebox");
        let report = build(project, &output, &|_| {})?;
        match Archived::read(&output, MAX_BYTES)? {
            Archived::App(app) => Ok((report, app)),
            component @ Archived::Component { .. } => panic!("{component:?}"),
        }
    }

    #[test]
    fn an_app_that_needs_nothing_needs_no_pip() {
        let (_folder, mut project) = project(&[("requirements.txt", "numpy==1.26.4\nazureml-defaults\n")]);
        project.python = "/nowhere/python".into();
        let (report, app) = run(&project).unwrap();
        assert_eq!(app, report.app);
        assert_eq!(report.warnings.len(), 1);
        let text = report.to_string();
        assert!(
            text.contains("in the runtime  numpy 2.5.2, for ") && text.contains("stands in for azureml-defaults"),
            "{text}"
        );
        project.strict = true;
        let error = run(&project).unwrap_err().to_string();
        assert!(error.contains("numpy==1.26.4; the runtime carries numpy 2.5.2"), "{error}");
    }

    #[test]
    fn a_wheel_of_ones_own_is_installed() {
        if !has_pip() {
            return;
        }
        let (_folder, project) = project(&[("requirements.txt", "./wheels/own-1.0-py3-none-any.whl\n")]);
        let (report, app) = run(&project).unwrap();
        assert!(app.files.iter().any(|file| file.path == "site/own/__init__.py" && file.contents == b"x = 1"));
        assert_eq!((app.packages[0].name.as_str(), app.packages[0].sha256.len()), ("own", 64));
        assert!(report.warnings[0].to_string().starts_with("own 1.0 asks for numpy<2; "), "{:?}", report.warnings);
        assert!(report.to_string().contains("installed       own 1.0 from own-1.0-py3-none-any.whl, for "), "{report}");
    }

    #[test]
    fn a_wheel_at_a_url_is_compared_with_the_hash_in_it() {
        if !has_pip() {
            return;
        }
        let (_folder, project) = project(&[]);
        let path = project.folder.join("wheels/own-1.0-py3-none-any.whl");
        let sha256 = sha256_of(&fs::read(&path).unwrap());
        let run_with = |sha256: &str| {
            let line = format!("own @ file://{}#sha256={sha256} ; python_version > '3'\n", path.display());
            fs::write(project.folder.join("requirements.txt"), line).unwrap();
            run(&project)
        };
        assert_eq!(run_with(&sha256).unwrap().1.packages[0].sha256, sha256);
        let error = run_with(&"0".repeat(64)).unwrap_err().to_string();
        assert!(error.contains("own, for "), "{error}");
    }

    #[test]
    fn a_folder_of_wheels_can_be_the_index_and_hashes_are_compared() {
        if !has_pip() {
            return;
        }
        let files = |hash: &str| format!("--no-index\n--find-links wheels\nown==1.0 --hash=sha256:{hash}\n");
        let (_folder, project) = project(&[("requirements.txt", &files("00"))]);
        let error = run(&project).unwrap_err();
        let BuildError::Hash { sha256, .. } = &error else { panic!("{error}") };
        fs::write(project.folder.join("requirements.txt"), files(sha256)).unwrap();
        assert_eq!(run(&project).unwrap().1.packages[0].version, "1.0");
        fs::write(project.folder.join("requirements.txt"), "--no-index\n-f wheels\n--require-hashes\nown\n").unwrap();
        assert!(matches!(run(&project), Err(BuildError::NoHash { .. })));
        fs::write(project.folder.join("requirements.txt"), "--no-index\n-f wheels\nown==2\nother\n").unwrap();
        let error = run(&project).unwrap_err().to_string();
        assert!(error.contains("\n  other, for ") && error.contains("\n  own, for "), "{error}");
    }

    const BACKEND: &str = "
from zipfile import ZipFile

def build_wheel(folder, *_):
    name = 'src-1.0-py3-none-any.whl'
    with ZipFile(folder + '/' + name, 'w') as wheel:
        wheel.writestr('src.py', 'x = 1')
        wheel.writestr('src-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: src\\nVersion: 1.0\\n')
        wheel.writestr('src-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nTag: py3-none-any\\n')
        wheel.writestr('src-1.0.dist-info/RECORD', '')
    return name
";

    /// Puts source code of `src-1.0` into the folder `wheels`, and says where, and what its SHA-256 is. When it runs, it makes
    /// the file `ran` in the project's folder.
    fn add_source(project: &PythonProject) -> (PathBuf, String) {
        let backend = format!("open({:?}, 'w')\n{BACKEND}", project.folder.join("ran"));
        let source = wheel(&[
            ("src-1.0/PKG-INFO", "Metadata-Version: 2.1\nName: src\nVersion: 1.0\n"),
            (
                "src-1.0/pyproject.toml",
                "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n",
            ),
            ("src-1.0/backend.py", &backend),
        ]);
        let path = project.folder.join("wheels/src-1.0.zip");
        fs::write(&path, &source).unwrap();
        (path, sha256_of(&source))
    }

    #[test]
    fn source_code_is_compared_with_its_hash_before_any_of_it_runs() {
        if !has_pip() {
            return;
        }
        let zeros = "0".repeat(64);
        // Each in a folder of its own: pip keeps the wheels that it has made, by the place of the source code.
        for source in ["src", "src==1.0", "src @ PLACE"] {
            let (_folder, mut project) = project(&[("limits", &format!("src --hash=sha256:{zeros}"))]);
            project.allow_sdist = true;
            let (path, sha256) = add_source(&project);
            let ran = project.folder.join("ran");
            let build = |lines: &[&str]| {
                let text = [&["--no-index", "--find-links wheels"][..], lines].concat().join("\n");
                fs::write(project.folder.join("requirements.txt"), text).unwrap();
                run(&project).map_err(|error| error.to_string())
            };
            let source = source.replace("PLACE", &format!("file://{}", path.display()));
            let own = sha256_of(&fs::read(project.folder.join("wheels/own-1.0-py3-none-any.whl")).unwrap());
            let own = format!("own --hash=sha256:{own}");
            let error = build(&[&format!("{source} --hash=sha256:{zeros}")]).unwrap_err();
            assert!(error.contains(&format!("its source code has the SHA-256 {sha256}")), "{error}");
            for lines in [[own.as_str(), &source], [&format!("{source} --hash=sha256:{sha256}"), "-c limits"]] {
                let error = build(&lines).unwrap_err();
                assert!(error.contains("is not run without a hash"), "{error}");
            }
            assert!(!ran.exists(), "{source}");
            let (_, app) = build(&[&own, &format!("{source} --hash=sha256:{zeros} --hash=sha256:{sha256}")]).unwrap();
            assert!(app.files.iter().any(|file| file.path == "site/src.py") && ran.exists(), "{source}");
        }
    }

    /// Says where it has not. In CI, where everything has to be tested, that is an error.
    fn has_pip() -> bool {
        let output = std::process::Command::new("python3").args(["-m", "pip", "--version"]).output();
        let has_pip = output.is_ok_and(|output| output.status.success());
        if !has_pip {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "python3 has no pip");
            let _ = writeln!(std::io::stderr(), "NOT TESTED HERE: what takes pip, which python3 has not");
        }
        has_pip
    }

    #[test]
    fn an_output_folder_that_is_not_there_is_refused_first() {
        let (_folder, project) = project(&[]);
        let error = build(&project, Path::new("/nowhere/x.scorebox"), &|_| {}).unwrap_err().to_string();
        assert_eq!(error, "cannot write /nowhere/x.scorebox: its folder does not exist; create it first");
    }

    #[test]
    fn packages_with_the_same_file_are_said() {
        let (_folder, project) = project(&[]);
        let mut app = App::read(&project.entry_script, None, Some(&project.folder), None, MAX_BYTES).unwrap();
        let one = |name: &str, text: &str| Wheel {
            name: name.to_owned(),
            version: "1".parse().unwrap(),
            file: String::new(),
            sha256: String::new(),
            requires: Vec::new(),
            files: vec![BundleFile { path: "site/x.py".to_owned(), contents: text.into() }],
            native: vec!["x.so".to_owned()],
            place: None,
        };
        let mut warnings = Vec::new();
        install(&mut app, vec![one("a", "1"), one("b", "2")], &mut warnings);
        assert_eq!(warnings.len(), 3);
        assert!(warnings[2].to_string().contains("b and a both have site/x.py"), "{warnings:?}");
        assert!(app.files.is_sorted_by(|a, b| a.path < b.path));
    }
}
