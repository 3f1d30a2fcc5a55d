//! Reading a Python app from the folders that it lies in.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use scorebox_sandbox::BundleFile;

use super::archive::{ARCHIVE_EXTENSION, Bad, MAX_PATH, Package};
use super::{GUEST_APP, GUEST_MODEL};

/// Folders within folders that an app may have.
const MAX_DEPTH: usize = 64;
/// Files that an app may have, with those of its model directory.
const MAX_FILES: usize = 20_000;
/// Files, with those of installed packages, and folders that an app may have. What links lead to counts for each link:
/// there may be more ways through a few folders than anybody can go.
pub(super) const MAX_ENTRIES: usize = 5 * MAX_FILES;

/// Why there is no app.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    /// The system refused something.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The script is no file.
    #[error("{} is no file; give the script itself, `--entry_script score.py`", path.display())]
    NoScript {
        /// What was given.
        path: PathBuf,
    },
    /// The script is not in the app folder.
    #[error(
        "the script {} is not in the app folder {}, which is {reason}; set AML_APP_ROOT to a folder that it is in",
        script.display(), root.display()
    )]
    ScriptOutside {
        /// The script.
        script: PathBuf,
        /// The app folder.
        root: PathBuf,
        /// Why it is the app folder.
        reason: Why,
    },
    /// The script is in a part of the app folder that is left out.
    #[error(
        "the script {} is in a part of the app folder {} that is left out, like hidden folders and virtual environments; \
         set AML_APP_ROOT to the script's own folder",
        script.display(), root.display()
    )]
    ScriptLeftOut {
        /// The script.
        script: PathBuf,
        /// The app folder.
        root: PathBuf,
    },
    /// The source directory is not in the app folder.
    #[error(
        "AZUREML_SOURCE_DIRECTORY is {name}, which is no folder in the app folder {}; give one relative to it",
        root.display()
    )]
    SourceDir {
        /// What was given.
        name: String,
        /// The app folder.
        root: PathBuf,
    },
    /// The model directory is none.
    #[error("the model directory {} is no folder; give the folder that the model's files are in", path.display())]
    ModelDir {
        /// What was given.
        path: PathBuf,
    },
    /// A file or folder is somewhere else.
    #[error("{} is a link to {}, which is outside of the {of}; copy it into it", path.display(), target.display())]
    Outside {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
        /// What it was to be part of.
        of: Part,
    },
    /// A link to a folder that it is in.
    #[error("{} is a link to a folder that it is in itself, so there is no end of files; remove it", path.display())]
    Circle {
        /// The link.
        path: PathBuf,
    },
    /// Neither a file nor a folder.
    #[error("{} is neither a file nor a folder; remove it from the {of}", path.display())]
    Special {
        /// The socket, pipe or device.
        path: PathBuf,
        /// What it is in.
        of: Part,
    },
    /// A name that no path in the sandbox can have.
    #[error("the name of {} is {what}; rename it", path.display())]
    Name {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Folders within folders without end.
    #[error("{} is more than {MAX_DEPTH} folders deep", path.display())]
    TooDeep {
        /// The folder.
        path: PathBuf,
    },
    /// Files and folders without end.
    #[error(
        "the {of} {} has more than {MAX_ENTRIES} files and folders, with those that links lead to; take out what the script \
         does not need",
        path.display()
    )]
    TooMany {
        /// The folder.
        path: PathBuf,
        /// Which one it is.
        of: Part,
    },
    /// More than an app can have.
    #[error("{0}")]
    TooMuch(Box<TooMuch>),
    /// The archive is not what `scorebox build` makes.
    #[error("{} is no app that can be served: {reason}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        reason: Bad,
    },
}

/// Which of the app's folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The app folder.
    App(Why),
    /// The model directory.
    Model,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::App(_) => "app folder",
            Self::Model => "model directory",
        })
    }
}

/// Why a folder is the app folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The user says so.
    Given,
    /// It is the current directory, and the script is in it.
    Current,
    /// It is the script's own.
    Script,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given => "what AML_APP_ROOT says",
            Self::Current => "the current directory",
            Self::Script => "the script's own",
        })
    }
}

/// A folder with more than an app can have.
#[derive(Debug)]
pub(crate) struct TooMuch {
    /// The folder.
    folder: PathBuf,
    part: Part,
    /// The limit that was hit: bytes, else files.
    bytes: Option<u64>,
    /// What is most of it, of what was seen until then.
    most: Option<String>,
}

impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} {} has more than ", self.part, self.folder.display())?;
        match self.bytes {
            Some(limit) => write!(f, "the {limit} bytes of the memory limit, together with the rest of the app")?,
            None => write!(f, "{MAX_FILES} files, which an app cannot have")?,
        }
        if let Some(most) = &self.most {
            write!(f, "; most that was seen is in {most}")?;
        }
        let raise = if self.bytes.is_some() { ", or raise the limit" } else { "" };
        match self.part {
            Part::Model => write!(f, ". Take out what the script does not load{raise}"),
            Part::App(Why::Script) => write!(f, ". Move the script into a folder of its own{raise}"),
            Part::App(why) => write!(
                f,
                ". It is the app folder because it is {why}: set AML_APP_ROOT to a smaller folder that has the script and \
                 its modules, or move them into one of their own{raise}"
            ),
        }
    }
}

/// What is put into the sandbox for a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct App {
    /// Path of the script relative to the app folder, with `/` between its parts.
    pub(crate) entry_script: Option<String>,
    /// Path of the folder from which modules can be imported besides the app folder, relative to that.
    pub(crate) source_dir: Option<String>,
    /// Where the model directory is for the script: [`GUEST_MODEL`], or a folder in [`GUEST_APP`].
    pub(crate) model_dir: Option<String>,
    /// The files in order of their paths: `app/` for the app folder, `model/` for a model directory outside of it, `site/`
    /// for installed packages.
    pub(crate) files: Vec<BundleFile>,
    /// The installed packages, in order of their names.
    pub(crate) packages: Vec<Package>,
}

impl App {
    /// Reads an app as it lies in its folders.
    ///
    /// The app folder is `app_root`; else the current directory, if the script is in it; else the script's folder. All of
    /// it belongs to the app, for a script may import and open what it likes, apart from what no script needs: hidden
    /// entries, caches, compiled files, virtual environments, packages of Node, and archives of apps. The model directory
    /// is taken whole. Where it lies in the app folder, it stays there.
    ///
    /// `entry_script` is relative to the current directory, or else to `app_root`; `source_dir` is relative to the app
    /// folder. All files together may have `limit` bytes.
    pub(crate) fn read(
        entry_script: &Path,
        model_dir: Option<&Path>,
        app_root: Option<&Path>,
        source_dir: Option<&str>,
        limit: u64,
    ) -> Result<Self, AppError> {
        let current = std::env::current_dir().map_err(on(Path::new(".")))?;
        Self::read_from(&current, entry_script, model_dir, app_root, source_dir, limit)
    }

    /// The folder that is the app's, as [`App::read`] finds it.
    pub(crate) fn root(entry_script: &Path, app_root: Option<&Path>) -> Result<PathBuf, AppError> {
        let current = std::env::current_dir().map_err(on(Path::new(".")))?;
        script_and_root(&current, entry_script, app_root).map(|(_, root, _)| root)
    }

    fn read_from(
        current: &Path,
        entry_script: &Path,
        model_dir: Option<&Path>,
        app_root: Option<&Path>,
        source_dir: Option<&str>,
        limit: u64,
    ) -> Result<Self, AppError> {
        let (script, root, why) = script_and_root(current, entry_script, app_root)?;
        let outside = || AppError::ScriptOutside { script: script.clone(), root: root.clone(), reason: why };
        let entry_script = relative(&script, &root)?.ok_or_else(outside)?;
        let source_dir = source_dir.filter(|name| !name.is_empty()).map(|name| source(&root, name)).transpose()?;
        let model = match model_dir {
            None => None,
            Some(folder) => {
                let path = current.join(folder);
                let path = fs::canonicalize(&path).map_err(on(&path))?;
                if !path.is_dir() {
                    return Err(AppError::ModelDir { path });
                }
                Some(path)
            }
        };

        let mut reader = Reader { limit, bytes: 0, entries: 0, files: BTreeMap::new() };
        let mut guest_model = None;
        if let Some(model) = &model {
            let inside = relative(model, &root)?;
            let (prefix, guest) = match inside.as_deref() {
                None => ("model".to_owned(), GUEST_MODEL.to_owned()),
                Some("") => ("app".to_owned(), GUEST_APP.to_owned()),
                Some(path) => (format!("app/{path}"), format!("{GUEST_APP}/{path}")),
            };
            // It is taken whole, unless it is the app folder itself.
            if inside.as_deref() != Some("") {
                Walk { reader: &mut reader, root: model, part: Part::Model, leave_out: None, seen: Seen::default() }
                    .start(&prefix)?;
            }
            guest_model = Some(guest);
        }
        Walk {
            reader: &mut reader,
            root: &root,
            part: Part::App(why),
            leave_out: model.as_deref(),
            seen: Seen::default(),
        }
        .start("app")?;
        if !reader.files.contains_key(&format!("app/{entry_script}")) {
            return Err(AppError::ScriptLeftOut { script, root });
        }
        let files = reader.files.into_iter().map(|(path, contents)| BundleFile { path, contents }).collect();
        Ok(Self { entry_script: Some(entry_script), source_dir, model_dir: guest_model, files, packages: Vec::new() })
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.contents.len() as u64).sum()
    }
}

