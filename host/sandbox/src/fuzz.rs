//! A way in for the fuzz targets: entries of the cache. No API.

use std::fs;
use std::path::PathBuf;

use crate::cache::{Cache, EntryName};

/// The digest that stands for what an entry was made from.
fn name(of: &str) -> EntryName {
    EntryName::new(blake3::hash(of.as_bytes()))
}

/// Stores an entry, and says where.
pub fn put(cache: &Cache, of: &str, header: &[u8], content: &[u8]) -> PathBuf {
    cache.put(name(of), header, content).expect("the cache can be written to").path
}

/// Finds an entry as it would be given to the engine: its header, and all bytes of its file.
pub fn get(cache: &Cache, of: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let entry = cache.get(name(of))?;
    let file = fs::read(&entry.path).expect("an entry that was found can be read");
    Some((entry.header, file))
}
