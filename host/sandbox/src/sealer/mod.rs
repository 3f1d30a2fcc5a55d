//! Who seals: the process itself, or others that it has started for it.
//!
//! ```text
//! server ──bundle──▶ sealer ──▶ worker: init     ──snapshot──▶
//!        ◀──done────        ──▶ worker: compile  ──native code──▶ cache
//!                           ──▶ worker: schema   ──schema──▶
//! ```
//!
//! A module can be made to be slow or large to compile, and its `init` runs code that nobody trusts. So each step runs in
//! a **worker**, a process of its own with limits of the system on its memory and its CPU, with a deadline, without
//! descriptors but its three pipes, and behind the second wall. It is started for one step, and its death is an error
//! message. A worker that runs code of the module returns WebAssembly, an image of memories, or a schema; native code comes from a worker that
//! has run none.
//!
//! The **sealer** starts the workers and writes the cache. It is started with the server, before that confines itself:
//! afterwards the server can neither start programs nor write to the cache, so what breaks out of an instance can leave
//! nothing behind that the next start would run. The sealer works out under which name a scorer is stored by itself.

mod process;
mod wire;
mod worker;
mod workers;

use std::borrow::Cow;
use std::io::{self, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

pub use process::main as sealer_main;
use scorebox_confinement::hand_on_no_descriptors;
pub use wire::SealLimits;
pub use worker::main as worker_main;

use crate::engine::SandboxConfig;
use crate::log::LogSink;
use crate::native::Native;
use crate::runtime::Runtime;
use crate::sandbox::Sandbox;
use crate::seal::{self, Caching, Header, Made, Maker, SealError, Stage};
use crate::steps::{Candidate, RuntimeCode};
use wire::{Ask, Job, Setup, Tell, What};

/// The argument with which a program is to call [`sealer_main`].
pub const SEALER_ARGUMENT: &str = "sealer";
/// The argument with which a program is to call [`worker_main`].
pub const WORKER_ARGUMENT: &str = "sealer-worker";

/// The name under which the processes are started.
const NAME: &str = "scorebox";

/// How a sealer is set up.
#[derive(Debug, Clone)]
pub struct SealerConfig {
    /// What sealing may use.
    pub limits: SealLimits,
    /// Folder and size in bytes of the cache, where there is one.
    pub cache: Option<(PathBuf, u64)>,
    /// The files and folders of bundles and runtimes, which the sealer and its workers may read.
    pub readable: Vec<PathBuf>,
    /// Whether they confine themselves: see `scorebox-confinement`.
    pub confined: bool,
}

/// Seals what is not in the cache yet.
#[derive(Debug)]
pub struct Sealer(Kind);

#[derive(Debug)]
enum Kind {
    InProcess,
    Process(Mutex<Process>),
}

/// The sealer's process. It ends when its input does.
#[derive(Debug)]
struct Process {
    child: Child,
    /// Gone when it is to end, and once an answer was not read to its end: what comes next may be the rest of it.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Sealer {
    /// Seals in this process, without limits on compiling: for scorers that are trusted, and for benchmarks.
    pub fn in_process() -> Self {
        Self(Kind::InProcess)
    }

    /// Starts a sealer, which is this program with [`SEALER_ARGUMENT`]. It waits to be told what it is for.
    pub fn launch() -> io::Result<Launched> {
        hand_on_no_descriptors();
        // Whatever has become of the file since this process was started from it.
        let mut child = Command::new("/proc/self/exe")
            .arg0(NAME)
            .arg(SEALER_ARGUMENT)
            // A signal from the terminal is for the server, which decides what it means.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or_else(|| io::Error::other("a process has no pipes"))?;
        Ok(Launched(Process { child, input: Some(input), output: BufReader::new(output) }))
    }

    /// Makes a scorer ready to be deployed.
    pub(crate) fn make(
        &self,
        sandbox: &Sandbox,
        candidate: &Candidate<'_>,
        caching: Caching,
        sink: &Arc<dyn LogSink>,
        progress: &dyn Fn(Stage),
    ) -> Result<Made, SealError> {
        match &self.0 {
            Kind::InProcess => maker(sandbox, caching, progress).make(candidate, sink),
            Kind::Process(process) => {
                let mut process = process.lock().unwrap_or_else(PoisonError::into_inner);
                let mut ask = |cached| {
                    let ask = Ask { what: What::Scorer(Box::new(Job::of(candidate))), cached };
                    process.ask(&ask, &Job::blobs(candidate.bundle), &**sink, progress)
                };
                let mut made = ask(caching == Caching::Yes)?;
                if made.is_none() {
                    let name = seal::entry_name(candidate, sandbox.engine());
                    if let Some(made) = Made::cached(sandbox.cache(), name) {
                        return Ok(made);
                    }
                    not_there();
                    made = ask(false)?;
                }
                let [header, code] = made.ok_or_else(vanished)?;
                let header = Header::read(&header).ok_or_else(vanished)?;
                Ok(Made { header, native: Native::Bytes(code) })
            }
        }
    }

    /// Compiles a runtime.
    pub(crate) fn runtime(
        &self,
        sandbox: &Sandbox,
        runtime: &Runtime,
        progress: &dyn Fn(Stage),
    ) -> Result<RuntimeCode, SealError> {
        match &self.0 {
            Kind::InProcess => maker(sandbox, Caching::Yes, progress).runtime(runtime),
            Kind::Process(process) => {
                let mut process = process.lock().unwrap_or_else(PoisonError::into_inner);
                let mut ask = |cached| {
                    let ask = Ask { what: What::Runtime(runtime.folder().to_owned()), cached };
                    process.ask(&ask, &[], &crate::log::NoLog, progress)
                };
                let mut made = ask(true)?;
                if made.is_none() {
                    if let Some(code) = seal::runtime_code(sandbox.engine(), sandbox.cache(), runtime) {
                        return Ok(code);
                    }
                    not_there();
                    made = ask(false)?;
                }
                let [code, library] = made.ok_or_else(vanished)?;
                Ok(RuntimeCode { code: Native::Bytes(code), library: Native::Bytes(library) })
            }
        }
    }
}

fn maker<'a>(sandbox: &'a Sandbox, caching: Caching, progress: &'a dyn Fn(Stage)) -> Maker<'a> {
    Maker {
        steps: sandbox,
        engine: sandbox.engine(),
        cache: sandbox.cache(),
        scorers: sandbox.cache().filter(|_| caching == Caching::Yes),
        progress,
        warn: &|text| tracing::warn!("{text}"),
    }
}

/// The cache does not have what the sealer has just put there: its disk may be bad, or somebody empties it.
fn not_there() {
    tracing::warn!("what was compiled cannot be read from the cache: it is compiled again, and not kept");
}

fn vanished() -> SealError {
    SealError::NoSealer("its answer is not what it was asked for".to_owned())
}

/// A sealer that waits to be told what it is for.
#[derive(Debug)]
pub struct Launched(Process);

impl Launched {
    /// Tells it. `sandbox` are the settings of the sandbox for which it seals.
    pub fn set_up(self, sandbox: &SandboxConfig, config: SealerConfig) -> io::Result<Sealer> {
        let Self(mut process) = self;
        let SealerConfig { limits, cache, readable, confined } = config;
        let input = process.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        wire::write(input, &Setup { config: sandbox.clone(), limits, cache, readable, confined }, &[])?;
        Ok(Sealer(Kind::Process(Mutex::new(process))))
    }
}

impl Process {
    /// Asks, and waits for the answer: two blobs, or nothing where the answer is in the cache.
    fn ask(
        &mut self,
        ask: &Ask,
        blobs: &[&[u8]],
        sink: &dyn LogSink,
        progress: &dyn Fn(Stage),
    ) -> Result<Option<[Vec<u8>; 2]>, SealError> {
        let gone = |error: io::Error| SealError::NoSealer(error.to_string());
        // It is put back when the answer is whole. Whatever happens until then, a panic of those who are told as well, nobody
        // is to take the rest of the answer for one of his own.
        let mut input = self.input.take().ok_or_else(|| gone(io::ErrorKind::BrokenPipe.into()))?;
        match wire::write(&mut input, ask, blobs) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.input = Some(input);
                return Err(SealError::Process {
                    doing: Cow::Borrowed("handing over the bundle"),
                    how: format!("failed: its paths and variables are too many or too long ({error}); take some out"),
                });
            }
            Err(error) => return Err(gone(error)),
        }
        let answer = loop {
            let (tell, blobs) = wire::read::<Tell<wire::Made>>(&mut self.output, u64::MAX)
                .and_then(|frame| frame.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()))
                .map_err(gone)?;
            match tell {
                Tell::Stage(stage) => progress(stage),
                Tell::Log { stream, level, logger, text } => sink.write(stream, level, &logger, &text),
                Tell::Warn(text) => tracing::warn!("{text}"),
                // Said by workers alone.
                Tell::Preloaded => {}
                Tell::Failed(error) => break Err(error),
                Tell::Done(wire::Made::Cached) => break Ok(None),
                Tell::Done(wire::Made::Here) => {
                    break Ok(Some(blobs.try_into().map_err(|_| gone(io::ErrorKind::InvalidData.into()))?));
                }
            }
        };
        self.input = Some(input);
        answer
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends with its input. What it was doing nobody waits for.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