/// The script and the app folder, and why it is that one.
fn script_and_root(
    current: &Path,
    entry_script: &Path,
    app_root: Option<&Path>,
) -> Result<(PathBuf, PathBuf, Why), AppError> {
    let app_root = app_root.map(|root| current.join(root));
    let script = script(current, entry_script, app_root.as_deref())?;
    let (root, why) = match &app_root {
        Some(root) => (fs::canonicalize(root).map_err(on(root))?, Why::Given),
        None => match fs::canonicalize(current) {
            // In the root folder services are started, and there is more in it than an app.
            Ok(current) if current != Path::new("/") && script.starts_with(&current) => (current, Why::Current),
            _ => (script.parent().unwrap_or(Path::new("/")).to_owned(), Why::Script),
        },
    };
    Ok((script, root, why))
}

/// The script's path without links, apart from the script's own name: a link is judged by where it lies and where it
/// leads, as every other file is.
fn script(current: &Path, given: &Path, app_root: Option<&Path>) -> Result<PathBuf, AppError> {
    let here = current.join(given);
    let path = match app_root {
        Some(root) if !here.exists() => root.join(given),
        _ => here.clone(),
    };
    if !path.exists() {
        return Err(on(&here)(fs::metadata(&path).err().unwrap_or_else(|| io::ErrorKind::NotFound.into())));
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(AppError::NoScript { path }) };
    if !path.is_file() {
        return Err(AppError::NoScript { path });
    }
    Ok(fs::canonicalize(folder).map_err(on(folder))?.join(name))
}

/// The path relative to a folder, as it is written in the sandbox; none if it lies elsewhere.
fn relative(path: &Path, root: &Path) -> Result<Option<String>, AppError> {
    let Ok(inside) = path.strip_prefix(root) else { return Ok(None) };
    let parts: Option<Vec<_>> = inside.components().map(|part| part.as_os_str().to_str()).collect();
    match parts {
        Some(parts) => Ok(Some(parts.join("/"))),
        None => Err(AppError::Name { path: path.to_owned(), what: "not UTF-8" }),
    }
}

fn source(root: &Path, name: &str) -> Result<String, AppError> {
    let wrong = || AppError::SourceDir { name: name.to_owned(), root: root.to_owned() };
    let path = fs::canonicalize(root.join(name)).map_err(|_| wrong())?;
    if !path.is_dir() {
        return Err(wrong());
    }
    relative(&path, root)?.ok_or_else(wrong)
}

/// Collects files.
struct Reader {
    limit: u64,
    bytes: u64,
    /// Files and folders so far.
    entries: usize,
    files: BTreeMap<String, Vec<u8>>,
}

/// What was seen in each entry of a folder: files and bytes.
#[derive(Default)]
struct Seen {
    entries: BTreeMap<String, (u64, u64)>,
}

/// Goes through one of the app's folders.
struct Walk<'a> {
    reader: &'a mut Reader,
    /// The folder, without links.
    root: &'a Path,
    part: Part,
    /// A folder in it that is read on its own.
    leave_out: Option<&'a Path>,
    seen: Seen,
}

