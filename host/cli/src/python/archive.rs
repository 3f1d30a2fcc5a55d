//! Archives: an app in Python with its packages, which `scorebox build` makes, or a component with its model, which `scorebox
//! deploy` makes. `scorebox serve` reads both.
//!
//! An archive is a ZIP file with `manifest.json` first, then the files in order of their paths. The same files make the same
//! archive, byte for byte. Whoever serves an archive may have it from somewhere else, so reading one takes nothing for
//! granted: names, numbers and sizes are checked, and what is unpacked is counted while it is unpacked.

mod directory;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, Write as _};
use std::path::Path;

use scorebox_sandbox::{BundleFile, MODEL_DIR, MODULE_FILE};
use serde::{Deserialize, Serialize};
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use self::directory::MAX_DIRECTORY;
use super::app::{App, AppError, MAX_ENTRIES, on};
use super::{GUEST_APP, GUEST_MODEL};

/// How the name of an archive ends.
pub(crate) const ARCHIVE_EXTENSION: &str = "scorebox";
/// The form of archives that is written and read.
const FORMAT: u32 = 1;
/// What is in them: an app in Python.
const KIND: &str = "python";
/// A component, with the files of its model directory.
const KIND_COMPONENT: &str = "component";
/// Name of the entry that says what the others are.
const MANIFEST: &str = "manifest.json";
/// Bytes that the manifest may have.
const MAX_MANIFEST: u64 = 1 << 20;
/// Bytes that a path may have.
pub(super) const MAX_PATH: usize = 1024;
/// Parts that a path may have.
const MAX_PARTS: usize = 80;
/// What paths begin with.
const PREFIXES: [&str; 3] = ["app", "model", "site"];
/// Rights that the entries have: readable to all.
const MODE: u32 = 0o644;

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Bad {
    /// It is no ZIP file, or a damaged one.
    #[error("it is not an archive that `scorebox build` made, or it is damaged ({0}); build it again")]
    Zip(String),
    /// It has no manifest.
    #[error("it has no {MANIFEST}; build it with `scorebox build`")]
    NoManifest,
    /// The manifest is not understood.
    #[error("its {MANIFEST} cannot be understood ({0}); build it again")]
    Manifest(String),
    /// Another program is needed for it.
    #[error("it is of format {0}, and this version reads format {FORMAT}; use the version of scorebox that built it")]
    Format(u32),
    /// It is neither of the kinds that there are.
    #[error("it is of kind {0:?}, which this version cannot serve")]
    Kind(String),
    /// The script is not there.
    #[error("it has no {0}, which it says is its script; build it again")]
    NoScript(String),
    /// There is nothing to run.
    #[error("it has no {MODULE_FILE}; make it again")]
    NoComponent,
    /// A name that could lead elsewhere.
    #[error("the name of its entry {0:?} is not one that `scorebox build` gives; build it again")]
    Name(String),
    /// An entry that is no file.
    #[error("its entry {0:?} is a link or encrypted; build it again")]
    NoFile(String),
    /// Two entries for one path.
    #[error("it has two entries for the same path, or one within another; build it again")]
    Twice,
    /// Too many files.
    #[error("it has more than {MAX_ENTRIES} entries; take out what the script does not need")]
    Many,
    /// Too much is said of them.
    #[error(
        "its directory has more than {MAX_DIRECTORY} bytes; take out what the script does not need, or shorten names"
    )]
    Directory,
    /// Too many bytes.
    #[error(
        "its files have more than the {0} bytes of the memory limit; take out what the script does not need, or raise the limit"
    )]
    Large(u64),
}

/// An installed package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// SHA-256 of the wheel that it was installed from, in hexadecimal.
    pub(crate) sha256: String,
}

/// What the archive says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    kind: String,
    entry_script: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_dir: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model_dir: Option<String>,
    /// SHA-256 of the requirement files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requirements: Option<String>,
    #[serde(default)]
    packages: Vec<Package>,
}

