//! The sealer: starts workers, and writes the cache.

use std::cell::RefCell;
use std::io::{self, BufReader, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};

use scorebox_confinement::{Confinement, Profile, be_killed_first};

use super::wire::{self, Ask, Setup, Tell, Told, What};
use super::workers::Workers;
use crate::cache::Cache;
use crate::engine::{Engines, SandboxConfig};
use crate::log::LogSink;
use crate::native::Native;
use crate::runtime::Runtime;
use crate::seal::{Maker, SealError, Stage, runtime_error};

/// Runs the sealer: asks come in on standard input, and answers go out on standard output. It ends when its input does.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "scorebox sealer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let mut input = BufReader::new(io::stdin());
    let Some((setup, _)) = wire::read::<Setup>(&mut input, 0)? else { return Ok(()) };
    be_killed_first();
    if setup.confined {
        confine(&setup);
    }
    // Starts the threads that hash: where the system gives none, that is to fail now, and not in the midst of a deployment.
    blake3::Hasher::new().update_rayon(&vec![0; 1 << 20]);
    let (mut warning, mut cache) = (None, None);
    match setup.cache.as_ref().map(|(folder, limit)| Cache::open(folder, *limit)) {
        Some(Ok(opened)) => cache = Some(opened),
        Some(Err(error)) => warning = Some(format!("what is compiled is not kept: {error}")),
        None => {}
    }
    // Its settings decide under which name a scorer is stored. It compiles nothing.
    let (Engines { components: engine, .. }, ..) =
        Engines::new(&SandboxConfig { max_running: 1, note_pool: false, ..setup.config.clone() })
            .map_err(|error| io::Error::other(format!("{error:#}")))?;
    let (sender, asks) = mpsc::sync_channel(0);
    std::thread::Builder::new().name("asks".to_owned()).spawn(move || {
        while let Ok(Some(frame)) = wire::read::<Ask>(&mut input, u64::MAX) {
            if sender.send(frame).is_err() {
                return;
            }
        }
        // Whoever asked is gone, and a worker must not go on for nobody: it is killed when this process ends.
        #[expect(clippy::exit, reason = "nobody is left to whom anything could be said")]
        std::process::exit(0);
    })?;
    let told = Told::stdout()?;
    for (ask, blobs) in asks {
        let broken = RefCell::new(None);
        let tell = |tell: &Tell<wire::Made>| {
            if let Err(error) = told.tell(tell, &[]) {
                broken.replace(Some(error));
            }
        };
        if let Some(warning) = warning.take() {
            tell(&Tell::Warn(warning));
        }
        let workers = Workers::new(&setup);
        let progress = |stage: Stage| tell(&Tell::Stage(stage));
        let warn = |text: String| tell(&Tell::Warn(text));
        let maker = Maker {
            steps: &workers,
            engine: &engine,
            // A runtime may be in the cache although a scorer is not to be.
            cache: cache.as_ref().filter(|_| ask.cached || matches!(ask.what, What::Scorer(_))),
            scorers: cache.as_ref().filter(|_| ask.cached),
            progress: &progress,
            warn: &warn,
        };
        let sink: Arc<dyn LogSink> = Arc::new(told.clone());
        match answer(&maker, ask.what, blobs, &sink) {
            Ok((made, blobs)) => told.tell(&Tell::Done(made), &[&blobs[0], &blobs[1]])?,
            Err(error) => told.tell::<wire::Made>(&Tell::Failed(error), &[])?,
        }
        if let Some(error) = broken.into_inner() {
            return Err(error);
        }
    }
    Ok(())
}

fn answer(
    maker: &Maker<'_>,
    what: What,
    blobs: Vec<Vec<u8>>,
    sink: &Arc<dyn LogSink>,
) -> Result<(wire::Made, [Vec<u8>; 2]), SealError> {
    match what {
        What::Scorer(job) => {
            let opened = job.open(&mut blobs.into_iter(), open_runtime)?;
            let made = maker.make(&opened.candidate(), sink)?;
            Ok(match made.native {
                Native::File(_) => (wire::Made::Cached, Default::default()),
                Native::Bytes(code) => (wire::Made::Here, [made.header.write(), code]),
            })
        }
        What::Runtime(folder) => {
            let runtime = open_runtime(&folder)?;
            let made = maker.runtime(&runtime)?;
            match (made.code, made.library) {
                (Native::File(_), Native::File(_)) => Ok((wire::Made::Cached, Default::default())),
                // One of the two, or both, could not be stored.
                (code, library) => Ok((wire::Made::Here, [bytes(code, &runtime)?, bytes(library, &runtime)?])),
            }
        }
    }
}

fn open_runtime(folder: &Path) -> Result<Runtime, SealError> {
    Runtime::open(folder).map_err(|error| SealError::Runtime { folder: folder.to_owned(), why: error.to_string() })
}

fn bytes(native: Native, runtime: &Runtime) -> Result<Vec<u8>, SealError> {
    match native {
        Native::Bytes(bytes) => Ok(bytes),
        Native::File(path) => std::fs::read(path).map_err(|error| runtime_error(runtime, error.to_string())),
    }
}

fn confine(setup: &Setup) {
    let mut confinement = Confinement::new(Profile::Sealer).readable(&setup.readable);
    if let Some((folder, _)) = &setup.cache {
        confinement = confinement.writable([folder]);
    }
    // What the kernel lacks has been said by the server, which lacks the same.
    drop(confinement.apply());
}
