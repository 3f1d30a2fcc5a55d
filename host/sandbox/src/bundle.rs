//! What is deployed: a component, and the files of its model directory.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::runtime::Runtime;

/// File name of the component in a bundle's folder.
pub const MODULE_FILE: &str = "model.wasm";
/// Name of the model directory in a bundle's folder, and first part of its files' paths.
pub const MODEL_DIR: &str = "model";
/// Folders within folders that a model directory may have.
const MAX_DEPTH: usize = 64;
/// Bytes of a path in a model directory, by way of the links that lead there.
const MAX_PATH: usize = 1024;
/// Files and folders that a model directory may have. What links lead to counts for each link: there may be more ways
/// through a few folders than anybody can go.
const MAX_ENTRIES: usize = 100_000;

/// Why a bundle cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The system refused something.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The folder has no component.
    #[error(
        "{} has no {MODULE_FILE}; build it with `scorebox build {} -o {}`",
        folder.display(), folder.display(), folder.join(MODULE_FILE).display()
    )]
    NoModule {
        /// The folder.
        folder: PathBuf,
    },
    /// A file or folder of the model directory is somewhere else.
    #[error("{} is a link to {}, which is outside of the model directory; copy it into it", path.display(), target.display())]
    Outside {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A folder's own model directory is somewhere else.
    #[error(
        "{} is a link to {}, which is outside of the folder; name the model directory with --model_dir if that is meant",
        path.display(), target.display()
    )]
    ModelOutside {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// Neither a file nor a folder.
    #[error("{} is neither a file nor a folder; remove it from the model directory", path.display())]
    Special {
        /// The socket, pipe or device.
        path: PathBuf,
    },
    /// A name that is not UTF-8.
    #[error("the name of {} is not UTF-8; rename it", path.display())]
    Name {
        /// The file or folder.
        path: PathBuf,
    },
    /// A path that is too long.
    #[error("the path of {} has more than {MAX_PATH} bytes in the model directory; use shorter names", path.display())]
    TooLong {
        /// The file or folder.
        path: PathBuf,
    },
    /// Folders within folders without end.
    #[error("{} is more than {MAX_DEPTH} folders deep", path.display())]
    TooDeep {
        /// The folder.
        path: PathBuf,
    },
    /// Files and folders without end.
    #[error(
        "the model directory {} has more than {MAX_ENTRIES} files and folders, with those that links lead to; take out what \
         the scorer does not need",
        path.display()
    )]
    TooMany {
        /// The model directory.
        path: PathBuf,
    },
    /// The files cannot fit into the memory of an instance.
    #[error("the model directory {} has more bytes than the memory limit of {limit}; raise the limit", path.display())]
    TooLarge {
        /// The model directory.
        path: PathBuf,
        /// The limit on them, in bytes.
        limit: u64,
    },
}

/// A file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleFile {
    /// Which folder it is of (`model/` for the model directory), then the path relative to that folder, with `/` between
    /// its parts.
    pub path: String,
    /// The whole content.
    pub contents: Vec<u8>,
}

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    /// A component: its bytes.
    Component(Vec<u8>),
    /// A runtime, which runs what is among the files.
    Runtime(Runtime),
}

/// What a runtime is to do before it is given the rest of a bundle. Bundles of one owner that differ only in the rest share the
/// state after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preload {
    /// What to do, in the runtime's own terms: for Python, statements.
    pub statements: String,
    /// Paths of the files that are the rest. If the runtime looks at one of them all the same, nothing is shared.
    pub withheld: BTreeSet<String>,
}

impl Preload {
    /// Whether a file is handed over only afterwards.
    pub(crate) fn withholds(&self, file: &BundleFile) -> bool {
        self.withheld.contains(&file.path)
    }
}

/// Code, and what it is deployed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Whose it is, such as the path of a deployment; empty where there is only one. What `init` has left is used again for
    /// the same owner only, whatever others deploy: it may have drawn secrets.
    pub owner: String,
    /// What is run.
    pub code: Code,
    /// Environment variables, in order of their names.
    pub environment: Vec<(String, String)>,
    /// The files in order of their paths.
    pub files: Vec<BundleFile>,
    /// The model directory itself, which components that read files themselves are given.
    pub model_dir: Option<Arc<Path>>,
    /// What a runtime can do beforehand.
    pub preload: Option<Preload>,
}