/// The part of the manifest that later formats will have as well.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    kind: String,
}

/// What an archive holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Archived {
    /// An app in Python.
    App(App),
    /// A component.
    Component {
        /// Its bytes.
        component: Vec<u8>,
        /// The files of its model directory, in order of their paths.
        files: Vec<BundleFile>,
    },
}

impl App {
    /// The archive of the app. `requirements` is the digest of the requirement files that its packages were chosen by.
    pub(crate) fn archive(&self, requirements: Option<&str>) -> io::Result<Vec<u8>> {
        let manifest = Manifest {
            format: FORMAT,
            kind: KIND.to_owned(),
            entry_script: self.entry_script.clone().unwrap_or_default(),
            source_dir: self.source_dir.clone(),
            model_dir: self.model_dir.clone(),
            requirements: requirements.map(str::to_owned),
            packages: self.packages.clone(),
        };
        pack(&manifest, self.files.iter().map(|file| (file.path.as_str(), file.contents.as_slice())))
    }
}

/// The archive of a component with the files of its model directory.
pub(crate) fn archive_component(component: &[u8], files: &[BundleFile]) -> io::Result<Vec<u8>> {
    let header = Header { format: FORMAT, kind: KIND_COMPONENT.to_owned() };
    let files = files.iter().map(|file| (file.path.as_str(), file.contents.as_slice()));
    pack(&header, std::iter::once((MODULE_FILE, component)).chain(files))
}

fn pack<'a>(manifest: &impl Serialize, files: impl Iterator<Item = (&'a str, &'a [u8])>) -> io::Result<Vec<u8>> {
    let mut json = serde_json::to_vec_pretty(manifest)?;
    json.push(b'\n');
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::DEFAULT)
        .unix_permissions(MODE);
    let mut add = |path: &str, contents: &[u8]| {
        writer.start_file(path, options).map_err(io::Error::other)?;
        writer.write_all(contents)
    };
    add(MANIFEST, &json)?;
    for (path, contents) in files {
        add(path, contents)?;
    }
    Ok(writer.finish().map_err(io::Error::other)?.into_inner())
}

impl Archived {
    /// Reads an archive. Its files may have `limit` bytes once they are unpacked.
    pub(crate) fn read(path: &Path, limit: u64) -> Result<Self, AppError> {
        let file = File::open(path).map_err(on(path))?;
        Self::unpack(io::BufReader::new(file), limit)
            .map_err(|reason| AppError::Archive { path: path.to_owned(), reason })
    }

    /// Unpacks an archive.
    pub(crate) fn unpack(archive: impl Read + Seek, limit: u64) -> Result<Self, Bad> {
        let mut unpacking = Unpacking::new(archive, limit)?;
        let mut manifest = None;
        let mut component = None;
        let mut files = BTreeMap::new();
        while let Some(entry) = unpacking.next()? {
            if entry.path == MANIFEST {
                manifest = Some(entry.contents);
            } else if entry.path == MODULE_FILE {
                component = Some(entry.contents);
            } else if PREFIXES.iter().any(|prefix| entry.path.split_once('/').is_some_and(|(top, _)| top == *prefix)) {
                files.insert(entry.path, entry.contents);
            } else {
                return Err(Bad::Name(entry.path));
            }
        }
        let manifest = manifest.ok_or(Bad::NoManifest)?;
        let is_component = read_header(&manifest)?.kind == KIND_COMPONENT;
        let is_models = |path: &String| path.strip_prefix(MODEL_DIR).is_some_and(|rest| rest.starts_with('/'));
        let strange = if is_component { files.keys().find(|path| !is_models(path)).cloned() } else { None };
        let strange = strange.or_else(|| component.as_ref().filter(|_| !is_component).map(|_| MODULE_FILE.to_owned()));
        if let Some(path) = strange {
            return Err(Bad::Name(path));
        }
        let bundle_files = |files: BTreeMap<String, Vec<u8>>| {
            files.into_iter().map(|(path, contents)| BundleFile { path, contents }).collect()
        };
        if is_component {
            return Ok(Self::Component { component: component.ok_or(Bad::NoComponent)?, files: bundle_files(files) });
        }
        let manifest = read_manifest(&manifest)?;
        if !files.contains_key(&format!("app/{}", manifest.entry_script)) {
            return Err(Bad::NoScript(manifest.entry_script));
        }
        Ok(Self::App(App {
            entry_script: Some(manifest.entry_script),
            source_dir: manifest.source_dir,
            model_dir: manifest.model_dir,
            files: bundle_files(files),
            packages: manifest.packages,
        }))
    }
}