impl Walk<'_> {
    fn start(&mut self, prefix: &str) -> Result<(), AppError> {
        let root = self.root.to_owned();
        self.folder(&root, prefix, &mut vec![root.clone()])
    }

    /// Reads a folder. `above` are the folders that it is in, and itself, without links.
    fn folder(&mut self, folder: &Path, prefix: &str, above: &mut Vec<PathBuf>) -> Result<(), AppError> {
        if above.len() > MAX_DEPTH {
            return Err(AppError::TooDeep { path: folder.to_owned() });
        }
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(on(folder))? {
            paths.push(entry.map_err(on(folder))?.path());
        }
        paths.sort_unstable();
        for path in paths {
            self.entry(path, prefix, above)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: PathBuf, prefix: &str, above: &mut Vec<PathBuf>) -> Result<(), AppError> {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(AppError::Name { path, what: "not UTF-8" });
        };
        if matches!(self.part, Part::App(_)) && is_needless(name) {
            return Ok(());
        }
        self.reader.entries += 1;
        if self.reader.entries > MAX_ENTRIES {
            return Err(AppError::TooMany { path: self.root.to_owned(), of: self.part });
        }
        if name.contains('\\') || name.chars().any(char::is_control) {
            return Err(AppError::Name { path, what: "one that has a backslash or a control character" });
        }
        let name = format!("{prefix}/{name}");
        // What an archive of it could not have.
        if name.len() > MAX_PATH {
            return Err(AppError::Name { path, what: "too long with the folders and links above it" });
        }
        let target = fs::canonicalize(&path).map_err(on(&path))?;
        if self.leave_out == Some(&target) {
            return Ok(());
        }
        let data = fs::metadata(&target).map_err(on(&path))?;
        // A virtual environment has links out of it; it is left out before they are looked at.
        if matches!(self.part, Part::App(_)) && data.is_dir() && is_needless_folder(&target) {
            return Ok(());
        }
        if !target.starts_with(self.root) {
            return Err(AppError::Outside { path, target, of: self.part });
        }
        if data.is_dir() {
            if above.contains(&target) {
                return Err(AppError::Circle { path });
            }
            above.push(target.clone());
            // By its own path: one by way of many links takes long to resolve.
            self.folder(&target, &name, above)?;
            above.pop();
            Ok(())
        } else if data.is_file() {
            self.file(&path, name, &target, data.len())
        } else {
            Err(AppError::Special { path, of: self.part })
        }
    }

    fn file(&mut self, path: &Path, name: String, target: &Path, size: u64) -> Result<(), AppError> {
        let top = path.strip_prefix(self.root).ok().and_then(|inside| inside.components().next());
        if let Some(Component::Normal(top)) = top {
            let (files, bytes) = self.seen.entries.entry(top.to_string_lossy().into_owned()).or_default();
            *files += 1;
            *bytes += size;
        }
        if self.reader.files.len() == MAX_FILES {
            return Err(self.too_much(None));
        }
        if size > self.reader.limit - self.reader.bytes {
            return Err(self.too_much(Some(self.reader.limit)));
        }
        let contents = fs::read(target).map_err(on(target))?;
        self.reader.bytes += contents.len() as u64;
        // It may have grown meanwhile.
        if self.reader.bytes > self.reader.limit {
            return Err(self.too_much(Some(self.reader.limit)));
        }
        self.reader.files.insert(name, contents);
        Ok(())
    }

    fn too_much(&self, bytes: Option<u64>) -> AppError {
        let by = |(files, size): &(u64, u64)| if bytes.is_some() { *size } else { *files };
        let most = self.seen.entries.iter().max_by_key(|(_, seen)| by(seen)).map(|(name, _)| name.clone());
        AppError::TooMuch(Box::new(TooMuch { folder: self.root.to_owned(), part: self.part, bytes, most }))
    }
}

/// Whether no script needs what has this name: what is hidden, and what programs make from other files.
fn is_needless(name: &str) -> bool {
    let ending = Path::new(name).extension();
    name.starts_with('.')
        || matches!(name, "__pycache__" | "node_modules")
        || ending.is_some_and(|ending| ending == "pyc" || ending == ARCHIVE_EXTENSION)
}

/// Whether no script needs what is in a folder: a virtual environment, or what says of itself that it is a cache, as
/// cargo's `target` does.
fn is_needless_folder(folder: &Path) -> bool {
    folder.join("pyvenv.cfg").is_file() || folder.join("CACHEDIR.TAG").is_file()
}

