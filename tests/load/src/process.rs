//! A server as a process of its own.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::{BODY, Result, example};

/// Ticks of the CPU times in `/proc` per second, on Linux the same everywhere.
const TICKS_PER_SECOND: f64 = 100.0;
/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it is asked meanwhile.
const POLL: Duration = Duration::from_micros(500);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// A server that runs until this is dropped. It leads a group, to which the processes belong that it starts.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    port: u16,
    name: String,
}

impl Server {
    /// Starts a server whose command line `command` completes for a port. What it writes goes to `log`; without one, errors go
    /// where this program's go.
    pub(crate) fn start(name: &str, log: Option<&File>, command: impl FnOnce(u16) -> Command) -> Result<Self> {
        Self::start_on(name, log, free_port()?, command)
    }

    /// The same, on a port that is given.
    pub(crate) fn start_on(
        name: &str,
        log: Option<&File>,
        port: u16,
        command: impl FnOnce(u16) -> Command,
    ) -> Result<Self> {
        let mut command = command(port);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        if let Some(log) = log {
            command.stdout(log.try_clone()?).stderr(log.try_clone()?);
        }
        let child = command.process_group(0).spawn();
        let child = child.map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))?;
        Ok(Self { child, port, name: name.to_owned() })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Where it scores.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/score", self.port)
    }

    /// Waits for the first answer with status 200.
    pub(crate) fn first_answer(&mut self) -> Result<Value> {
        let start = Instant::now();
        loop {
            if let Some(answer) = self.ask() {
                return Ok(answer);
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("{} ended with {status} before it answered", self.name).into());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("{} did not answer within {} s", self.name, PATIENCE.as_secs()).into());
            }
            thread::sleep(POLL);
        }
    }

    /// Asks for one score; `None` when there is no answer with status 200.
    fn ask(&self) -> Option<Value> {
        let mut stream = TcpStream::connect(self.address()).ok()?;
        stream.set_read_timeout(Some(ANSWER)).ok()?;
        let request = format!(
            "POST /score HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{BODY}",
            BODY.len()
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200").then(|| serde_json::from_str(body).ok()).flatten()
    }

    /// Milliseconds of CPU that the processes of its group have used, by their own code and by the kernel for them.
    pub(crate) fn cpu_millis(&self) -> Result<f64> {
        let group = self.child.id().to_string();
        let mut ticks = 0.0;
        for entry in fs::read_dir("/proc")? {
            // Others may end meanwhile.
            let Ok(stat) = fs::read_to_string(entry?.path().join("stat")) else { continue };
            // The second field is the name in parentheses, which may have spaces. After it: state, parent, group.
            let fields: Vec<_> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
            if fields.get(2) == Some(&group.as_str()) {
                // User and system time, of the process and of its children that have ended.
                ticks += fields[11..15].iter().filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>();
            }
        }
        Ok(ticks / TICKS_PER_SECOND * 1e3)
    }

    /// MiB of the process that are in memory: now, and the most since [`Self::forget_peak`].
    pub(crate) fn resident(&self) -> Result<[f64; 2]> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            kib.map(|kib| kib / 1024.0).ok_or_else(|| format!("{} has no {name}", self.name))
        };
        Ok([mib("VmRSS:")?, mib("VmHWM:")?])
    }

    /// Has the kernel look anew for the most that is in memory.
    pub(crate) fn forget_peak(&self) -> Result {
        Ok(fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended already.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// `scorebox serve examples/iris-rust` on the loopback interface.
pub(crate) fn scorebox(program: &Path, port: u16, cache: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("serve").arg(example()).args(["--address", "127.0.0.1", "--port", &port.to_string()]);
    command.arg("--cache-dir").arg(cache).env("SCOREBOX_ALLOW_ROOT", "true");
    command
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
