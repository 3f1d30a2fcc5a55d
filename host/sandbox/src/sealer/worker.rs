//! A worker: limits itself, does one step, and ends.

use std::io::{self, BufReader, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use scorebox_confinement::{Confinement, Profile, ResourceLimits};

use super::wire::{self, Initialised, Preloading, Task, Tell, Told, Work};
use crate::log::LogSink;
use crate::native::Native;
use crate::runtime::Runtime;
use crate::sandbox::Sandbox;
use crate::seal::{SealError, Stage, Steps as _, WrittenSchema};
use crate::steps::{self, Preloaded, Snapshot, State};

/// Runs a worker: its work comes in on standard input, its result goes out on standard output.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    // It comes from the sealer, so it is trusted; what goes with it in blobs is not, and is only kept here.
    let Some((work, blobs)) = wire::read::<Work>(&mut BufReader::new(io::stdin()), u64::MAX)? else { return Ok(()) };
    ResourceLimits { memory: work.memory, cpu: work.cpu }.apply()?;
    if let Some(readable) = &work.readable {
        drop(Confinement::new(Profile::Worker).readable(readable).apply());
    }
    let told = Told::stdout()?;
    let sandbox = Sandbox::new(&work.config, None).map_err(io::Error::other)?;
    match step(&sandbox, work.task, blobs, &told) {
        Ok(()) => Ok(()),
        Err(Failed::Seal(error)) => told.tell::<()>(&Tell::Failed(error), &[]),
        Err(Failed::Io(error)) => Err(error),
    }
}

enum Failed {
    Seal(SealError),
    Io(io::Error),
}

impl From<SealError> for Failed {
    fn from(error: SealError) -> Self {
        Self::Seal(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn step(sandbox: &Sandbox, task: Task, blobs: Vec<Vec<u8>>, told: &Told) -> Result<(), Failed> {
    let mut blobs = blobs.into_iter();
    let sink: Arc<dyn LogSink> = Arc::new(told.clone());
    match task {
        Task::Initialise(job, runtime, preloading) => {
            let opened = job.open(&mut blobs, |folder| Ok(Runtime::unnamed(folder)))?;
            let runtime = runtime.map(|places| places.open(&mut blobs));
            // Where nobody listens, the result cannot be said either.
            let keep = |state: Option<Vec<u8>>| _ = told.tell::<()>(&Tell::Preloaded, state.as_deref().as_slice());
            let progress = |stage| _ = told.tell::<()>(&Tell::Stage(stage), &[]);
            let preloaded = match preloading {
                Preloading::No => None,
                Preloading::Yes => Some(Preloaded { found: None, keep: &keep }),
                Preloading::Found(file) => Some(Preloaded { found: Some(Native::File(file)), keep: &keep }),
            };
            let Snapshot { interface, bytes, state } =
                sandbox.initialise(&opened.candidate(), runtime.as_ref(), preloaded, sink, &progress)?;
            let (state, schema) = match state {
                State::Component(component) => (component, None),
                State::Image(image, schema) => (image, Some(schema.into())),
            };
            told.tell(&Tell::Done(Initialised { interface, bytes, schema }), &[&state])?;
        }
        Task::Compile => {
            let module = blobs.next().unwrap_or_default();
            let native = steps::compile(sandbox.engine(), &module)?;
            told.tell(&Tell::Done(()), &[&native])?;
        }
        Task::Describe(sealed, job) => {
            let sealed = sealed.open(&mut blobs);
            let opened = job.open(&mut blobs, |folder| Ok(Runtime::unnamed(folder)))?;
            // Nothing is compiled for it: its code runs from now on.
            told.tell::<()>(&Tell::Stage(Stage::Sealing), &[])?;
            let schema = sandbox.describe(&opened.candidate(), &sealed, sink)?;
            told.tell(&Tell::Done(WrittenSchema::from(schema)), &[])?;
        }
    }
    Ok(())
}
