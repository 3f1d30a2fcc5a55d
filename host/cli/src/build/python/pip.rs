//! pip as the index: it looks for versions, with the user's settings, and fetches wheels.
//!
//! It is told to take wheels that run on any system with the runtime's version of Python. It then runs no code of any
//! package of an index; a URL or path is given to it only where it can take it for nothing but a wheel, and versions so that
//! it cannot take them for a file. What it says with `-vv` about files that it passes over tells why a package cannot be had.
//!
//! Source code runs when a wheel is made of it, and even when pip only fetches it. Where hashes are required, pip gets those
//! of the source code, and compares them before it runs any of it.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pep440_rs::Version;

use super::lines_about;
use super::refusal::{Reason, Refusal};
use super::resolve::{Ask, Index};
use super::wheel::{Wheel, WheelName};
use crate::python::{PYTHON, RequirementFiles, Source, Warning, normalized, shortened};

/// Endings of source code's archives.
const SOURCE_ENDINGS: [&str; 5] = [".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz"];
/// Runs pip. With `-m`, Python would take a `pip.py` of the project for it.
const RUN_PIP: &str = "import sys; sys.path[:] = [path for path in sys.path if path]; import runpy; \
                       runpy.run_module('pip', run_name='__main__', alter_sys=True)";

/// Why pip does not give a package.
#[derive(Debug, thiserror::Error)]
pub(in crate::build) enum PipError {
    /// Python cannot be started.
    #[error(
        "cannot start `{}`, whose pip gets the packages: {source}; install Python with pip, or name another with --python",
        program.to_string_lossy()
    )]
    Start {
        /// Its name or path.
        program: OsString,
        /// What the system says.
        source: io::Error,
    },
    /// It has no pip.
    #[error(
        "`{}` has no pip, which gets the packages; install it (`{} -m ensurepip`, or your system's package python3-pip), or \
         name another Python with --python",
        .0.to_string_lossy(), .0.to_string_lossy()
    )]
    NoPip(OsString),
    /// Packages that cannot be had.
    #[error("these packages cannot be put into the sandbox:\n{}", list(.0))]
    Refused(Vec<Refusal>),
    /// A wheel that cannot be read.
    #[error("{0}")]
    Wheel(String),
    /// A temporary folder cannot be used.
    #[error("cannot use a temporary folder: {0}")]
    Temporary(io::Error),
}

fn list(refusals: &[Refusal]) -> String {
    let lines: Vec<_> = refusals.iter().map(|refusal| format!("  {refusal}")).collect();
    lines.join("\n")
}

/// pip of a Python on this machine.
pub(super) struct Pip<'a> {
    /// The Python.
    pub(super) python: OsString,
    /// Where it runs: paths in its settings may be relative to the project.
    pub(super) folder: PathBuf,
    /// The requirement files, with options for pip and with hashes.
    pub(super) files: &'a RequirementFiles,
    /// Whether code of packages may be run to make wheels.
    pub(super) allow_source: bool,
    /// Says what goes on.
    pub(super) note: &'a dyn Fn(&str),
    /// What may not go well.
    pub(super) warnings: Vec<Warning>,
    /// SHA-256 of the wheels that were made of source code with one of the required hashes.
    pub(super) made: BTreeSet<String>,
}

impl Index for Pip<'_> {
    type Error = PipError;

    fn pick(&mut self, asks: &[Ask]) -> Result<Vec<Wheel>, PipError> {
        let names: Vec<_> = asks.iter().map(|ask| ask.key.as_str()).collect();
        (self.note)(&format!("looking for {}", names.join(", ")));
        let (plain, others): (Vec<_>, Vec<_>) = asks.iter().partition(|ask| ask.place().is_none());
        let mut refusals = Vec::new();
        let mut wheels = self.index_wheels(&plain, &mut refusals)?;
        for ask in others {
            match self.place_wheel(ask)? {
                Ok(wheel) => wheels.push(wheel),
                Err(reason) => refusals.push(Refusal::of(ask, reason)),
            }
        }
        if !refusals.is_empty() {
            refusals.sort_by(|a, b| a.key.cmp(&b.key));
            return Err(PipError::Refused(refusals));
        }
        // In the order of those who ask.
        let found = |ask: &Ask| wheels.iter().position(|wheel| normalized(&wheel.name) == ask.key);
        let order: Option<Vec<_>> = asks.iter().map(found).collect();
        let order =
            order.ok_or_else(|| PipError::Wheel("pip fetched other packages than it was asked for".to_owned()))?;
        Ok(order.into_iter().map(|index| wheels[index].clone()).collect())
    }
}

