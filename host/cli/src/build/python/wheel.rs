//! Wheels: what a package is installed from.

use std::io::Cursor;
use std::path::Path;

use pep440_rs::Version;
use scorebox_sandbox::BundleFile;
use sha2::{Digest as _, Sha256};

use crate::python::{Requirement, Unpacking, normalized};

/// Bytes that a wheel may unpack to: what an instance may have when nobody says otherwise. All of it is held in memory.
const MAX_BYTES: u64 = 1 << 30;
/// Endings of machine code for some system.
const NATIVE: [&str; 4] = ["so", "pyd", "dylib", "dll"];

/// The name of a wheel's file, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WheelName {
    /// The package, normalised.
    pub(super) key: String,
    pub(super) version: Version,
    /// Whether it runs on every system with Python 3.
    pub(super) is_pure: bool,
    /// Whether it has machine code.
    pub(super) is_native: bool,
}

impl WheelName {
    /// Takes a name apart: `name-version-python-abi-platform.whl`, with perhaps the number of a build in between.
    pub(super) fn parse(file: &str) -> Option<Self> {
        let parts: Vec<_> = file.strip_suffix(".whl")?.split('-').collect();
        let [name, version, .., python, abi, platform] = parts.as_slice() else { return None };
        let any = *platform == "any" && *abi == "none";
        Some(Self {
            key: normalized(name),
            version: version.parse().ok()?,
            is_pure: any && python.split('.').any(|python| python.starts_with("py3")),
            is_native: *platform != "any",
        })
    }
}

/// A wheel that was read.
#[derive(Clone, Debug)]
pub(super) struct Wheel {
    /// The package's name as it writes it.
    pub(super) name: String,
    pub(super) version: Version,
    /// Name of the file.
    pub(super) file: String,
    /// In hexadecimal.
    pub(super) sha256: String,
    /// What it needs, with the conditions.
    pub(super) requires: Vec<Requirement>,
    /// What is installed: paths in `site/`.
    pub(super) files: Vec<BundleFile>,
    /// Files among those that are machine code.
    pub(super) native: Vec<String>,
    /// The URL or path that it was asked for by.
    pub(super) place: Option<String>,
}

impl Wheel {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Self::unpack(&file, &bytes).map_err(|reason| format!("cannot install {file}: {reason}"))
    }

    pub(super) fn unpack(file: &str, bytes: &[u8]) -> Result<Self, String> {
        let mut unpacking = Unpacking::new(Cursor::new(bytes), MAX_BYTES).map_err(|error| error.to_string())?;
        let mut metadata = None;
        let mut files = Vec::new();
        let mut native = Vec::new();
        while let Some(entry) = unpacking.next().map_err(|error| error.to_string())? {
            let (top, rest) = entry.path.split_once('/').unwrap_or(("", &entry.path));
            if top.strip_suffix(".dist-info").is_some() && rest == "METADATA" {
                metadata = Some(String::from_utf8_lossy(&entry.contents).into_owned());
            }
            let Some(path) = installed_path(&entry.path) else { continue };
            if Path::new(path).extension().and_then(|ending| ending.to_str()).is_some_and(|e| NATIVE.contains(&e)) {
                native.push(path.to_owned());
            }
            files.push(BundleFile { path: format!("site/{path}"), contents: entry.contents });
        }
        let metadata = metadata.ok_or("it has no METADATA")?;
        let mut name = None;
        let mut version = None;
        let mut requires = Vec::new();
        for (key, value) in headers(&metadata) {
            match key.to_ascii_lowercase().as_str() {
                "name" => name = Some(value),
                "version" => version = value.parse().ok(),
                "requires-dist" => {
                    requires.push(value.parse().map_err(|reason| format!("it requires `{value}`: {reason}"))?);
                }
                _ => {}
            }
        }
        Ok(Self {
            name: name.ok_or("its METADATA has no name")?.to_owned(),
            version: version.ok_or("its METADATA has no version")?,
            file: file.to_owned(),
            sha256: sha256(bytes),
            requires,
            files,
            native,
            place: None,
        })
    }
}

