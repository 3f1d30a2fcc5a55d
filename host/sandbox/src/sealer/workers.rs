//! The steps of sealing, each in a process of its own.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, BufReader, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle, available_parallelism};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions, waitpid};
use serde::de::DeserializeOwned;

use super::wire::{
    self, Frame, Initialised, Job, Place, Preloading, RuntimePlaces, SealLimits, Setup, Task, Tell, Work,
};
use super::{NAME, WORKER_ARGUMENT};
use crate::bundle::{Bundle, Code};
use crate::engine::SandboxConfig;
use crate::limits::NO_MEMORY;
use crate::log::{self, LogSink, cut_logger};
use crate::native::Native;
use crate::seal::{Schema, SealError, Stage, Steps, WrittenSchema};
use crate::steps::{Candidate, Preloaded, RuntimeCode, Snapshot, State};

/// What compiling a runtime may use. It is the operator's, and large.
const RUNTIME_LIMITS: SealLimits = SealLimits { memory: 16 << 30, timeout: Duration::from_mins(30) };
/// Bytes that a worker may be ahead with its answer: what Linux gives without a privilege.
const PIPE: usize = 1 << 20;
/// Bytes of what a worker writes to standard error that are kept, from the end.
const LAST_WORDS: usize = 2048;
/// How many times its memory limit a scorer takes while it is sealed: its instance, its snapshot, and a copy of that.
const COPIES: u64 = 3;
/// How long a worker may take to end after it has closed its output.
const LAST_MOMENTS: Duration = Duration::from_secs(3);
/// Longer than anybody waits for a deployment.
const LONGEST: Duration = Duration::from_hours(365 * 24);
/// Bytes that a scorer may log beyond its limit: notes of what was left out, and the form in which records are sent.
const LOG_MARGIN: u64 = 64 * 1024;

/// Starts a worker for each step.
pub(super) struct Workers<'a> {
    setup: &'a Setup,
}

/// What a worker is to do, and within which limits.
struct Order<'a> {
    /// In words, for an error message.
    doing: &'static str,
    blobs: &'a [&'a [u8]],
    limits: SealLimits,
    /// How much longer it may take from when it says that code of the scorer runs.
    runs: Duration,
    progress: &'a dyn Fn(Stage),
    /// Takes what it has preloaded.
    keep: Option<&'a dyn Fn(Option<Vec<u8>>)>,
    /// Whether it compiles a runtime, whose limits have no setting.
    is_runtime: bool,
    /// Bytes that it may log.
    log: u64,
    sink: Arc<dyn LogSink>,
    /// What it may read.
    readable: Vec<PathBuf>,
}

impl<'a> Workers<'a> {
    pub(super) fn new(setup: &'a Setup) -> Self {
        Self { setup }
    }

    /// The limits of a step, for a scorer that may have so much memory.
    fn limits(&self, scorer_memory: u64) -> SealLimits {
        let SealLimits { memory, timeout } = self.setup.limits;
        SealLimits {
            memory: memory.saturating_add(scorer_memory.saturating_mul(COPIES)),
            timeout: timeout.min(LONGEST),
        }
    }

    /// Starts a worker, and waits for its result.
    fn order<T: DeserializeOwned + Send + 'static>(
        &self,
        task: Task,
        order: &Order<'_>,
    ) -> Result<(T, Vec<Vec<u8>>), SealError> {
        let Order { doing, blobs, limits, runs, readable, .. } = order;
        let cores = available_parallelism().map_or(1, usize::from) as u64;
        let work = Work {
            config: SandboxConfig { max_running: 1, note_pool: false, ..self.setup.config.clone() },
            memory: limits.memory,
            // The deadline comes first, unless nobody is left to keep it.
            cpu: (limits.timeout * 2 + *runs).as_secs().saturating_add(1).saturating_mul(cores),
            readable: self.setup.confined.then(|| readable.clone()),
            task,
        };
        match Worker::start(&work, blobs, limits.memory) {
            Ok(mut worker) => worker.result(order),
            Err(error) => {
                Err(SealError::Process { doing: Cow::Borrowed(doing), how: format!("could not begin: {error}") })
            }
        }
    }

    /// What a worker may read: the parts of a runtime, and the model directory of a scorer that reads files itself.
    fn readable(bundle: &Bundle, natives: &[&Native]) -> Vec<PathBuf> {
        let runtime = match &bundle.code {
            Code::Runtime(runtime) => Some(runtime.folder().to_owned()),
            Code::Component(_) => None,
        };
        let files = natives.iter().filter_map(|native| match native {
            Native::File(path) => Some(path.clone()),
            Native::Bytes(_) => None,
        });
        let model_dir = bundle.model_dir.as_deref().map(Into::into);
        runtime.into_iter().chain(model_dir).chain(files).collect()
    }
}