impl Bundle {
    /// Reads a bundle.
    ///
    /// `path` is a component, or a folder with a component `model.wasm`. The model directory is `model_dir`, or else the
    /// folder `model` of the bundle's folder if it is there. All its files together may have `limit` bytes. Links are
    /// followed within it, and refused where they lead out of it.
    pub fn read(path: &Path, model_dir: Option<&Path>, limit: u64) -> Result<Self, BundleError> {
        let (module, model_dir) = if path.is_dir() {
            let module = path.join(MODULE_FILE);
            if !module.exists() {
                return Err(BundleError::NoModule { folder: path.to_owned() });
            }
            (module, model_dir_of(path, model_dir)?)
        } else {
            (path.to_owned(), model_dir.map(Path::to_owned))
        };
        let code = Code::Component(fs::read(&module).map_err(on(&module))?);
        let environment = Vec::new();
        let Some(model_dir) = model_dir else {
            let (owner, files) = (String::new(), Vec::new());
            return Ok(Self { owner, code, environment, files, model_dir: None, preload: None });
        };
        let root = fs::canonicalize(&model_dir).map_err(on(&model_dir))?;
        let mut reader = Reader { root: &root, files: Vec::new(), entries: 0, left: limit, limit };
        reader.folder(&root, MODEL_DIR, 0)?;
        let mut files = reader.files;
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let model_dir = Some(root.into());
        Ok(Self { owner: String::new(), code, environment, files, model_dir, preload: None })
    }
}

/// The model directory of a scorer in a folder: the one that is named, else the folder's own, if it has one.
///
/// # Errors
///
/// [`BundleError::ModelOutside`] where the folder's own is a link out of it, which nobody has named.
pub fn model_dir_of(folder: &Path, named: Option<&Path>) -> Result<Option<PathBuf>, BundleError> {
    if let Some(named) = named {
        return Ok(Some(named.to_owned()));
    }
    let path = folder.join(MODEL_DIR);
    if !path.is_dir() {
        return Ok(None);
    }
    let target = fs::canonicalize(&path).map_err(on(&path))?;
    if !target.starts_with(fs::canonicalize(folder).map_err(on(folder))?) {
        return Err(BundleError::ModelOutside { path, target });
    }
    Ok(Some(path))
}

/// Reads a model directory.
struct Reader<'a> {
    root: &'a Path,
    files: Vec<BundleFile>,
    /// Files and folders so far.
    entries: usize,
    left: u64,
    limit: u64,
}

impl Reader<'_> {
    fn folder(&mut self, folder: &Path, name: &str, depth: usize) -> Result<(), BundleError> {
        if depth > MAX_DEPTH {
            // With the links that lead there.
            return Err(BundleError::TooDeep { path: name.into() });
        }
        for entry in fs::read_dir(folder).map_err(on(folder))? {
            let path = entry.map_err(on(folder))?.path();
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(BundleError::TooMany { path: self.root.to_owned() });
            }
            let Some(part) = path.file_name().and_then(|part| part.to_str()) else {
                return Err(BundleError::Name { path });
            };
            let name = format!("{name}/{part}");
            if name.len() > MAX_PATH {
                return Err(BundleError::TooLong { path });
            }
            let target = fs::canonicalize(&path).map_err(on(&path))?;
            if !target.starts_with(self.root) {
                return Err(BundleError::Outside { path, target });
            }
            let data = fs::metadata(&target).map_err(on(&path))?;
            if data.is_dir() {
                // By its own path: one by way of many links takes long to resolve.
                self.folder(&target, &name, depth + 1)?;
            } else if data.is_file() {
                self.file(name, &target, data.len())?;
            } else {
                return Err(BundleError::Special { path });
            }
        }
        Ok(())
    }

    fn file(&mut self, path: String, target: &Path, size: u64) -> Result<(), BundleError> {
        let too_large = || BundleError::TooLarge { path: self.root.to_owned(), limit: self.limit };
        self.left = self.left.checked_sub(size).ok_or_else(too_large)?;
        let contents = fs::read(target).map_err(on(target))?;
        self.files.push(BundleFile { path, contents });
        Ok(())
    }
}

