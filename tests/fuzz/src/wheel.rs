//! Wheels: packages that are installed into an app.

use scorebox::fuzz::wheel;

use crate::zips;

/// A ZIP file, or the entries of one.
pub fn check(data: &[u8]) {
    let Some((bytes, entries)) = zips::archive(data) else { return };
    let Ok(files) = wheel(&bytes) else { return };
    for (path, contents) in &files {
        assert!(zips::is_below(path) && path.starts_with("site/"), "{path:?} leads elsewhere");
        assert!(entries.is_empty() || entries.iter().any(|entry| entry.contents == *contents));
    }
    assert!(entries.is_empty() || files.len() <= entries.len());
    assert!(files.iter().all(|(path, _)| !path.contains("/__pycache__/")));
}