impl Pip<'_> {
    /// Gets the newest versions from the index.
    fn index_wheels(&mut self, asks: &[&Ask], refusals: &mut Vec<Refusal>) -> Result<Vec<Wheel>, PipError> {
        if asks.is_empty() {
            return Ok(Vec::new());
        }
        let folder = tempfile::tempdir().map_err(PipError::Temporary)?;
        let output = self.download(asks.iter().map(|ask| specifier(ask)), folder.path())?;
        if !output.status.success() {
            if let [ask] = asks {
                match self.refused_or_built(ask, &output)? {
                    Ok(wheel) => return Ok(vec![wheel]),
                    Err(reason) => refusals.push(Refusal::of(ask, reason)),
                }
                return Ok(Vec::new());
            }
            // One by one, to find out about each.
            let mut wheels = Vec::new();
            for ask in asks {
                wheels.extend(self.index_wheels(&[ask], refusals)?);
            }
            return Ok(wheels);
        }
        let passed_over = PassedOver::read(&text_of(&output));
        let mut wheels = Vec::new();
        for wheel in read_wheels(folder.path())? {
            let Some(ask) = asks.iter().find(|ask| ask.key == normalized(&wheel.name)) else { continue };
            let newer = |version: Option<Version>| version.filter(|newest| *newest > wheel.version);
            if let Some(version) = newer(passed_over.newest_native(ask)) {
                let reason = Reason::Native { version: Some(version), pure: Some(wheel.version) };
                refusals.push(Refusal::of(ask, reason));
                continue;
            }
            if let Some(version) = newer(passed_over.newest_source(ask)) {
                self.warnings.push(Warning(format!(
                    "{} {} is taken for {}: of the newer {version} there is only source code",
                    wheel.name,
                    wheel.version,
                    ask.asked()
                )));
            }
            wheels.push(wheel);
        }
        Ok(wheels)
    }

    /// Finds out why pip does not give a package; makes a wheel if that is allowed.
    fn refused_or_built(&mut self, ask: &Ask, output: &Output) -> Result<Result<Wheel, Reason>, PipError> {
        let text = text_of(output);
        let passed_over = PassedOver::read(&text);
        if let Some(version) = passed_over.newest_native(ask) {
            return Ok(Err(Reason::Native { version: Some(version), pure: None }));
        }
        let Some(version) = passed_over.newest_source(ask) else {
            return Ok(Err(Reason::None(errors(&text))));
        };
        if !self.allow_source {
            return Ok(Err(Reason::Source));
        }
        // pip compares hashes of exact versions only.
        let exact = self.files.require_hashes.then(|| in_versions(&ask.key, &format!("=={version}")));
        self.build(ask, &exact.unwrap_or_else(|| specifier(ask)))
    }

    /// Gets what is at a URL or path.
    fn place_wheel(&mut self, ask: &Ask) -> Result<Result<Wheel, Reason>, PipError> {
        let place = ask.place().unwrap_or_default();
        let address = place.split(['#', '?']).next().unwrap_or(place);
        let file = address.rsplit('/').next().unwrap_or(address).replace("%2B", "+");
        let built = match WheelName::parse(&file) {
            Some(name) if name.is_pure => {
                let url = match wheel_url(place, &self.folder) {
                    Ok(url) => url,
                    Err(reason) => return Ok(Err(Reason::None(reason))),
                };
                let folder = tempfile::tempdir().map_err(PipError::Temporary)?;
                let output = self.download(std::iter::once(url), folder.path())?;
                if !output.status.success() {
                    return Ok(Err(Reason::None(errors(&text_of(&output)))));
                }
                match read_wheels(folder.path())?.pop() {
                    Some(wheel) => Ok(wheel),
                    None => Err(Reason::None("pip fetched nothing".to_owned())),
                }
            }
            Some(name) if name.is_native => Err(Reason::Native { version: Some(name.version), pure: None }),
            Some(_) => Err(Reason::None("the wheel is not one for Python 3".to_owned())),
            None if self.allow_source => self.build(ask, place)?,
            None => Err(Reason::Source),
        };
        Ok(built.and_then(|mut wheel| {
            if normalized(&wheel.name) != ask.key {
                return Err(Reason::None(format!("what is there is {}", wheel.name)));
            }
            if !ask.accepts(&wheel.version) {
                return Err(Reason::None(format!("what is there is version {}", wheel.version)));
            }
            wheel.place = Some(place.to_owned());
            Ok(wheel)
        }))
    }

    /// Makes a wheel of source code. That runs the code, where hashes are required after it was compared with them.
    fn build(&mut self, ask: &Ask, what: &str) -> Result<Result<Wheel, Reason>, PipError> {
        let folder = tempfile::tempdir().map_err(PipError::Temporary)?;
        let mut command = self.pip("wheel");
        command.args(["--no-deps", "--ignore-requires-python", "--no-binary", &ask.key, "--wheel-dir"]);
        command.arg(folder.path()).args(&self.files.options);
        if self.files.require_hashes {
            let hashes = hashes_of(self.files, &ask.key);
            if hashes.is_empty() {
                return Ok(Err(Reason::NoHash));
            }
            // pip takes hashes from such a file only.
            let file = folder.path().join("requirements.txt");
            let line = hashes.iter().fold(what.to_owned(), |line, hash| line + " --hash=" + hash);
            fs::write(&file, line).map_err(PipError::Temporary)?;
            command.arg("--require-hashes").arg("--requirement").arg(file);
        } else {
            command.arg("--").arg(what);
        }
        (self.note)(&format!("making a wheel of {} by running its code", ask.key));
        let output = self.run(command)?;
        if !output.status.success() {
            let text = text_of(&output);
            let other = other_hash(&text).map(Reason::Hash);
            return Ok(Err(other.unwrap_or_else(|| Reason::Build(errors(&text)))));
        }
        let built = fs::read_dir(folder.path()).map_err(PipError::Temporary)?;
        let names = built.flatten().filter_map(|entry| WheelName::parse(&entry.file_name().to_string_lossy()));
        if !names.into_iter().all(|name| name.is_pure) {
            return Ok(Err(Reason::Build("it has machine code".to_owned())));
        }
        let Some(wheel) = read_wheels(folder.path())?.pop() else {
            return Ok(Err(Reason::Build("pip made none".to_owned())));
        };
        if self.files.require_hashes {
            self.made.insert(wheel.sha256.clone());
        }
        Ok(Ok(wheel))
    }

    /// Fetches wheels for any system into a folder.
    fn download(&self, what: impl Iterator<Item = String>, folder: &Path) -> Result<Output, PipError> {
        let mut command = self.pip("download");
        command.args(["-vv", "--no-deps", "--only-binary", ":all:", "--platform", "any", "--implementation", "py"]);
        command.args(["--abi", "none", "--python-version", PYTHON, "--dest"]).arg(folder);
        command.args(&self.files.options).arg("--").args(what);
        self.run(command)
    }

    fn pip(&self, command: &str) -> Command {
        let mut pip = Command::new(&self.python);
        pip.args(["-c", RUN_PIP, command, "--no-input", "--disable-pip-version-check", "--no-color"]);
        pip.current_dir(&self.folder).stdin(Stdio::null());
        // Whether the user wants to install only into virtual environments has no bearing: nothing is installed.
        pip.env("PIP_REQUIRE_VIRTUALENV", "0").env("PYTHONIOENCODING", "utf-8");
        // Where pip runs, a relative or empty one would be a folder of the project, whose `python3`, `sitecustomize.py` or
        // `libz.so.1` would run.
        for name in ["PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH"] {
            match env::var_os(name).and_then(|list| absolute_folders(&list)) {
                Some(list) => pip.env(name, list),
                None => pip.env_remove(name),
            };
        }
        pip
    }

    fn run(&self, mut command: Command) -> Result<Output, PipError> {
        let start = |source| PipError::Start { program: self.python.clone(), source };
        let output = command.output().map_err(start)?;
        if !output.status.success() && text_of(&output).contains("No module named pip") {
            return Err(PipError::NoPip(self.python.clone()));
        }
        Ok(output)
    }
}

