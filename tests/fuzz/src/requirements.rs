//! Requirement files, pip's and conda's, and single requirements.

use std::fs;

use scorebox::fuzz::{requirement, requirement_file};

use crate::folder;

/// A requirement file; conda's when it begins with `name:`, `channels:` or `dependencies:`.
pub fn check(data: &[u8]) {
    thread_local! {
        static FOLDER: tempfile::TempDir = folder();
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    for line in text.lines() {
        if let Ok(written) = requirement(line) {
            assert_eq!(requirement(&written).as_ref(), Ok(&written), "{line:?}");
        }
    }
    // Files beside it are the fuzzer's own, those elsewhere are the machine's.
    let names_others = ["-r", "-c", "req", "con"].iter().any(|option| text.contains(option)) && text.contains('/');
    if names_others {
        return;
    }
    let is_conda = ["name:", "channels:", "dependencies:"].iter().any(|key| text.starts_with(key));
    FOLDER.with(|folder| {
        let path = folder.path().join(if is_conda { "conda.yml" } else { "requirements.txt" });
        fs::write(&path, text).expect("it can be written");
        let Ok([wanted, constraints, options]) = requirement_file(&path) else { return };
        for written in wanted.iter().chain(&constraints) {
            // A path may have spaces, a requirement's place has none.
            let (name, place) =
                written.split_once(" @ ").map_or((&**written, None), |(name, place)| (name, Some(place)));
            assert_eq!(requirement(name).as_deref(), Ok(name), "it is read as it is written");
            assert!(place.is_none_or(|place| !place.is_empty()));
        }
        for option in options {
            assert!(option.starts_with("--") && !option.contains('\n'), "{option:?} is an option of pip's");
        }
    });
}
