//! Connections: accepting them, the limits on them, and their end.
//!
//! HTTP/1.1 with keep-alive, and HTTP/2 for clients that begin with it (h2c, prior knowledge). A connection on which no
//! request is being answered is watched: it is closed when the head of a request does not come in time, and when nothing
//! comes for long. So is one whose client does not take what it has asked for, or asks only to take that back.
//!
//! With TLS a connection begins with a handshake, which has to be over in the time for a head. Until then nothing of HTTP
//! is there, and a place is taken like any other.

mod accept;
mod activity;
mod http;
mod linger;
mod socket;

use std::time::Duration;

pub use self::accept::{Drained, serve};

/// Limits on connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Connections at the same time. More wait in the queue of the system. Default 4,096.
    pub max: usize,
    /// How long the head of a request may take, from its first byte. Default 10 s.
    pub head_timeout: Duration,
    /// How long a connection may be without a request. Default 75 s.
    pub idle_timeout: Duration,
    /// How long a client may keep the server waiting that has to take an answer; 16 KiB of it that are taken make up for a
    /// second of that. Default 30 s.
    pub write_timeout: Duration,
    /// How long requests are given to end when the server is told to. Default 30 s.
    pub grace: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max: 4096,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            grace: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    /// Both ends of a connection, the client's first.
    pub(super) async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }
}