/// The absolute ones of a list of folders, if there are any.
fn absolute_folders(list: &OsStr) -> Option<OsString> {
    // The second one parts those of the system's loader as well.
    let folders = list.as_bytes().split(|byte| b":;".contains(byte)).filter(|folder| folder.starts_with(b"/"));
    let list = folders.collect::<Vec<_>>().join(&b':');
    Some(OsString::from_vec(list)).filter(|list| !list.is_empty())
}

/// The URL by which pip takes what is at a place for the wheel that its name says. pip reads a place in its own way: what
/// follows a `;` may be a condition, a path with `..` may lead elsewhere, and a folder may have any name. Whatever turns out
/// to be source code there, it runs.
fn wheel_url(place: &str, folder: &Path) -> Result<String, String> {
    let scheme = place.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let is_remote = matches!(scheme.as_deref(), Some("http" | "https"));
    let file_url = place.strip_prefix("file:");
    let is_url = is_remote || file_url.is_some();
    if is_url && place.contains(|c: char| c == ';' || c.is_whitespace() || c.is_control()) {
        return Err(
            "its URL has a `;` or a space: write `%3B` or `%20`, and a space before the `;` of a condition".to_owned()
        );
    }
    if is_remote {
        return Ok(place.to_owned());
    }
    let (path, fragment) = match file_url {
        None => (PathBuf::from(place), ""),
        Some(url) => {
            let (address, fragment) = url.split_at(url.find('#').unwrap_or(url.len()));
            let path = address.split('?').next().unwrap_or(address);
            let path = path.strip_prefix("//localhost").or_else(|| path.strip_prefix("//")).unwrap_or(path);
            (unquoted(path), fragment)
        }
    };
    let path = folder.join(path);
    let path = fs::canonicalize(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let name = path.file_name().and_then(OsStr::to_str).and_then(WheelName::parse);
    if !path.is_file() || !name.is_some_and(|name| name.is_pure) {
        return Err(format!("{} is no file with the name of a wheel for Python 3", path.display()));
    }
    Ok(format!("file://{}{fragment}", quoted(&path)))
}

/// A path of a URL, with what it has `%2B` and the like for.
fn unquoted(path: &str) -> PathBuf {
    let mut parts = path.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        if let Some(byte) = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            bytes.extend_from_slice(&part.as_bytes()[2..]);
        } else {
            bytes.push(b'%');
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    OsString::from_vec(bytes).into()
}

/// A path as a URL has it.
fn quoted(path: &Path) -> String {
    let mut url = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url
}

/// What pip is asked for: all that is asked of the package at once.
fn specifier(ask: &Ask) -> String {
    let mut versions: Vec<String> = Vec::new();
    for (_, requirement) in &ask.demands {
        if let Source::Versions(all) = &requirement.source {
            versions.extend(all.iter().map(ToString::to_string));
        }
    }
    versions.sort_unstable();
    versions.dedup();
    in_versions(&ask.key, &versions.join(","))
}

/// How pip is asked for versions of a package. What ends like an archive, as `a==1.0+x.zip` does, it takes for the file of
/// that name in the project, if there is one, and runs the source code in it: nothing in brackets ends so. The space is for
/// older pips, which would take the bracket for a part of what follows `===`.
fn in_versions(key: &str, versions: &str) -> String {
    if versions.is_empty() { key.to_owned() } else { format!("{key}({versions} )") }
}

/// The hashes that all lines about a package allow, as far as they have any.
fn hashes_of<'a>(files: &'a RequirementFiles, key: &str) -> Vec<&'a str> {
    let lines = lines_about(files, key);
    let mut lists = lines.iter().map(|wanted| &wanted.hashes).filter(|hashes| !hashes.is_empty());
    let first = lists.next().into_iter().flatten().filter(|hash| hash.starts_with("sha256:"));
    let mut hashes: Vec<_> = first.map(String::as_str).collect();
    lists.for_each(|list| hashes.retain(|hash| list.iter().any(|other| other == hash)));
    hashes
}

