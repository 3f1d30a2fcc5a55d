//! Archives of apps, `.scorebox`.

use scorebox::fuzz::unpack;

use crate::zips;

/// Bytes that an archive may unpack to.
const LIMIT: u64 = 1 << 16;
/// What lies in an app.
const TOPS: [&str; 3] = ["app/", "model/", "site/"];

/// A ZIP file, or the entries of one.
pub fn check(data: &[u8]) {
    let Some((archive, entries)) = zips::archive(data) else { return };
    let Ok((files, packed)) = unpack(&archive, LIMIT) else { return };
    zips::assert_safe(&files, &TOPS);
    let bytes: usize = files.iter().map(|(_, contents)| contents.len()).sum();
    assert!(bytes as u64 <= LIMIT, "it unpacks to {bytes} bytes");
    for entry in entries.iter().filter(|entry| !entry.name.ends_with('/') && entry.name != "manifest.json") {
        let found = files.iter().find(|(path, _)| *path == entry.name);
        assert_eq!(found.map(|(_, contents)| contents), Some(&entry.contents), "{:?}", entry.name);
    }
    // What is packed again unpacks to the same, and packs to the same.
    let (again, repacked) = unpack(&packed, LIMIT + (1 << 20)).expect("what was packed can be unpacked");
    assert_eq!(again, files);
    assert_eq!(repacked, packed);
}
