//! Archives that a fuzzer can write: a ZIP file as it is, or a list of entries of which one is made.

use std::io::{Cursor, Write as _};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::parts;

/// An entry that was asked for.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) contents: Vec<u8>,
}

/// The archive of an input. One that begins like a ZIP file is one. Others are pairs of parts, the name of an entry and its
/// contents; a name that begins with `!` is stored, and not packed. The entries are none when nobody asked for any.
pub(crate) fn archive(data: &[u8]) -> Option<(Vec<u8>, Vec<Entry>)> {
    if data.starts_with(b"PK") {
        return Some((data.to_vec(), Vec::new()));
    }
    let mut entries = Vec::new();
    let mut parts = parts(data);
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    while let (Some(name), Some(contents)) = (parts.next(), parts.next()) {
        let name = std::str::from_utf8(name).ok()?;
        let (name, method) = match name.strip_prefix('!') {
            Some(name) => (name, CompressionMethod::Stored),
            None => (name, CompressionMethod::Deflated),
        };
        writer.start_file(name, SimpleFileOptions::default().compression_method(method)).ok()?;
        writer.write_all(contents).ok()?;
        entries.push(Entry { name: name.to_owned(), contents: contents.to_vec() });
    }
    Some((writer.finish().ok()?.into_inner(), entries))
}

/// Whether a path is plainly one of a file below some folder.
pub(crate) fn is_below(path: &str) -> bool {
    !path.starts_with('/')
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !path.contains(|char: char| char == '\\' || char.is_control())
}

/// Checks that nothing that was unpacked leads elsewhere, is there twice, or lies within a file.
pub(crate) fn assert_safe(files: &[(String, Vec<u8>)], tops: &[&str]) {
    for (index, (path, _)) in files.iter().enumerate() {
        assert!(is_below(path), "{path:?} leads elsewhere");
        assert!(tops.iter().any(|top| path.starts_with(top)), "{path:?} is in no folder of an app");
        for (other, _) in &files[..index] {
            assert!(other != path, "{path:?} is there twice");
            let within = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
            assert!(!within(other, path) && !within(path, other), "{path:?} and {other:?} are one within the other");
        }
    }
}