/// Turns an error of the system into one that names the path.
pub(super) fn on(path: &Path) -> impl FnOnce(io::Error) -> AppError {
    let path = path.to_owned();
    move |source| AppError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const PLENTY: u64 = 1_000_000;

    fn write(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
    }

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), files);
        folder
    }

    fn paths(app: &App) -> Vec<&str> {
        app.files.iter().map(|file| file.path.as_str()).collect()
    }

    fn read(current: &Path, script: &str, model: Option<&str>) -> Result<App, AppError> {
        App::read_from(current, Path::new(script), model.map(Path::new), None, None, PLENTY)
    }

    #[test]
    fn the_current_directory_is_the_app_folder_if_the_script_is_in_it() {
        let folder = folder(&["src/score.py", "lib/x.py", "m/w.bin", "requirements.txt"]);
        let app = read(folder.path(), "src/score.py", Some("m")).unwrap();
        assert_eq!(app.entry_script.as_deref(), Some("src/score.py"));
        assert_eq!(app.model_dir.as_deref(), Some("/var/azureml-app/m"));
        assert_eq!(paths(&app), ["app/lib/x.py", "app/m/w.bin", "app/requirements.txt", "app/src/score.py"]);
    }

    #[test]
    fn the_root_folder_is_not_the_app_folder_unless_somebody_says_so() {
        let folder = folder(&["app/score.py", "other"]);
        let script = folder.path().join("app/score.py");
        let app = read(Path::new("/"), script.to_str().unwrap(), None).unwrap();
        assert_eq!((app.entry_script.as_deref(), paths(&app)), (Some("score.py"), vec!["app/score.py"]));
    }

    #[test]
    fn else_the_scripts_own_folder_is() {
        let folder = folder(&["app/score.py", "here/other", "model/w.bin", "model/.hidden"]);
        let app = read(&folder.path().join("here"), "../app/score.py", Some("../model")).unwrap();
        assert_eq!(app.entry_script.as_deref(), Some("score.py"));
        assert_eq!(app.model_dir.as_deref(), Some("/model"));
        assert_eq!(paths(&app), ["app/score.py", "model/.hidden", "model/w.bin"]);
    }

    #[test]
    fn a_folder_that_is_given_is_and_has_the_script() {
        let folder = folder(&["root/src/score.py", "root/x.py", "score.py"]);
        let read = |script: &str, source: Option<&str>| {
            let root = Some(Path::new("root"));
            App::read_from(folder.path(), Path::new(script), None, root, source, PLENTY)
        };
        let app = read("src/score.py", Some("src")).unwrap();
        assert_eq!((app.entry_script.as_deref(), app.source_dir.as_deref()), (Some("src/score.py"), Some("src")));
        assert_eq!(paths(&app), ["app/src/score.py", "app/x.py"]);
        assert!(matches!(read("score.py", None), Err(AppError::ScriptOutside { reason: Why::Given, .. })));
        assert!(matches!(read("src/score.py", Some("..")), Err(AppError::SourceDir { .. })));
        assert!(matches!(read("src/score.py", Some("absent")), Err(AppError::SourceDir { .. })));
        assert!(matches!(read("absent.py", None), Err(AppError::Io { .. })));
        assert!(matches!(read("src", None), Err(AppError::NoScript { .. })));
    }

    #[test]
    fn what_no_script_needs_is_left_out() {
        let folder = folder(&[
            "score.py",
            "data/target/kept.txt",
            "a.pyc",
            "old.scorebox",
            ".git/config",
            "pkg/__pycache__/x.py",
            "venv/pyvenv.cfg",
            "venv/lib/x.py",
            "target/CACHEDIR.TAG",
            "target/x",
            "node_modules/x",
        ]);
        symlink("/usr/bin/env", folder.path().join("venv/python")).unwrap();
        assert_eq!(
            paths(&read(folder.path(), "score.py", None).unwrap()),
            ["app/data/target/kept.txt", "app/score.py"]
        );
        write(folder.path(), &[".apps/score.py"]);
        assert!(matches!(read(folder.path(), ".apps/score.py", None), Err(AppError::ScriptLeftOut { .. })));
    }

    #[test]
    fn a_model_directory_is_taken_whole_wherever_it_is() {
        let folder = folder(&["score.py", ".cache/model/.w.bin", ".cache/other"]);
        let app = read(folder.path(), "score.py", Some(".cache/model")).unwrap();
        assert_eq!(paths(&app), ["app/.cache/model/.w.bin", "app/score.py"]);
        let app = read(folder.path(), "score.py", Some(".")).unwrap();
        assert_eq!((app.model_dir.as_deref(), paths(&app)), (Some("/var/azureml-app"), vec!["app/score.py"]));
        assert!(matches!(read(folder.path(), "score.py", Some("score.py")), Err(AppError::ModelDir { .. })));
    }

    #[test]
    fn links_lead_nowhere_outside() {
        let folder = folder(&["app/score.py", "app/x/a.py", "secret"]);
        let app = folder.path().join("app");
        symlink("x/a.py", app.join("b.py")).unwrap();
        assert_eq!(paths(&read(&app, "score.py", None).unwrap()), ["app/b.py", "app/score.py", "app/x/a.py"]);
        symlink("../secret", app.join("out")).unwrap();
        let error = read(&app, "score.py", None).unwrap_err().to_string();
        assert!(
            error.contains("app/out is a link to") && error.contains("outside of the app folder; copy it"),
            "{error}"
        );
        fs::remove_file(app.join("out")).unwrap();
        symlink("..", app.join("x/up")).unwrap();
        assert!(matches!(read(&app, "score.py", None), Err(AppError::Circle { .. })));
        fs::remove_file(app.join("x/up")).unwrap();
        let script = app.join("linked.py");
        symlink("../secret", &script).unwrap();
        assert!(matches!(read(&app, "linked.py", None), Err(AppError::Outside { .. })));
    }

    #[test]
    fn what_is_too_much_is_said_with_the_way_out() {
        let folder = folder(&["score.py", "data/large", "model/w"]);
        let read = |script: &str, root, limit| {
            App::read_from(folder.path(), Path::new(script), Some(Path::new("model")), root, None, limit)
                .unwrap_err()
                .to_string()
        };
        let error = read("score.py", None, 20);
        assert!(error.contains("more than the 20 bytes of the memory limit"), "{error}");
        assert!(error.contains("because it is the current directory: set AML_APP_ROOT"), "{error}");
        let error = read("score.py", None, 3);
        assert!(error.contains("the model directory") && error.contains("most that was seen is in w"), "{error}");
        let many = folder.path().join("many");
        fs::create_dir(&many).unwrap();
        for index in 0..MAX_FILES {
            fs::write(many.join(index.to_string()), "").unwrap();
        }
        let error = read("score.py", Some(folder.path()), PLENTY);
        assert!(error.contains("has more than 20000 files") && error.contains("is in many"), "{error}");
        assert!(error.contains("because it is what AML_APP_ROOT says"), "{error}");
    }

    #[test]
    fn each_way_that_links_make_through_folders_counts() {
        let folder = folder(&["score.py"]);
        for level in 0..=16 {
            fs::create_dir(folder.path().join(format!("d{level}"))).unwrap();
        }
        for (level, name) in (0..16).flat_map(|level| [(level, "a"), (level, "b")]) {
            symlink(format!("../d{}", level + 1), folder.path().join(format!("d{level}/{name}"))).unwrap();
        }
        let error = read(folder.path(), "score.py", None).unwrap_err().to_string();
        assert!(error.contains("has more than 100000 files and folders, with those that links lead to"), "{error}");
    }

    #[test]
    fn links_make_no_path_long() {
        let folder = folder(&["score.py"]);
        for level in 0..=5 {
            fs::create_dir(folder.path().join(format!("d{level}"))).unwrap();
        }
        for level in 0..5 {
            symlink(format!("../d{}", level + 1), folder.path().join(format!("d{level}/{}", "x".repeat(250)))).unwrap();
        }
        let error = read(folder.path(), "score.py", None).unwrap_err().to_string();
        assert!(error.contains("is too long with the folders and links above it; rename it"), "{error}");
    }

    #[test]
    fn the_order_is_that_of_the_paths() {
        let folder = folder(&["score.py", "a/b", "a.b", "a-b", "B"]);
        let app = read(folder.path(), "score.py", None).unwrap();
        assert!(app.files.is_sorted_by(|a, b| a.path < b.path));
        assert_eq!(app, read(folder.path(), "score.py", None).unwrap());
    }
}