/// A worker that has been told what to do. It is ended when this is dropped.
struct Worker<T> {
    child: Child,
    /// What it says, and at the end why that cannot be read, where it is no message.
    said: mpsc::Receiver<io::Result<Frame<Tell<T>>>>,
    last_words: Option<JoinHandle<String>>,
    /// Why it could not be told everything: it ended before.
    unsent: Option<io::Error>,
}

impl<T: DeserializeOwned + Send + 'static> Worker<T> {
    /// Starts it. What it sends in one message has at most `limit` bytes.
    fn start(work: &Work, blobs: &[&[u8]], limit: u64) -> io::Result<Self> {
        let mut program = Command::new("/proc/self/exe");
        program.arg0(NAME).arg(WORKER_ARGUMENT).env_clear();
        // Memory is counted when it can be written to, so it is to be made so only when it is needed.
        program.env("MIMALLOC_ARENA_EAGER_COMMIT", "0");
        Self::started(program, work, blobs, limit)
    }

    fn started(mut program: Command, work: &Work, blobs: &[&[u8]], limit: u64) -> io::Result<Self> {
        let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut input), Some(output), Some(errors)) = pipes else {
            return Err(io::Error::other("a process has no pipes"));
        };
        // A snapshot is tens of MB. Where the system allows no more than it gives, it takes longer.
        let _ = rustix::pipe::fcntl_setpipe_size(&output, PIPE);
        let (sender, said) = mpsc::sync_channel(1);
        // Ended from here on, whatever fails.
        let mut worker = Self { child, said, last_words: None, unsent: None };
        thread::Builder::new().spawn(move || {
            let mut output = BufReader::new(output);
            while let Some(said) = wire::read::<Tell<T>>(&mut output, limit).transpose() {
                // Where it dies within a message, how it died says more.
                let is_end = said.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::UnexpectedEof);
                let is_last = said.is_err();
                if is_end || sender.send(said).is_err() || is_last {
                    return;
                }
            }
        })?;
        worker.last_words = Some(thread::Builder::new().spawn(move || last(errors))?);
        worker.unsent = wire::write(&mut input, work, blobs).err();
        Ok(worker)
    }

    /// Waits for its result, and passes on what it says before that.
    fn result(&mut self, order: &Order<'_>) -> Result<(T, Vec<Vec<u8>>), SealError> {
        let Order { limits, is_runtime, .. } = order;
        let failed = |how: String| SealError::Process { doing: Cow::Borrowed(order.doing), how };
        let mut deadline = Instant::now() + limits.timeout;
        // For its own word only once: what it says after that may be the scorer's, if that has broken out.
        let mut more = Some(order.runs + limits.timeout);
        let mut keep = order.keep;
        let mut left = order.log.saturating_add(LOG_MARGIN);
        loop {
            let said = match self.said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Ok(said)) => said,
                Ok(Err(error)) => return Err(failed(format!("said what cannot be read: {error}"))),
                Err(mpsc::RecvTimeoutError::Timeout) => return Err(failed(too_long(limits, *is_runtime))),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(failed(self.end(limits, *is_runtime))),
            };
            match said {
                (Tell::Done(done), blobs) => return Ok((done, blobs)),
                (Tell::Failed(SealError::Compile(why) | SealError::Snapshot(why)), _) if why.contains(NO_MEMORY) => {
                    return Err(failed(out_of_memory(limits, *is_runtime)));
                }
                // Its limit left no room for what the scorer may have.
                (Tell::Failed(SealError::NoMemory { .. }), _) => {
                    return Err(failed(out_of_memory(limits, *is_runtime)));
                }
                (Tell::Failed(error), _) => return Err(error),
                (Tell::Stage(stage), _) => {
                    if let Some(more) = more.take() {
                        deadline = Instant::now() + more;
                        (order.progress)(stage);
                    }
                }
                (Tell::Log { stream, level, logger, text }, _) => {
                    // As an honest worker counts.
                    left = left
                        .checked_sub(log::cost(&logger, &text))
                        .ok_or_else(|| failed("logged more than it may".to_owned()))?;
                    order.sink.write(stream, level, cut_logger(&logger), &text);
                }
                // For its own word only once, as well: it is said before code of the rest runs.
                (Tell::Preloaded, state) => {
                    if let Some(keep) = keep.take() {
                        keep(state.into_iter().next());
                    }
                }
                (Tell::Warn(_), _) => {}
            }
        }
    }

    /// Says how it ended, now that it has closed its output. One that goes on all the same is ended.
    fn end(&mut self, limits: &SealLimits, is_runtime: bool) -> String {
        let patience = Instant::now() + LAST_MOMENTS;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < patience => thread::sleep(Duration::from_millis(10)),
                Ok(None) => return "closed its output and went on, and was ended".to_owned(),
                Err(error) => return format!("cannot be waited for: {error}"),
            }
        };
        let words = self.last_words.take().and_then(|words| words.join().ok()).unwrap_or_default();
        death(status, &words, self.unsent.as_ref(), limits, is_runtime)
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        // The system takes its memory back first, for which nobody has to wait.
        if let Ok(None) = self.child.try_wait() {
            let process = Pid::from_child(&self.child);
            let wait = move || _ = waitpid(Some(process), WaitOptions::empty());
            if thread::Builder::new().spawn(wait).is_err() {
                let _ = self.child.wait();
            }
        }
    }
}

