//! A server as a process of its own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

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

/// A server that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    port: u16,
    name: String,
}

impl Server {
    /// Starts a server whose command line `command` completes for a port.
    pub(crate) fn start(name: &str, output: Stdio, command: impl FnOnce(u16) -> Command) -> Result<Self> {
        Self::start_on(name, output, free_port()?, command)
    }

    /// The same, on a port that is given.
    pub(crate) fn start_on(name: &str, output: Stdio, port: u16, command: impl FnOnce(u16) -> Command) -> Result<Self> {
        let mut command = command(port);
        let child = command.stdin(Stdio::null()).stdout(output).stderr(Stdio::inherit()).spawn();
        let child = child.map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))?;
        Ok(Self { child, port, name: name.to_owned() })
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
        let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).ok()?;
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

    /// Milliseconds of CPU that the process has used, by its own code and by the kernel for it.
    pub(crate) fn cpu_millis(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field is the name in parentheses, which may have spaces.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>());
        let ticks = |index: usize| fields.as_ref()?.get(index)?.parse::<f64>().ok();
        match (ticks(11), ticks(12)) {
            (Some(user), Some(system)) => Ok((user + system) / TICKS_PER_SECOND * 1e3),
            _ => Err("the CPU times in /proc cannot be read".into()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
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