/// The digest in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The digest of files with their names, in hexadecimal.
pub(super) fn sha256_of_all<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut digest = Sha256::new();
    for part in files.flat_map(|(name, text)| [name, text]) {
        // With their lengths: what belongs to which part is digested too.
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    hex(&digest.finalize())
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Where a file of a wheel is put; none for what is not put anywhere: programs, C headers, files for other folders of a
/// system, and what was compiled by another Python.
fn installed_path(path: &str) -> Option<&str> {
    let path = match path.split_once('/') {
        Some((top, rest)) if top.strip_suffix(".data").is_some() => {
            rest.strip_prefix("purelib/").or_else(|| rest.strip_prefix("platlib/"))?
        }
        _ => path,
    };
    let is_compiled = path.split('/').any(|part| part == "__pycache__")
        || Path::new(path).extension().is_some_and(|ending| ending == "pyc");
    (!is_compiled).then_some(path)
}

/// The headers of METADATA, without the description after them and without lines that go on from others.
fn headers(metadata: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = metadata.trim_start_matches('\u{feff}').lines().take_while(|line| !line.is_empty());
    lines
        .filter(|line| !line.starts_with(char::is_whitespace))
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key, value.trim()))
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    /// The bytes of a wheel with these files.
    pub(in crate::build::python) fn wheel(files: &[(&str, &str)]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (path, text) in files {
            writer.start_file(*path, SimpleFileOptions::default()).unwrap();
            writer.write_all(text.as_bytes()).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn names_say_what_a_wheel_runs_on() {
        let parsed = |name: &str| WheelName::parse(name).map(|name| (name.key, name.is_pure, name.is_native));
        for (name, pure, native) in [
            ("Foo_Bar-1.0-py3-none-any.whl", true, false),
            ("foo_bar-1.0-py2.py3-none-any.whl", true, false),
            ("foo_bar-1.0-1-py38-none-any.whl", true, false),
            ("foo_bar-1.0-py2-none-any.whl", false, false),
            ("foo_bar-1.0-cp315-cp315-manylinux2014_x86_64.whl", false, true),
            ("foo_bar-1.0-py3-none-win_amd64.whl", false, true),
        ] {
            assert_eq!(parsed(name), Some(("foo-bar".to_owned(), pure, native)), "{name}");
        }
        assert_eq!(parsed("foo-1.0.tar.gz"), None);
        assert_eq!(parsed("foo-1.0.whl"), None);
        assert_eq!(parsed("foo-x-py3-none-any.whl"), None);
    }

    #[test]
    fn a_wheel_is_installed_without_what_is_of_no_use() {
        let metadata = "Metadata-Version: 2.1\nName: Foo\nVersion: 1.0\nRequires-Dist: numpy>=1\n\
                        Requires-Dist: pytest; extra == 'test'\nDescription: x\n  Name: no\n\nVersion: 2.0\n";
        let bytes = wheel(&[
            ("foo/__init__.py", "x"),
            ("foo/__pycache__/x.pyc", ""),
            ("foo/lib.so", ""),
            ("foo-1.0.data/purelib/other.py", ""),
            ("foo-1.0.data/scripts/foo", ""),
            ("foo-1.0.dist-info/METADATA", metadata),
            ("foo-1.0.dist-info/RECORD", ""),
        ]);
        let wheel = Wheel::unpack("foo-1.0-py3-none-any.whl", &bytes).unwrap();
        let paths: Vec<_> = wheel.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "site/foo/__init__.py",
                "site/foo/lib.so",
                "site/other.py",
                "site/foo-1.0.dist-info/METADATA",
                "site/foo-1.0.dist-info/RECORD"
            ]
        );
        assert_eq!(wheel.native, ["foo/lib.so"]);
        assert_eq!((wheel.name.as_str(), wheel.version.to_string().as_str()), ("Foo", "1.0"));
        assert_eq!(wheel.requires.len(), 2);
    }

    #[test]
    fn what_is_no_wheel_is_refused() {
        let reason = |files| Wheel::unpack("x.whl", &wheel(files)).unwrap_err();
        assert!(reason(&[("x.py", "")]).contains("no METADATA"));
        assert!(reason(&[("x.dist-info/METADATA", "Version: 1\n")]).contains("no name"));
        assert!(reason(&[("x.dist-info/METADATA", "Name: x\nVersion: 1\nRequires-Dist: a 1\n")]).contains("`a 1`"));
        assert!(reason(&[("../x.py", "")]).contains("../x.py"));
        assert!(Wheel::unpack("x.whl", b"nothing").is_err());
    }

    #[test]
    fn digests_are_written_in_hexadecimal() {
        assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let all = |files: &[(&'static str, &'static str)]| sha256_of_all(files.iter().copied());
        assert_ne!(all(&[("a", "bc")]), all(&[("ab", "c")]));
    }
}