/// Turns an error of the system into one that names the path.
fn on(path: &Path) -> impl FnOnce(io::Error) -> BundleError {
    let path = path.to_owned();
    move |source| BundleError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn bundle() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("model.wasm"), b"component").unwrap();
        fs::create_dir_all(folder.path().join("model/b")).unwrap();
        fs::write(folder.path().join("model/b/x.json"), b"x").unwrap();
        fs::write(folder.path().join("model/a.json"), b"a").unwrap();
        fs::write(folder.path().join("secret"), b"no file of the model").unwrap();
        folder
    }

    #[test]
    fn a_folder_gives_its_component_and_its_model_directory() {
        let folder = bundle();
        let read = Bundle::read(folder.path(), None, 100).unwrap();
        assert_eq!(read.code, Code::Component(b"component".to_vec()));
        let paths: Vec<_> = read.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["model/a.json", "model/b/x.json"]);
    }

    #[test]
    fn a_component_alone_has_the_model_directory_that_is_named() {
        let folder = bundle();
        let module = folder.path().join("model.wasm");
        assert!(Bundle::read(&module, None, 100).unwrap().files.is_empty());
        let read = Bundle::read(&module, Some(&folder.path().join("model/b")), 100).unwrap();
        assert_eq!(read.files, [BundleFile { path: "model/x.json".to_owned(), contents: b"x".to_vec() }]);
    }

    #[test]
    fn links_lead_nowhere_outside() {
        let folder = bundle();
        symlink("a.json", folder.path().join("model/link.json")).unwrap();
        assert_eq!(Bundle::read(folder.path(), None, 100).unwrap().files[2].contents, b"a");
        symlink("../secret", folder.path().join("model/out")).unwrap();
        let error = Bundle::read(folder.path(), None, 100).unwrap_err().to_string();
        assert!(error.contains("model/out is a link to") && error.contains("secret"), "{error}");
    }

    #[test]
    fn a_model_directory_that_nobody_names_is_in_the_folder() {
        let (folder, other) = (bundle(), bundle());
        let model = folder.path().join("model");
        fs::rename(&model, folder.path().join("other")).unwrap();
        symlink("other", &model).unwrap();
        assert_eq!(Bundle::read(folder.path(), None, 100).unwrap().files.len(), 2);
        fs::remove_file(&model).unwrap();
        symlink(other.path().join("model"), &model).unwrap();
        let error = Bundle::read(folder.path(), None, 100).unwrap_err();
        assert!(matches!(error, BundleError::ModelOutside { .. }), "{error}");
        assert_eq!(Bundle::read(folder.path(), Some(&model), 100).unwrap().files.len(), 2);
    }

    #[test]
    fn a_circle_of_links_ends() {
        let folder = bundle();
        symlink(".", folder.path().join("model/circle")).unwrap();
        let error = Bundle::read(folder.path(), None, 1_000_000).unwrap_err().to_string();
        assert!(
            error.starts_with("model/circle/circle/") && error.ends_with("is more than 64 folders deep"),
            "{error}"
        );
    }

    #[test]
    fn links_make_no_path_long() {
        let folder = bundle();
        for number in 0..5 {
            let inside = folder.path().join(format!("model/{number}"));
            fs::create_dir(&inside).unwrap();
            symlink(format!("../{}", (number + 1) % 5), inside.join("x".repeat(250))).unwrap();
        }
        let error = Bundle::read(folder.path(), None, 1_000_000).unwrap_err();
        assert!(matches!(error, BundleError::TooLong { .. }), "{error}");
    }

    #[test]
    fn what_is_missing_or_too_large_is_said() {
        let folder = bundle();
        assert!(matches!(Bundle::read(folder.path(), None, 1), Err(BundleError::TooLarge { .. })));
        fs::remove_file(folder.path().join("model.wasm")).unwrap();
        let error = Bundle::read(folder.path(), None, 100).unwrap_err().to_string();
        assert!(error.contains("has no model.wasm; build it with `scorebox build"), "{error}");
    }
}
