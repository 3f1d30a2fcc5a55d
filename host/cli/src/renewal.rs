//! What is read again while the server serves: when its files change, and when the server is told to (SIGHUP).
//!
//! Files are looked at every few seconds, by what is in them. So it does not matter how they are replaced: written anew,
//! renamed, or behind a link that points elsewhere now, as with secrets in Kubernetes. It takes no right but to read them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::failure::Failure;

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// All that is read again when the server is told to.
#[derive(Debug, Default)]
pub(crate) struct Renewals(Vec<Sender<()>>);

impl Renewals {
    /// Has everything read again, and does not wait for that.
    pub(crate) fn now(&self) {
        for renewal in &self.0 {
            let _ = renewal.send(());
        }
    }

    /// A way to be told to read something again, also by others.
    pub(crate) fn channel(&mut self) -> (Sender<()>, Receiver<()>) {
        let (sender, told) = channel();
        self.0.push(sender.clone());
        (sender, told)
    }

    /// Calls `renew` when the files have changed, and when told to, until the server ends. It says what has been renewed,
    /// or why that is not so and what was there before goes on.
    pub(crate) fn watch(
        &mut self,
        mut files: Files,
        renew: impl Fn() -> Result<String, String> + Send + 'static,
    ) -> Result<(), Failure> {
        let (_, told) = self.channel();
        spawn(move || {
            while let Some(turn) = next(&told, INTERVAL) {
                if files.have_changed() || turn == Turn::Told {
                    report(renew());
                }
            }
        })
    }
}

/// Why something is to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The time is up.
    Due,
    /// Somebody has said so.
    Told,
}

/// Waits for the next turn; none comes when nobody is left to say so.
pub(crate) fn next(told: &Receiver<()>, within: Duration) -> Option<Turn> {
    match told.recv_timeout(within) {
        Ok(()) => Some(Turn::Told),
        Err(RecvTimeoutError::Timeout) => Some(Turn::Due),
        Err(RecvTimeoutError::Disconnected) => None,
    }
}

/// Runs something on a thread of its own: what is read may take its time.
pub(crate) fn spawn(run: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    match thread::Builder::new().name("renewal".to_owned()).spawn(run) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::failed(format!("cannot start a thread: {error}"))),
    }
}

/// Logs what has been renewed, or why not.
pub(crate) fn report(renewed: Result<String, String>) {
    match renewed {
        Ok(what) => tracing::info!("{what}"),
        Err(why) => tracing::error!("what was there before goes on: {why}"),
    }
}

/// Files, and what was in them when they were looked at last.
#[derive(Debug)]
pub(crate) struct Files {
    paths: Vec<PathBuf>,
    seen: Vec<Option<[u8; 32]>>,
}

impl Files {
    /// Looks at the files, which are to be read after that.
    pub(crate) fn new(paths: Vec<PathBuf>) -> Self {
        let seen = look(&paths);
        Self { paths, seen }
    }

    fn have_changed(&mut self) -> bool {
        let seen = look(&self.paths);
        std::mem::replace(&mut self.seen, seen) != self.seen
    }
}

/// The SHA-256 of each file; none of one that cannot be read.
fn look(paths: &[PathBuf]) -> Vec<Option<[u8; 32]>> {
    paths.iter().map(|path| Some(Sha256::digest(fs::read(path).ok()?).into())).collect()
}

/// What has to be readable for a file to be read, whatever takes its place: the folder in which it is, and that of the file
/// to which it is a link.
pub(crate) fn folders(file: &Path) -> impl Iterator<Item = PathBuf> {
    let absolute = std::path::absolute(file).ok();
    let real = file.canonicalize().ok();
    [absolute, real].into_iter().flatten().map(|file| match file.parent() {
        // In the root folder everything would be beside it.
        Some(folder) if folder != Path::new("/") => folder.to_owned(),
        _ => file,
    })
}
