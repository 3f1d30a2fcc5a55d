//! Processes that a test starts: what they write, when they end, and that they do not outlive the test.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::fixtures;
use crate::wait::{PATIENCE, holds_within};

/// A command with an environment that has nothing of the tester's own but the path.
pub fn hermetic(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    // In containers, tests run as root.
    command.env("SCOREBOX_ALLOW_ROOT", "true");
    for name in ["PATH", "HOME", "RUSTUP_HOME", "CARGO_HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// The program under test.
pub fn scorebox() -> Command {
    hermetic(fixtures::binary())
}

/// Runs `scorebox` with these arguments to its end.
pub fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ended {
    run_with_input(arguments, b"")
}

/// Runs `scorebox` with these arguments, and this on its standard input, to its end.
pub fn run_with_input<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>, input: &[u8]) -> Ended {
    let mut command = scorebox();
    command.args(arguments).stdin(Stdio::piped());
    let mut process = Process::start(&mut command);
    if let Some(mut stdin) = process.child.stdin.take() {
        // A program that wants no input may be gone already.
        let _ = stdin.write_all(input);
    }
    process.wait(PATIENCE)
}

/// The processes that a process has started, and those that they have.
pub fn descendants(id: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let children: Vec<u32> =
        children.flat_map(|ids| ids.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect();
    let further: Vec<u32> = children.iter().flat_map(|child| descendants(*child)).collect();
    children.into_iter().chain(further).collect()
}

/// A figure of the memory of a process, `VmRSS` or `VmHWM` say, in bytes: none when the process has ended.
pub fn memory(id: u32, figure: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'))?;
    Some(kib.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// What a process has left behind.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// All that it wrote to its standard output.
    pub stdout: String,
    /// All that it wrote to its standard error.
    pub stderr: String,
}

/// A process, killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
}

/// What a process has written so far.
#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    stdout: Vec<String>,
    stderr: Vec<String>,
    open: usize,
}

#[derive(Debug, Clone, Copy)]
enum Stream {
    Stdout,
    Stderr,
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, source: impl Read, stream: Stream) {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while source.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned();
            line.clear();
            let mut lines = self.lock();
            match stream {
                Stream::Stdout => lines.stdout.push(text),
                Stream::Stderr => lines.stderr.push(text),
            }
            self.more.notify_all();
        }
        self.lock().open -= 1;
        self.more.notify_all();
    }
}

impl Process {
    /// Starts a process and reads what it writes.
    pub fn start(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let output = Arc::new(Output { lines: Mutex::new(Lines { open: 2, ..Lines::default() }), ..Output::default() });
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let stderr = child.stderr.take().expect("standard error is a pipe");
        let readers = vec![
            std::thread::spawn({
                let output = Arc::clone(&output);
                move || output.read(stdout, Stream::Stdout)
            }),
            std::thread::spawn({
                let output = Arc::clone(&output);
                move || output.read(stderr, Stream::Stderr)
            }),
        ];
        Self { child, output, readers }
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The lines of its standard output so far.
    pub fn stdout(&self) -> Vec<String> {
        self.output.lock().stdout.clone()
    }

    /// The lines of its standard error so far.
    pub fn stderr(&self) -> Vec<String> {
        self.output.lock().stderr.clone()
    }

    /// Waits for a line of its standard output, and returns it: none when its output ended or time is up before that.
    pub fn line(&self, limit: Duration, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let start = Instant::now();
        let mut seen = 0;
        let mut lines = self.output.lock();
        loop {
            if let Some(line) = lines.stdout[seen..].iter().find(|line| wanted(line)) {
                return Some(line.clone());
            }
            seen = lines.stdout.len();
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() || lines.open == 0 {
                return None;
            }
            lines = self.output.more.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("the process is ours").is_none()
    }

    /// Its exit code, if it has ended by itself.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.child.try_wait().expect("the process is ours").and_then(|status| status.code())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw).expect("a process has an id");
        kill_process(id, signal).expect("the process is ours and has not been waited for");
    }

    /// Ends it at once.
    pub fn kill(mut self) -> Ended {
        self.child.kill().expect("the process is ours");
        self.wait(PATIENCE)
    }

    /// Asks it to end. After `limit` it is killed, and so is all that it has started: it leads a group of processes.
    pub fn end(mut self, limit: Duration) {
        if self.runs() {
            self.signal(Signal::TERM);
            holds_within(limit, || !self.runs());
        }
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw).expect("a process has an id");
        // There may be nobody left.
        let _ = kill_process_group(id, Signal::KILL);
    }

    /// Waits for its end. Fails when it does not come within `limit`.
    #[track_caller]
    pub fn wait(mut self, limit: Duration) -> Ended {
        let start = Instant::now();
        while self.runs() {
            assert!(start.elapsed() < limit, "the process did not end within {limit:?}; {}", self.said());
            std::thread::sleep(Duration::from_millis(1));
        }
        let code = self.child.wait().expect("the process is ours").code();
        for reader in self.readers.drain(..) {
            reader.join().expect("reading does not fail");
        }
        let lines = self.output.lock();
        Ended { code, stdout: lines.stdout.join("\n"), stderr: lines.stderr.join("\n") }
    }

    /// The last of what it has written, for a message.
    pub fn said(&self) -> String {
        let lines = self.output.lock();
        let last = |lines: &[String]| lines[lines.len().saturating_sub(30)..].join("\n");
        format!("its standard output:\n{}\nits standard error:\n{}", last(&lines.stdout), last(&lines.stderr))
    }

    /// The time that it has computed for so far, in steps of 10 ms.
    pub fn cpu_time(&self) -> Duration {
        const TICK: Duration = Duration::from_millis(10);
        let path = format!("/proc/{}/stat", self.id());
        let stat = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        // The name of the program, in brackets, may have any characters; user and system time are the 12th and 13th
        // value after it.
        let (_, rest) = stat.rsplit_once(')').expect("the name is in brackets");
        let ticks: u32 = rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
        TICK * ticks
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
