//! The folder of the cache, after somebody was at it who has not got the key.

use std::fs;
use std::path::{Path, PathBuf};

use scorebox_sandbox::Cache;
use scorebox_sandbox::fuzz::{get, put};

use crate::folder;

/// What the entries are made from.
const NAMES: [&str; 2] = ["one", "two"];
const HEADERS: [&[u8]; 2] = [b"header", b""];
const CONTENTS: [&[u8]; 2] = [b"content of the first", b"\0\0\0\0"];

/// Commands of four bytes each: what is done, to which entry, where, and with which byte.
pub fn check(data: &[u8]) {
    let folder = folder();
    let cache = Cache::open(folder.path(), u64::MAX).expect("a cache");
    let stored: Vec<PathBuf> = (0..2).map(|index| put(&cache, NAMES[index], HEADERS[index], CONTENTS[index])).collect();
    let written: Vec<Vec<u8>> = stored.iter().map(|path| fs::read(path).expect("it was written")).collect();
    for command in data.chunks_exact(4).take(16) {
        act(folder.path(), &stored, command);
    }
    for index in 0..2 {
        // An entry may be copied and renamed. What is given to the engine is what the host has made, under its own name.
        let is_whole = fs::read(&stored[index]).is_ok_and(|bytes| bytes == written[index]);
        match get(&cache, NAMES[index]) {
            Some((header, file)) => {
                assert!(is_whole, "the file under the name of `{}` is another one", NAMES[index]);
                assert_eq!((&*header, &file), (HEADERS[index], &written[index]));
            }
            None => assert!(!is_whole, "`{}` is as it was, and not found", NAMES[index]),
        }
    }
}

/// Does something to a file of the folder.
fn act(folder: &Path, stored: &[PathBuf], command: &[u8]) {
    let [what, which, at, byte] = *command else { return };
    let path = &stored[usize::from(which & 1)];
    let other = &stored[usize::from(!which & 1)];
    let Ok(mut bytes) = fs::read(path) else { return };
    let at = usize::from(at) % (bytes.len() + 1);
    let done = match what % 9 {
        0 => {
            if let Some(place) = bytes.get_mut(at) {
                *place ^= byte;
            }
            fs::write(path, bytes)
        }
        1 => fs::write(path, &bytes[..at]),
        2 => {
            bytes.insert(at, byte);
            fs::write(path, bytes)
        }
        3 => fs::copy(path, other).map(|_| ()),
        4 => fs::rename(path, other),
        5 => fs::remove_file(path),
        // The name has the digest of what it was made from, and the MAC.
        6 => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut name = name.into_bytes();
            let at = at % name.len();
            name[at] = b"0123456789abcdef."[usize::from(byte) % 17];
            fs::copy(path, folder.join(String::from_utf8_lossy(&name).as_ref())).map(|_| ())
        }
        // The length of the header.
        7 => {
            let footer = bytes.len().saturating_sub(8);
            if let Some(place) = bytes.get_mut(footer + usize::from(which >> 1) % 8) {
                *place = byte;
            }
            fs::write(path, bytes)
        }
        _ => fs::write(path, [&bytes[..at], &[byte][..], &bytes[at..]].concat()).and_then(|()| fs::write(path, &bytes)),
    };
    // Whether it can be done is not the question.
    let _ = done;
}