/// The SHA-256 that pip names when it is none of those that it was given.
fn other_hash(text: &str) -> Option<String> {
    let (_, said) = text.split_once("DO NOT MATCH THE HASHES")?;
    said.lines().find_map(|line| line.trim().strip_prefix("Got ")).map(|hash| hash.trim().to_owned())
}

/// All that a program has written.
fn text_of(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What pip says went wrong, without what it says besides.
fn errors(text: &str) -> String {
    // The first says what it looked for and what there is; the others say the same again. Old versions have no prefix.
    let begin = |line: &str| {
        let line = line.trim();
        line.strip_prefix("ERROR: ").or_else(|| line.starts_with("Could not ").then_some(line)).map(str::to_owned)
    };
    match text.lines().find_map(begin) {
        // pip lists all versions that there are; the newest are at the end.
        Some(line) => shortened(&line),
        None => "pip does not say why; a newer version of pip may (name another Python with --python)".to_owned(),
    }
}

fn read_wheels(folder: &Path) -> Result<Vec<Wheel>, PipError> {
    let mut paths: Vec<_> =
        fs::read_dir(folder).map_err(PipError::Temporary)?.flatten().map(|entry| entry.path()).collect();
    paths.sort_unstable();
    paths.retain(|path| path.extension() == Some(OsStr::new("whl")));
    paths.iter().map(|path| Wheel::read(path).map_err(PipError::Wheel)).collect()
}

/// The files of an index that pip has passed over.
#[derive(Debug, Default)]
struct PassedOver {
    native: Vec<(String, Version)>,
    source: Vec<(String, Version)>,
}

impl PassedOver {
    /// Reads what pip says with `-vv`: `Skipping link: none of the wheel's tags (…) are compatible (…): https://…`, and
    /// `Skipping link: No sources permitted for …: https://…`.
    fn read(text: &str) -> Self {
        let mut result = Self::default();
        for line in text.lines() {
            let Some((_, said)) = line.split_once("Skipping link: ") else { continue };
            let Some(file) = file_of_link(said) else { continue };
            if said.starts_with("none of the wheel's tags") {
                if let Some(name) = WheelName::parse(file).filter(|name| name.is_native) {
                    result.native.push((name.key, name.version));
                }
            } else if said.starts_with("No sources permitted for")
                && let Some(name) = SOURCE_ENDINGS.iter().find_map(|ending| file.strip_suffix(ending))
                && let Some((name, version)) = name.rsplit_once('-')
                && let Ok(version) = version.parse()
            {
                result.source.push((normalized(name), version));
            }
        }
        result
    }

    fn newest_native(&self, ask: &Ask) -> Option<Version> {
        newest(&self.native, ask)
    }

    fn newest_source(&self, ask: &Ask) -> Option<Version> {
        newest(&self.source, ask)
    }
}

/// The newest version that will do.
fn newest(files: &[(String, Version)], ask: &Ask) -> Option<Version> {
    let fits = |(key, version): &&(String, Version)| {
        *key == ask.key && ask.accepts(version) && (!version.any_prerelease() || ask.takes_prereleases())
    };
    files.iter().filter(fits).map(|(_, version)| version).max().cloned()
}

/// The name of the file that a link leads to, at the end of what pip says.
fn file_of_link(said: &str) -> Option<&str> {
    let at = said.rfind(": http").or_else(|| said.rfind(": file"))?;
    let link = said[at + 2..].split([' ', '#', '?']).next()?;
    link.rsplit('/').next()
}

#[cfg(test)]
mod tests {
    use super::super::resolve::Who;
    use super::*;
    use crate::python::{Origin, Requirement};

    fn ask(requirement: &str) -> Ask {
        let requirement: Requirement = requirement.parse().unwrap();
        let origin = Origin { file: "requirements.txt".into(), line: 3 };
        Ask { key: requirement.key(), demands: vec![(Who::File(origin), requirement)], via: None }
    }

    const SAID: &str = "\
  Skipping link: No sources permitted for lightgbm: https://host/x/lightgbm-4.7.0.tar.gz#sha256=aa (from https://host/simple/lightgbm/) (requires-python:>=3.7)
  Skipping link: none of the wheel's tags (py3-none-win_amd64) are compatible (run pip debug --verbose to show compatible tags): https://host/x/lightgbm-4.6.0-py3-none-win_amd64.whl#sha256=bb (from https://host/simple/lightgbm/)
  Skipping link: none of the wheel's tags (cp315-cp315-x) are compatible: https://host/x/LightGBM-4.8.0rc1-cp315-cp315-manylinux2014_x86_64.whl
  Skipping link: none of the wheel's tags (py2-none-any) are compatible: https://host/x/docopt-9-py2-none-any.whl
  Skipping link: not a file: https://host/simple/lightgbm/
ERROR: Could not find a version that satisfies the requirement lightgbm (from versions: none)
ERROR: No matching distribution found for lightgbm
";

    #[test]
    fn what_pip_passes_over_tells_why() {
        let passed_over = PassedOver::read(SAID);
        let native = |text: &str| passed_over.newest_native(&ask(text)).map(|version| version.to_string());
        assert_eq!(native("lightgbm").as_deref(), Some("4.6.0"));
        assert_eq!(native("lightgbm>=4.8.0rc0").as_deref(), Some("4.8.0rc1"));
        assert_eq!(native("lightgbm<4"), None);
        assert_eq!(native("docopt"), None);
        assert_eq!(
            passed_over.newest_source(&ask("lightgbm")).map(|version| version.to_string()).as_deref(),
            Some("4.7.0")
        );
        assert!(errors(SAID).starts_with("Could not find a version"));
        assert!(errors(&format!("ERROR: {}", "1.0.0, ".repeat(500))).len() < 500);
    }

    #[test]
    fn a_refusal_names_the_package_the_reason_and_the_way_out() {
        let reason = Reason::Native { version: Some("4.6.0".parse().unwrap()), pure: None };
        let error = PipError::Refused(vec![Refusal::of(&ask("lightgbm>=4"), reason)]).to_string();
        for part in
            ["lightgbm, for requirements.txt line 3 (lightgbm>=4): version 4.6.0", "HistGradientBoosting", "Rust"]
        {
            assert!(error.contains(part), "{error}");
        }
        let source = Refusal::of(&ask("docopt"), Reason::Source).to_string();
        assert!(source.contains("--allow-sdist") && source.contains("outside of any sandbox"), "{source}");
        let pure = Reason::Native { version: None, pure: Some("0.0.1".parse().unwrap()) };
        assert!(Refusal::of(&ask("pydantic-core"), pure).to_string().contains("ask for pydantic-core==0.0.1"));
        let none = Refusal::of(&ask("azureml-core"), Reason::None("x".to_owned())).to_string();
        assert!(none.contains("AZUREML_MODEL_DIR"), "{none}");
    }

    #[test]
    fn pip_is_asked_for_everything_at_once() {
        let mut both = ask("a>=1,<3");
        both.demands.extend(ask("a[x]!=2,<3").demands);
        assert_eq!(specifier(&both), "a(!=2,<3,>=1 )");
        assert_eq!(specifier(&ask("a")), "a");
    }

    #[test]
    fn pip_is_given_no_versions_that_it_can_take_for_a_file() {
        assert_eq!(specifier(&ask("a==1.0+x.zip")), "a(==1.0+x.zip )");
        assert_eq!(specifier(&ask("A.zip")), "a-zip");
    }

    #[test]
    fn pip_is_given_no_folder_of_the_project_to_look_in() {
        let given = |list: &str| absolute_folders(OsStr::new(list)).map(|list| list.into_string().unwrap());
        assert_eq!(given(":/usr/bin:.:bin::/bin:").as_deref(), Some("/usr/bin:/bin"));
        assert_eq!(given("/lib;./lib;:/usr/lib;").as_deref(), Some("/lib:/usr/lib"));
        assert_eq!((given(""), given(":."), given("lib")), (None, None, None));
    }

    #[test]
    fn pip_is_given_a_place_only_where_it_takes_it_for_a_wheel() {
        const FILE: &str = "a-1.0+x-py3-none-any.whl";
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let wheels = root.join("my wheels; all #1");
        fs::create_dir_all(wheels.join("folder-1.0-py3-none-any.whl")).unwrap();
        fs::write(wheels.join(FILE), "").unwrap();
        fs::write(wheels.join("source.zip"), "").unwrap();
        std::os::unix::fs::symlink("source.zip", wheels.join("link-1.0-py3-none-any.whl")).unwrap();
        let quoted = format!("{}/my%20wheels%3B%20all%20%231", super::quoted(&root));
        let url = format!("file://{quoted}/a-1.0%2Bx-py3-none-any.whl");
        for (place, given) in [
            (format!("{}/{FILE}", wheels.display()), url.clone()),
            (format!("my wheels; all #1/../my wheels; all #1/{FILE}"), url.clone()),
            (format!("file:{quoted}/{FILE}"), url.clone()),
            (format!("file://localhost{quoted}/{FILE}?x#sha256=ab"), format!("{url}#sha256=ab")),
            (
                "https://host/a-1.0-py3-none-any.whl#sha256=ab".into(),
                "https://host/a-1.0-py3-none-any.whl#sha256=ab".into(),
            ),
            ("HTTP://host/a-1.0-py3-none-any.whl?x=1".into(), "HTTP://host/a-1.0-py3-none-any.whl?x=1".into()),
        ] {
            assert_eq!(wheel_url(&place, &root), Ok(given), "{place}");
        }
        for (place, reason) in [
            ("https://host/x.tar.gz; os_name!='/a-1.0-py3-none-any.whl#'".into(), "has a `;`"),
            ("https://host/x.tar.gz\t#/a-1.0-py3-none-any.whl".into(), "has a `;`"),
            (format!("file://{quoted}; os_name!='/{FILE}#'"), "has a `;`"),
            (format!("{}/{FILE}?/../source.zip", wheels.display()), "cannot read"),
            (format!("{}/folder-1.0-py3-none-any.whl", wheels.display()), "is no file with the name of a wheel"),
            (
                format!("{}/link-1.0-py3-none-any.whl", wheels.display()),
                "source.zip is no file with the name of a wheel",
            ),
            ("git+https://host/a-1.0-py3-none-any.whl".into(), "cannot read"),
        ] {
            let error = wheel_url(&place, &root).unwrap_err();
            assert!(error.contains(reason), "{place}: {error}");
        }
    }

    #[test]
    fn a_python_that_is_not_there_is_said_with_the_way_out() {
        let mut pip = Pip {
            python: "/nowhere/python".into(),
            folder: ".".into(),
            files: &RequirementFiles::default(),
            allow_source: false,
            note: &|_| {},
            warnings: Vec::new(),
            made: BTreeSet::new(),
        };
        let error = pip.pick(&[ask("a")]).unwrap_err().to_string();
        assert!(error.contains("cannot start `/nowhere/python`") && error.contains("--python"), "{error}");
        let native = pip.pick(&[ask("a @ https://host/a-1.0-cp315-cp315-win32.whl")]).unwrap_err().to_string();
        assert!(native.contains("version 1.0 has machine code"), "{native}");
        let source = pip.pick(&[ask("a @ git+https://host/a.git")]).unwrap_err().to_string();
        assert!(source.contains("--allow-sdist"), "{source}");
    }
}