/// The last that is written to a pipe.
fn last(mut from: impl Read) -> String {
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..read]);
        kept.drain(..kept.len().saturating_sub(LAST_WORDS));
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

/// Says that its deadline is over, and how it is raised.
fn too_long(limits: &SealLimits, is_runtime: bool) -> String {
    let raise = if is_runtime { "" } else { "; raise --seal-timeout if the module is to be trusted" };
    format!("did not end within {} s{raise}", limits.timeout.as_secs_f64())
}

/// Says that its memory is used up, and how the limit is raised.
fn out_of_memory(limits: &SealLimits, is_runtime: bool) -> String {
    let raise = if is_runtime { "" } else { "; raise --seal-memory if the module is to be trusted" };
    format!("needed more memory than the limit of {} bytes{raise}", limits.memory)
}

/// Says how a worker died.
fn death(status: ExitStatus, words: &str, unsent: Option<&io::Error>, limits: &SealLimits, is_runtime: bool) -> String {
    const ABORT: i32 = 6;
    const KILL: i32 = 9;
    const CPU: i32 = 24;
    let is_out_of_memory = words.contains("memory allocation of") || words.contains(NO_MEMORY);
    let mut text = match status.signal() {
        Some(ABORT) if is_out_of_memory => out_of_memory(limits, is_runtime),
        Some(CPU) => "used more of the CPU than it may".to_owned(),
        Some(KILL) => "was killed; has the machine enough memory?".to_owned(),
        Some(signal) => format!("was ended by signal {signal}"),
        None => format!("ended with {status}"),
    };
    if let Some(error) = unsent {
        let _ = write!(text, " before it had read everything ({error})");
    }
    if !words.is_empty() {
        let _ = write!(text, ": {words}");
    }
    text
}

impl Steps for Workers<'_> {
    fn initialise(
        &self,
        candidate: &Candidate<'_>,
        runtime: Option<&RuntimeCode>,
        preloaded: Option<Preloaded<'_>>,
        sink: Arc<dyn LogSink>,
        progress: &dyn Fn(Stage),
    ) -> Result<Snapshot, SealError> {
        let (places, natives) = places(runtime);
        let mut readable = Self::readable(candidate.bundle, &of(runtime));
        let (preloading, keep) = match preloaded {
            None => (Preloading::No, None),
            Some(Preloaded { found: Some(Native::File(file)), .. }) => {
                readable.push(file.clone());
                (Preloading::Found(file), None)
            }
            Some(Preloaded { keep, .. }) => (Preloading::Yes, Some(keep)),
        };
        let mut blobs = Job::blobs(candidate.bundle);
        blobs.extend(natives);
        // A runtime's schema is asked for as well, and before that it may preload: each may log and take as long again.
        let calls = 1 + u32::from(runtime.is_some()) + u32::from(keep.is_some());
        let (Initialised { interface, bytes, schema }, blobs) = self.order(
            Task::Initialise(Job::of(candidate), places, preloading),
            &Order {
                doing: "initialising the scorer",
                blobs: &blobs,
                limits: self.limits(candidate.limits.memory),
                runs: candidate.limits.init_deadline.min(LONGEST) * calls,
                progress,
                keep,
                is_runtime: false,
                log: candidate.limits.log.saturating_mul(calls.into()),
                sink,
                readable,
            },
        )?;
        // What it is, the bundle says, and not the worker, in which the scorer's code has run: an image is not compiled.
        let state = match runtime {
            None => State::Component(only(blobs)),
            Some(_) => State::Image(only(blobs), read_schema(schema)?),
        };
        Ok(Snapshot { interface, bytes, state })
    }

    fn compile(&self, component: Vec<u8>, memory: u64) -> Result<Vec<u8>, SealError> {
        self.compile_within(self.limits(memory), false, &component)
    }

    fn compile_runtime(&self, code: Vec<u8>) -> Result<Vec<u8>, SealError> {
        self.compile_within(RUNTIME_LIMITS, true, &code)
    }

    fn describe(
        &self,
        candidate: &Candidate<'_>,
        sealed: &Native,
        sink: Arc<dyn LogSink>,
    ) -> Result<Schema, SealError> {
        let (sealed_place, sealed_blob) = Place::of(sealed);
        let mut blobs: Vec<_> = sealed_blob.into_iter().collect();
        blobs.extend(Job::blobs(candidate.bundle));
        let (schema, _) = self.order(
            Task::Describe(sealed_place, Job::of(candidate)),
            &Order {
                doing: "asking the scorer for its schema",
                blobs: &blobs,
                limits: self.limits(candidate.limits.memory),
                runs: candidate.limits.init_deadline.min(LONGEST),
                progress: &|_| {},
                keep: None,
                is_runtime: false,
                log: candidate.limits.log,
                sink,
                readable: Self::readable(candidate.bundle, &[sealed]),
            },
        )?;
        read_schema(Some(schema))
    }
}

