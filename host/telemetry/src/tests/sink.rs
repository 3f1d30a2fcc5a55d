//! An endpoint on 127.0.0.1 that keeps what it is sent and answers as it is told.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// A request that came.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) at: Instant,
    pub(super) path: String,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    /// Decompressed.
    pub(super) body: Vec<u8>,
}

impl Received {
    /// The items of a batch for Application Insights.
    pub(super) fn items(&self) -> Vec<Value> {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// An answer: status, headers, body.
pub(super) struct Reply(pub(super) u16, pub(super) &'static str, pub(super) String);

/// What Application Insights answers when all is well.
pub(super) fn accepted() -> Reply {
    Reply(200, "", r#"{"itemsReceived":1,"itemsAccepted":1,"errors":[]}"#.to_owned())
}

type Handler = dyn Fn(usize, &Received) -> Reply + Send + Sync;

/// The endpoint. It goes away when it is dropped.
pub(super) struct Sink {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    received: Mutex<Vec<Received>>,
    changed: Condvar,
    handler: Box<Handler>,
    is_gone: AtomicBool,
}

impl Sink {
    pub(super) fn new() -> Self {
        Self::answering(|_, _| accepted())
    }

    /// The handler is told how many requests came before.
    pub(super) fn answering(handler: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), handler)
    }

    pub(super) fn at(address: SocketAddr, handler: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(address, None, handler)
    }

    /// An endpoint for `https`, for the name `localhost`.
    pub(super) fn with_tls(tls: ServerConfig) -> Self {
        Self::start("127.0.0.1:0".parse().unwrap(), Some(Arc::new(tls)), |_, _| accepted())
    }

    fn start(
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        handler: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            received: Mutex::default(),
            changed: Condvar::new(),
            handler: Box::new(handler),
            is_gone: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.is_gone.load(Ordering::SeqCst) {
                    break;
                }
                let shared = Arc::clone(&accepting);
                let tls = tls.clone();
                thread::spawn(move || match tls {
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
                        serve(StreamOwned::new(connection, stream?), &shared)
                    }
                    None => serve(stream?, &shared),
                });
            }
        });
        Self { address, shared }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has come so far.
    pub(super) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Waits until so many requests have come.
    pub(super) fn wait_for(&self, count: usize) -> Vec<Received> {
        let received = self.shared.received.lock().unwrap();
        let (received, timeout) = self
            .shared
            .changed
            .wait_timeout_while(received, Duration::from_secs(20), |received| received.len() < count)
            .unwrap();
        assert!(!timeout.timed_out(), "{} of {count} requests came", received.len());
        received.clone()
    }

    /// All items of all batches for Application Insights.
    pub(super) fn items(&self) -> Vec<Value> {
        self.received().iter().flat_map(Received::items).collect()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.is_gone.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts, which closes the port.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: impl io::Read + io::Write, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or_default();
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
        let mut plain = Vec::new();
        GzDecoder::new(&body[..]).read_to_end(&mut plain)?;
        body = plain;
    }
    let request = Received { at: Instant::now(), path, headers, body };
    let before = {
        let mut received = shared.received.lock().unwrap();
        received.push(request.clone());
        received.len() - 1
    };
    let Reply(status, headers, body) = (shared.handler)(before, &request);
    shared.changed.notify_all();
    let length = body.len();
    let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n");
    let stream = reader.get_mut();
    stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice())?;
    stream.flush()
}