/// The part of a manifest that all have.
fn read_header(json: &[u8]) -> Result<Header, Bad> {
    if json.len() as u64 > MAX_MANIFEST {
        return Err(Bad::Manifest("it is too large".to_owned()));
    }
    let header: Header = serde_json::from_slice(json).map_err(|error| Bad::Manifest(error.to_string()))?;
    if header.format != FORMAT {
        return Err(Bad::Format(header.format));
    }
    if header.kind != KIND && header.kind != KIND_COMPONENT {
        return Err(Bad::Kind(header.kind));
    }
    Ok(header)
}

fn read_manifest(json: &[u8]) -> Result<Manifest, Bad> {
    let manifest: Manifest = serde_json::from_slice(json).map_err(|error| Bad::Manifest(error.to_string()))?;
    if let Some(source) = &manifest.source_dir
        && !source.is_empty()
    {
        check_path(source)?;
    }
    if let Some(folder) = &manifest.model_dir {
        let inside = folder.strip_prefix(GUEST_APP).map(|inside| inside.strip_prefix('/').unwrap_or(inside));
        match inside {
            _ if folder == GUEST_MODEL => {}
            Some("") => {}
            Some(inside) if folder.starts_with(&format!("{GUEST_APP}/")) => check_path(inside)?,
            _ => return Err(Bad::Manifest(format!("{folder:?} is no model directory"))),
        }
    }
    Ok(manifest)
}

/// A file that was unpacked.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// Its path, checked.
    pub(crate) path: String,
    /// The whole content.
    pub(crate) contents: Vec<u8>,
}

/// Unpacks a ZIP file that nobody vouches for. Folders are passed over.
#[derive(Debug)]
pub(crate) struct Unpacking<R: Read + Seek> {
    archive: ZipArchive<R>,
    next: usize,
    limit: u64,
    left: u64,
}

impl<R: Read + Seek> Unpacking<R> {
    /// Looks at the entries, and unpacks none yet. All of them together may have `limit` bytes.
    pub(crate) fn new(mut reader: R, limit: u64) -> Result<Self, Bad> {
        directory::check(&mut reader)?;
        let mut archive = ZipArchive::new(reader).map_err(bad)?;
        // Entries that share their bytes are how a small file unpacks to a very large one.
        if archive.has_duplicate_names() || archive.has_overlapping_files().map_err(bad)? {
            return Err(Bad::Twice);
        }
        let mut names = Vec::with_capacity(archive.len());
        for index in 0..archive.len() {
            let entry = archive.by_index_data(index).map_err(bad)?;
            let name = std::str::from_utf8(entry.name_raw())
                .map_err(|_| Bad::Name(String::from_utf8_lossy(entry.name_raw()).into_owned()))?;
            let path = name.strip_suffix('/').unwrap_or(name);
            check_path(path)?;
            let is_kind = |kind: u32| {
                entry.unix_mode().is_none_or(|mode| matches!(mode & 0o170_000, found if found == 0 || found == kind))
            };
            let is_folder = path.len() < name.len();
            if entry.encrypted() || !is_kind(if is_folder { 0o040_000 } else { 0o100_000 }) {
                return Err(Bad::NoFile(name.to_owned()));
            }
            names.push((path.to_owned(), is_folder));
        }
        names.sort_unstable();
        // In this order what lies in a folder need not follow it directly: `a`, `a-b`, `a/b`.
        let files: std::collections::BTreeSet<_> =
            names.iter().filter(|(_, is_folder)| !is_folder).map(|(path, _)| path.as_str()).collect();
        let in_a_file = |path: &str| path.match_indices('/').any(|(at, _)| files.contains(&path[..at]));
        if names.windows(2).any(|pair| pair[0].0 == pair[1].0) || names.iter().any(|(path, _)| in_a_file(path)) {
            return Err(Bad::Twice);
        }
        Ok(Self { archive, next: 0, limit, left: limit })
    }