fn read_schema(schema: Option<WrittenSchema>) -> Result<Schema, SealError> {
    schema.and_then(WrittenSchema::read).ok_or_else(|| SealError::Compile("the schema is none".to_owned()))
}

impl Workers<'_> {
    fn compile_within(&self, limits: SealLimits, is_runtime: bool, component: &[u8]) -> Result<Vec<u8>, SealError> {
        let ((), blobs) = self.order(
            Task::Compile,
            &Order {
                doing: if is_runtime { "compiling the runtime" } else { "compiling the scorer" },
                blobs: &[component],
                limits,
                runs: Duration::ZERO,
                progress: &|_| {},
                keep: None,
                is_runtime,
                log: 0,
                sink: Arc::new(crate::log::NoLog),
                readable: Vec::new(),
            },
        )?;
        Ok(only(blobs))
    }
}

fn of(runtime: Option<&RuntimeCode>) -> Vec<&Native> {
    runtime.map(|runtime| vec![&runtime.code, &runtime.library]).unwrap_or_default()
}

fn places(runtime: Option<&RuntimeCode>) -> (Option<RuntimePlaces>, Vec<&[u8]>) {
    let Some(runtime) = runtime else { return (None, Vec::new()) };
    let (code, code_blob) = Place::of(&runtime.code);
    let (library, library_blob) = Place::of(&runtime.library);
    (Some(RuntimePlaces(code, library)), code_blob.into_iter().chain(library_blob).collect())
}

fn only(blobs: Vec<Vec<u8>>) -> Vec<u8> {
    blobs.into_iter().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::NoLog;

    /// What becomes of an order whose worker is a shell with this script.
    fn error_of(script: &str) -> String {
        let work = Work { config: SandboxConfig::default(), memory: 0, cpu: 0, readable: None, task: Task::Compile };
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        let mut worker = Worker::<()>::started(shell, &work, &[], 1 << 20).unwrap();
        let order = Order {
            doing: "compiling the scorer",
            blobs: &[],
            limits: SealLimits { memory: 0, timeout: Duration::from_mins(5) },
            runs: Duration::ZERO,
            progress: &|_| {},
            keep: None,
            is_runtime: false,
            log: 0,
            sink: Arc::new(NoLog),
            readable: Vec::new(),
        };
        let start = Instant::now();
        let error = worker.result(&order).unwrap_err().to_string();
        assert!(start.elapsed() < Duration::from_mins(2), "the deadline was waited for: {error}");
        error
    }

    #[test]
    fn a_worker_that_says_nothing_to_the_point_is_ended_and_the_error_says_why() {
        for (script, expected) in [
            ("cat >/dev/null; echo lost >&2; exit 3", "ended with exit status: 3: lost"),
            ("cat >/dev/null; kill -9 $$", "was killed; has the machine enough memory?"),
            // Within a message.
            ("cat >/dev/null; head -c 12 /dev/zero; exit 4", "ended with exit status: 4"),
            ("cat >/dev/null; head -c 24 /dev/zero | tr '\\0' '\\1'; exec sleep 600", "is larger than it may be"),
            ("cat >/dev/null; head -c 600 /dev/zero; exec sleep 600", "said what cannot be read"),
            ("cat >/dev/null; exec sleep 600 >&- 2>&-", "closed its output and went on, and was ended"),
        ] {
            let error = error_of(script);
            assert!(error.starts_with("compiling the scorer ") && error.contains(expected), "{script}: {error}");
        }
    }
}
