//! `scorebox serve`, or `azmlinfsrv`, as a process of its own.

use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::fixtures;
use crate::http::{Client, Request, Response};
use crate::process::{Ended, Process, hermetic};
use crate::wait::{PATIENCE, eventually};

/// A server that is about to be started.
#[derive(Debug, Clone)]
pub struct Serve {
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    wrapper: Vec<OsString>,
    cache: Option<PathBuf>,
    folder: Option<PathBuf>,
    is_azmlinfsrv: bool,
}

impl Serve {
    /// A server of this component or folder.
    pub fn new(scorer: impl AsRef<Path>) -> Self {
        Self::nothing().arg(scorer.as_ref())
    }

    /// A server that is not told what to serve.
    pub fn nothing() -> Self {
        Self {
            arguments: Vec::new(),
            environment: Vec::new(),
            wrapper: Vec::new(),
            cache: None,
            folder: None,
            is_azmlinfsrv: false,
        }
    }

    /// A server under the program's other name, which takes the command line of Azure ML's inference server. It runs in a
    /// folder without a configuration.
    pub fn azmlinfsrv() -> Self {
        Self { is_azmlinfsrv: true, ..Self::nothing() }
    }

    /// A server of a component of tests/guests.
    pub fn guest(name: &str) -> Self {
        Self::new(fixtures::guest(name))
    }

    /// A server of an example.
    pub fn example(name: &str) -> Self {
        Self::new(fixtures::example(name))
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// With more arguments, separated by spaces.
    #[must_use]
    pub fn args(mut self, arguments: &str) -> Self {
        self.arguments.extend(arguments.split(' ').map(OsString::from));
        self
    }

    /// With a variable in its environment, which has next to nothing else.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().into()));
        self
    }

    /// With this folder for its cache; else it shares one with the other servers that run in this test program.
    #[must_use]
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// Started in this folder.
    #[must_use]
    pub fn in_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Started by another program, whose arguments end with the server's command line and whose process becomes the
    /// server's: `taskset -c 0`.
    #[must_use]
    pub fn under<S: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        self.wrapper = wrapper.into_iter().map(|part| part.as_ref().to_owned()).collect();
        self
    }

    /// Starts it, without waiting for anything.
    pub fn spawn(&self, port: u16) -> (Process, Arc<TempDir>) {
        let shared = shared_folder();
        let cache = self.cache.clone().unwrap_or_else(|| shared.path().join("cache"));
        let mut line = self.wrapper.clone();
        if self.is_azmlinfsrv {
            line.push(shared.path().join("azmlinfsrv").into());
        } else {
            line.push(fixtures::binary().into());
            line.push("serve".into());
        }
        line.extend(["--port".into(), port.to_string().into()]);
        line.extend(self.arguments.iter().cloned());
        let mut command = hermetic(&line[0]);
        command.args(&line[1..]).env("SCOREBOX_ADDRESS", "127.0.0.1").env("SCOREBOX_CACHE_DIR", cache);
        command.envs(self.environment.iter().cloned());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        } else if self.is_azmlinfsrv {
            command.current_dir(shared.path());
        }
        (Process::start(&mut command), shared)
    }

    /// Starts it, and waits until it listens.
    #[track_caller]
    pub fn start(&self) -> Server {
        loop {
            let port = free_port();
            let (process, shared) = self.spawn(port);
            if process
                .line(PATIENCE, |line| {
                    ["http", "https"].iter().any(|scheme| line.contains(&format!("listening on {scheme}://127.0.0.1:")))
                })
                .is_some()
            {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                return Server { process, address, _shared: shared };
            }
            let said = process.said();
            // Somebody else may have taken the port in between.
            assert!(said.contains("Address already in use"), "the server does not listen; {said}");
        }
    }

    /// Starts it and waits for its end, which is to come by itself. Its port is taken all the time: a server that tried to
    /// listen before it saw why not to start would say so.
    pub fn refused(&self) -> Ended {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let port = listener.local_addr().expect("the listener has an address").port();
        let (process, _shared) = self.spawn(port);
        process.wait(PATIENCE)
    }
}

/// What all servers share: in `cache` the cache of those that do not ask for one, since most tests do not care who has
/// compiled their scorer, and as `azmlinfsrv` a link to the program. It goes when the last of them does.
fn shared_folder() -> Arc<TempDir> {
    static FOLDER: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());
    let mut shared = FOLDER.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder can be made"));
        let program = fixtures::binary().canonicalize().expect("the program is there");
        symlink(program, folder.path().join("azmlinfsrv")).expect("a temporary folder can be written to");
        *shared = Arc::downgrade(&folder);
        folder
    })
}

/// A port that nobody has, out of a range that the system gives to nobody who does not ask for it.
pub fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const PORTS: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes of several test runs begin at different places.
    let begin = u16::try_from(std::process::id() % 200).unwrap_or_default() * 100;
    loop {
        let port = FIRST + begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// A server that listens. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    address: SocketAddr,
    _shared: Arc<TempDir>,
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A new connection to it.
    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::connect(self.address).unwrap_or_else(|error| panic!("cannot connect: {error}; {}", self.process.said()))
    }

    /// Waits until it has read all that the client has sent.
    #[track_caller]
    pub fn reads_all_of(&self, client: &Client) {
        // The kernel's table of connections has addresses in hexadecimal, and the bytes that nobody has read yet.
        let end = |address: SocketAddr| format!("0100007F:{:04X}", address.port());
        let ends = [end(self.address), end(client.address())];
        eventually(PATIENCE, "the server reads", || {
            let table = std::fs::read_to_string("/proc/net/tcp").expect("the table of connections");
            table.lines().any(|line| {
                let fields: Vec<_> = line.split_whitespace().collect();
                fields.get(1..3) == Some(&[&*ends[0], &*ends[1]])
                    && fields.get(4).is_some_and(|queues| queues.ends_with(":00000000"))
            })
        });
    }

    /// Sends a request on a new connection, and reads the response.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        match self.connect().send(request) {
            Ok(response) => response,
            Err(error) => panic!("no response to {request:?}: {error}; {}", self.process.said()),
        }
    }

    /// Sends a GET request on a new connection.
    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.send(&Request::get(target))
    }

    /// Has JSON scored on a new connection.
    #[track_caller]
    pub fn score(&self, body: &str) -> Response {
        self.send(&Request::json(body))
    }

    /// Waits for a line of the log that has this text, and returns it.
    #[track_caller]
    pub fn logged(&self, text: &str) -> String {
        let line = self.process.line(PATIENCE, |line| line.contains(text));
        line.unwrap_or_else(|| panic!("the log has no {text:?}; {}", self.process.said()))
    }

    /// The lines of the log so far.
    pub fn log(&self) -> Vec<String> {
        self.process.stdout()
    }

    /// Tells it to end, and does not wait for that.
    pub fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(self, limit: Duration) -> Ended {
        self.process.wait(limit)
    }

    /// Tells it to end, and waits for that.
    #[track_caller]
    pub fn stop(self) -> Ended {
        self.terminate();
        self.wait(PATIENCE)
    }

    /// Ends it at once.
    pub fn kill(self) -> Ended {
        self.process.kill()
    }
}