    /// Unpacks the next file.
    pub(crate) fn next(&mut self) -> Result<Option<Unpacked>, Bad> {
        while self.next < self.archive.len() {
            let mut entry = self.archive.by_index(self.next).map_err(bad)?;
            self.next += 1;
            let path = String::from_utf8_lossy(entry.name_raw()).into_owned();
            if path.ends_with('/') {
                continue;
            }
            // What the archive says of the size may be wrong: it only tells how much room to take at first.
            let size = entry.size().min(self.left).min(1 << 20) as usize;
            let mut contents = Vec::with_capacity(size);
            let read = (&mut entry).take(self.left.saturating_add(1)).read_to_end(&mut contents);
            read.map_err(|error| Bad::Zip(error.to_string()))?;
            self.left = self.left.checked_sub(contents.len() as u64).ok_or(Bad::Large(self.limit))?;
            return Ok(Some(Unpacked { path, contents }));
        }
        Ok(None)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn bad(error: ZipError) -> Bad {
    Bad::Zip(error.to_string())
}

/// Refuses a path that is not plainly one of a file below some folder.
fn check_path(path: &str) -> Result<(), Bad> {
    let parts_are_plain = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    let has_strange = path.chars().any(|c| c == '\\' || c.is_control());
    if path.len() > MAX_PATH || path.split('/').count() > MAX_PARTS || !parts_are_plain || has_strange {
        return Err(Bad::Name(path.chars().take(MAX_PATH).collect()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLENTY: u64 = 1 << 20;

    fn app(files: &[(&str, &[u8])]) -> App {
        App {
            entry_script: Some("score.py".to_owned()),
            source_dir: None,
            model_dir: Some(GUEST_MODEL.to_owned()),
            files: files
                .iter()
                .map(|(path, contents)| BundleFile { path: (*path).to_owned(), contents: contents.to_vec() })
                .collect(),
            packages: vec![Package { name: "a".to_owned(), version: "1".to_owned(), sha256: "00".to_owned() }],
        }
    }

    fn good() -> App {
        app(&[("app/a-b", b"1"), ("app/a/b", b"2"), ("app/score.py", b"def run(x): return x\n"), ("site/x.py", b"")])
    }

    fn unpack(bytes: &[u8]) -> Result<App, Bad> {
        match Archived::unpack(Cursor::new(bytes), PLENTY)? {
            Archived::App(app) => Ok(app),
            component @ Archived::Component { .. } => panic!("{component:?}"),
        }
    }

    /// An archive with these entries after a good manifest and a good script.
    fn with(entries: &[(&str, &[u8])], change: impl Fn(&mut ZipWriter<Cursor<Vec<u8>>>)) -> Vec<u8> {
        let manifest = br#"{"format": 1, "kind": "python", "entry_script": "score.py"}"#;
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let first: [(&str, &[u8]); 2] = [(MANIFEST, manifest), ("app/score.py", b"")];
        for (path, contents) in first.iter().chain(entries) {
            writer.start_file(*path, SimpleFileOptions::default()).unwrap();
            writer.write_all(contents).unwrap();
        }
        change(&mut writer);
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn what_is_written_is_read_and_is_the_same_each_time() {
        let bytes = good().archive(Some("ff")).unwrap();
        assert_eq!(unpack(&bytes).unwrap(), good());
        assert_eq!(bytes, good().archive(Some("ff")).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.scorebox");
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Archived::read(&path, PLENTY).unwrap(), Archived::App(good()));
        assert!(matches!(Archived::read(&folder.path().join("y"), PLENTY), Err(AppError::Io { .. })));
        let error = Archived::read(&path, 10).unwrap_err().to_string();
        assert!(
            error.contains("x.scorebox is no app that can be served: its files have more than the 10 bytes"),
            "{error}"
        );
    }

    #[test]
    fn a_component_is_archived_with_its_model_and_with_nothing_else() {
        let file = |path: &str| BundleFile { path: path.to_owned(), contents: b"1".to_vec() };
        let bytes = archive_component(b"\0asm", &[file("model/a"), file("model/b/c")]).unwrap();
        let read = Archived::unpack(Cursor::new(&bytes), PLENTY).unwrap();
        let files = vec![file("model/a"), file("model/b/c")];
        assert_eq!(read, Archived::Component { component: b"\0asm".to_vec(), files });
        let app = archive_component(b"\0asm", &[file("app/a")]).unwrap();
        assert!(matches!(Archived::unpack(Cursor::new(&app), PLENTY), Err(Bad::Name(name)) if name == "app/a"));
        let with_component = with(&[(MODULE_FILE, b"\0asm")], |_| {});
        assert!(matches!(unpack(&with_component), Err(Bad::Name(name)) if name == MODULE_FILE));
    }

    #[test]
    fn a_zip_of_the_same_with_folders_will_do() {
        let bytes = with(&[], |writer| writer.add_directory("app/data", SimpleFileOptions::default()).unwrap());
        assert_eq!(unpack(&bytes).unwrap().files.len(), 1);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let long = format!("app/{}", "x".repeat(MAX_PATH));
        let deep = format!("app{}", "/x".repeat(MAX_PARTS));
        for name in [
            "../x",
            "app/../x",
            "app/./x",
            "/app/x",
            "app//x",
            "app\\x",
            "app/x\0y",
            "app/x\ny",
            "x",
            "other/x",
            "site",
            "C:/x",
            long.as_str(),
            deep.as_str(),
        ] {
            let result = unpack(&with(&[(name, b"x")], |_| {}));
            assert!(matches!(result, Err(Bad::Name(_))), "{name}: {result:?}");
        }
    }

    #[test]
    fn two_entries_for_one_path_are_refused() {
        let twice = with(&[("app/same1", b"1"), ("app/same2", b"2")], |_| {});
        // The writer refuses to write it, so it is made from another one.
        let twice = replace(&twice, b"same2", b"same1");
        assert!(matches!(unpack(&twice), Err(Bad::Twice)), "{:?}", unpack(&twice));
        for other in ["app/score.py/x", "manifest.json/x"] {
            assert!(
                matches!(unpack(&with(&[("app/score.py-x", b""), (other, b"")], |_| {})), Err(Bad::Twice)),
                "{other}"
            );
        }
        let folder = with(&[], |writer| writer.add_directory("app/score.py", SimpleFileOptions::default()).unwrap());
        assert!(matches!(unpack(&folder), Err(Bad::Twice)));
    }

    fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        let mut result = bytes.to_vec();
        for at in 0..=result.len() - from.len() {
            if result[at..].starts_with(from) {
                result[at..at + to.len()].copy_from_slice(to);
            }
        }
        result
    }

    #[test]
    fn links_are_refused() {
        let bytes = with(&[], |writer| {
            writer.add_symlink("app/link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
        });
        assert!(matches!(unpack(&bytes), Err(Bad::NoFile(name)) if name == "app/link"));
    }

    #[test]
    fn what_unpacks_to_too_much_is_stopped() {
        let large = vec![0; 64 << 20];
        let bytes = with(&[("app/large", &large)], |_| {});
        assert!(bytes.len() < 1 << 20);
        assert!(matches!(unpack(&bytes), Err(Bad::Large(PLENTY))));
        let shared = with(&[("app/a", &[1; 1000])], |writer| writer.shallow_copy_file("app/a", "app/b").unwrap());
        assert!(matches!(unpack(&shared), Err(Bad::Twice)), "{:?}", unpack(&shared));
    }

    #[test]
    fn a_size_that_is_not_true_gains_nothing() {
        let bytes = with(&[("app/x", b"0123456789")], |_| {});
        // The size before compression is 10 in the local header and in the central directory.
        for size in [0_u32, u32::MAX - 1] {
            let lied: Vec<u8> = replace(&bytes, &10_u32.to_le_bytes(), &size.to_le_bytes());
            if let Ok(app) = unpack(&lied) {
                assert!(app.bytes() <= 10);
            }
        }
    }

    #[test]
    fn a_manifest_that_says_something_else_is_refused() {
        let with_manifest = |json: &str| {
            let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
            for (path, contents) in [(MANIFEST, json), ("app/score.py", "")] {
                writer.start_file(path, SimpleFileOptions::default()).unwrap();
                writer.write_all(contents.as_bytes()).unwrap();
            }
            unpack(&writer.finish().unwrap().into_inner()).unwrap_err().to_string()
        };
        for (json, text) in [
            ("{}", "cannot be understood"),
            (r#"{"format": 2, "kind": "python", "entry": 1}"#, "it is of format 2, and this version reads format 1"),
            (r#"{"format": 1, "kind": "r"}"#, "of kind \"r\""),
            (r#"{"format": 1, "kind": "python", "entry_script": "main.py"}"#, "it has no main.py"),
            (
                r#"{"format": 1, "kind": "python", "entry_script": "score.py", "model_dir": "/etc"}"#,
                "no model directory",
            ),
            (
                r#"{"format": 1, "kind": "python", "entry_script": "score.py", "model_dir": "/var/azureml-app/../x"}"#,
                "../x",
            ),
            (r#"{"format": 1, "kind": "python", "entry_script": "score.py", "source_dir": "/x"}"#, "/x"),
        ] {
            let error = with_manifest(json);
            assert!(error.contains(text), "{json}: {error}");
        }
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer.start_file("app/score.py", SimpleFileOptions::default()).unwrap();
        assert!(matches!(unpack(&writer.finish().unwrap().into_inner()), Err(Bad::NoManifest)));
        assert!(matches!(unpack(b"no archive"), Err(Bad::Zip(_))));
    }

    proptest! {
        #[test]
        fn any_app_is_read_as_it_was_written(files in proptest::collection::btree_map("(app|model|site)/[a-z]{1,3}\\.x(/[a-zé ]{1,4}\\.y)?", proptest::collection::vec(any::<u8>(), 0..200), 0..8)) {
            let mut files: Vec<_> = files.iter().map(|(path, contents)| (path.as_str(), contents.as_slice())).collect();
            files.push(("app/score.py", b""));
            files.sort_unstable();
            let app = app(&files);
            match unpack(&app.archive(None).unwrap()) {
                Ok(read) => prop_assert_eq!(read, app),
                // A file of one name and a folder of the same cannot both be.
                Err(error) => prop_assert!(matches!(error, Bad::Twice)),
            }
        }

        #[test]
        fn no_damage_is_too_strange(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut bytes = good().archive(None).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let whole = unpack(&bytes);
            let check = |read: &Result<App, Bad>| match read {
                Ok(app) => app.bytes() <= PLENTY && app.files.iter().all(|file| check_path(&file.path).is_ok()),
                Err(_) => true,
            };
            prop_assert!(check(&whole));
            prop_assert!(check(&unpack(&bytes[..cut.index(bytes.len())])));
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert!(unpack(&bytes).is_err());
        }
    }
}
