//! A server that is soaked.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use scorebox_tests::server::free_port;
use scorebox_tests::{Client, Request, fixtures};

use crate::Result;
use crate::sample::Sample;

/// How long a server may take until it answers, and until it has ended.
const PATIENCE: Duration = Duration::from_mins(1);
/// Lines of the log that are kept for a message.
const KEPT: usize = 20;
/// How long connections may be without a request: so they are gone soon after the traffic.
const IDLE: &str = "3s";

/// A server that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    log: Arc<Log>,
}

/// What it has logged: not kept, or this program would be what grows.
#[derive(Debug, Default)]
struct Log {
    lines: AtomicU64,
    last: Mutex<VecDeque<String>>,
}

impl Log {
    fn read(&self, output: impl Read) {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            self.lines.fetch_add(1, Relaxed);
            line.truncate(400);
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
            if last.len() > KEPT {
                last.pop_front();
            }
            line.clear();
        }
    }
}

impl Server {
    /// Starts a server, and waits until it is ready.
    pub(crate) fn start(name: &str, scorer: &Path, cache: &Path, arguments: &[&str]) -> Result<Self> {
        let port = free_port();
        let mut command = Command::new(fixtures::binary());
        command.arg("serve").arg(scorer).args(["--address", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--idle-timeout", IDLE, "--head-timeout", "2s", "--body-timeout", "2s"]).args(arguments);
        command.arg("--cache-dir").arg(cache).env("SCOREBOX_ALLOW_ROOT", "true");
        if let Some(folder) = scorer.parent() {
            // What a script can import is what is in the folder where the server is started.
            command.current_dir(folder);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        let log = Arc::new(Log::default());
        if let Some(stdout) = child.stdout.take() {
            let log = Arc::clone(&log);
            thread::spawn(move || log.read(stdout));
        }
        let mut server = Self { child, address: (Ipv4Addr::LOCALHOST, port).into(), log };
        let start = Instant::now();
        while !server.is_ready() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("{name} ended with {status} before it was ready: {}", server.said()).into());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("{name} was not ready within {PATIENCE:?}: {}", server.said()).into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    fn is_ready(&self) -> bool {
        let answer = Client::connect(self.address).and_then(|mut client| client.send(&Request::get("/readyz")));
        answer.is_ok_and(|answer| answer.status == 200)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has the scorer read again.
    pub(crate) fn reload(&self) -> Result {
        signal(self.child.id(), "HUP")
    }

    pub(crate) fn sample(&self, since: Instant) -> Result<Sample> {
        Sample::of(self.child.id(), since).map_err(|error| format!("{error}: {}", self.said()).into())
    }

    /// A sample when the traffic is over: as soon as `wanted` is true of it, or when that has not come for long.
    pub(crate) fn at_rest(&self, wanted: impl Fn(&Sample) -> bool) -> Result<Sample> {
        // Connections close when they are idle for some seconds, and tokio's threads for blocking work end after ten.
        const REST: Duration = Duration::from_secs(20);
        let since = Instant::now();
        loop {
            let sample = self.sample(since)?;
            if wanted(&sample) || since.elapsed() > REST {
                return Ok(sample);
            }
            thread::sleep(Duration::from_millis(250));
        }
    }

    pub(crate) fn log_lines(&self) -> u64 {
        self.log.lines.load(Relaxed)
    }

    /// Tells it to end, which has to be an orderly end.
    pub(crate) fn stop(mut self) -> Result {
        signal(self.child.id(), "TERM")?;
        let start = Instant::now();
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("it ended with {status}: {}", self.said()).into()),
                None if start.elapsed() > PATIENCE => return Err("it did not end when it was told to".into()),
                None => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    fn said(&self) -> String {
        let last = self.log.last.lock().unwrap_or_else(PoisonError::into_inner);
        format!("the end of its log is\n{}", last.iter().map(String::as_str).collect::<Vec<_>>().join("\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(process: u32, name: &str) -> Result {
    let status = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status()?;
    if status.success() { Ok(()) } else { Err("the server is gone".into()) }
}
