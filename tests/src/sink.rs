//! An endpoint for telemetry, which keeps what it is sent and answers as it is told to.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::wait::PATIENCE;

/// What a sink does with a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Answers with this status and body.
    Status(u16, String),
    /// Answers with 503 and this `Retry-After`.
    Busy(&'static str),
    /// Reads it, and never answers.
    Nothing,
}

impl Answer {
    /// An answer with a body of no meaning.
    pub fn status(status: u16) -> Self {
        Self::Status(status, "{}".to_owned())
    }
}

/// What has been posted.
#[derive(Debug, Clone)]
pub struct Post {
    /// Its target.
    pub path: String,
    /// The lines of its head, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
    /// What became of it.
    pub answer: Answer,
}

impl Post {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// The items of a post to Application Insights.
    #[track_caller]
    pub fn items(&self) -> Vec<Value> {
        match self.json() {
            Value::Array(items) => items,
            other => panic!("no array: {other}"),
        }
    }
}

#[derive(Debug)]
struct State {
    /// The next answers, then the last for ever.
    answers: Vec<Answer>,
    posts: Vec<Post>,
    ended: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An endpoint that listens. It ends when dropped.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Sink {
    /// One that takes everything.
    pub fn start() -> Self {
        Self::on(0)
    }

    /// One on this port.
    pub fn on(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
        let address = listener.local_addr().expect("the listener has an address");
        let state = State { answers: vec![Answer::status(200)], posts: Vec::new(), ended: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if of_thread.lock().ended {
                    return;
                }
                let shared = Arc::clone(&of_thread);
                if let Ok(stream) = stream {
                    // Whoever goes away in the middle of a post is no concern of the sink's.
                    std::thread::spawn(move || _ = serve(&shared, &stream));
                }
            }
        });
        Self { address, shared }
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers like this from now on: with each in turn, and with the last for ever.
    pub fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.lock().answers = answers.into_iter().collect();
    }

    /// All that has been posted so far.
    pub fn posts(&self) -> Vec<Post> {
        self.shared.lock().posts.clone()
    }

    /// The items for Application Insights that have been taken so far.
    #[track_caller]
    pub fn items(&self) -> Vec<Value> {
        let posts = self.posts();
        let taken = posts.iter().filter(|post| post.path == "/v2.1/track" && post.answer == Answer::status(200));
        taken.flat_map(Post::items).collect()
    }

    /// Waits until the posts are as they should be, and returns them.
    #[track_caller]
    pub fn wait(&self, what: &str, wanted: impl Fn(&[Post]) -> bool) -> Vec<Post> {
        let start = Instant::now();
        let mut state = self.shared.lock();
        while !wanted(&state.posts) {
            let left = PATIENCE.saturating_sub(start.elapsed());
            assert!(left > Duration::ZERO, "{what}: not within {PATIENCE:?}; {} posts came", state.posts.len());
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.posts.clone()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        // The thread that accepts looks up.
        let _ = TcpStream::connect(self.address);
    }
}

/// Takes the posts of a connection.
fn serve(shared: &Shared, stream: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some(path) = line.split(' ').nth(1).map(str::to_owned) else { return Ok(()) };
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.and_then(|(_, length)| length.parse().ok()).expect("a post says how long it is");
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut state = shared.lock();
        if state.ended {
            return Ok(());
        }
        let answer = state.answers[0].clone();
        if state.answers.len() > 1 {
            state.answers.remove(0);
        }
        state.posts.push(Post { path, headers, body, answer: answer.clone() });
        shared.changed.notify_all();
        let (status, headers, body) = match answer {
            Answer::Status(status, body) => (status, String::new(), body),
            Answer::Busy(delay) => (503, format!("retry-after: {delay}\r\n"), String::new()),
            Answer::Nothing => {
                let _ended = shared.changed.wait_while(state, |state| !state.ended);
                return Ok(());
            }
        };
        drop(state);
        let head = format!("HTTP/1.1 {status} Whatever\r\n{headers}content-length: {}\r\n\r\n", body.len());
        let mut stream = stream;
        stream.write_all((head + &body).as_bytes())?;
    }
}
