//! The store as a whole, on a real disk and with real processes.

mod backups;
mod entries;
mod full_disk;
mod kills;
mod opening;
mod uploads;

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::{Digest, Report, Store};

/// Names a folder to a test that has started itself once more.
const FOLDER: &str = "SCOREBOX_STORE_TEST_FOLDER";

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(folder: &TempDir) -> Store {
    Store::open(folder.path()).unwrap()
}

/// The folder, in the process that [`again`] has started.
fn given_folder() -> Option<PathBuf> {
    env::var_os(FOLDER).map(PathBuf::from)
}

/// A command that runs the test once more in a process of its own, behind a command line.
fn again(wrapper: &[OsString], test: &str, folder: &Path) -> Command {
    let mut line = wrapper.to_vec();
    line.push(env::current_exe().unwrap().into());
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).args(["--exact", test, "--nocapture"]).env(FOLDER, folder);
    command
}

fn put_blob(store: &Store, content: &[u8]) -> Digest {
    let digest = Digest::of(content);
    let mut upload = store.upload(&digest, store.upload_offset(&digest).unwrap()).unwrap();
    upload.append(&content[upload.offset() as usize..]).unwrap();
    upload.finish().unwrap();
    digest
}

/// What a check finds where each entry's value is the digest of a blob.
fn check(store: &Store) -> Report {
    let used = |snapshot: &crate::Snapshot| {
        let entries = snapshot.scan("")?;
        Ok(entries.iter().map(|entry| str::from_utf8(&entry.value).unwrap().parse().unwrap()).collect())
    };
    store.check(used).unwrap()
}

fn check_unused(store: &Store) -> Report {
    store.check(|_| Ok(BTreeSet::new())).unwrap()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

/// The names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
