//! Attempts at what a confined process must not be able to do: for `scorebox doctor`, and for tests.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;

/// Something that an intruder would try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// To read a file that everybody can read.
    ReadOutside,
    /// To list the root folder.
    ListRoot,
    /// To write to the folder of temporary files.
    WriteTemporary,
    /// To connect to somebody.
    Connect,
    /// To listen on a port of its own choice.
    Listen,
    /// To send datagrams.
    Datagram,
    /// To start a program.
    Execute,
}

impl Attempt {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ReadOutside,
        Self::ListRoot,
        Self::WriteTemporary,
        Self::Connect,
        Self::Listen,
        Self::Datagram,
        Self::Execute,
    ];

    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOutside => "read-outside",
            Self::ListRoot => "list-root",
            Self::WriteTemporary => "write-temporary",
            Self::Connect => "connect",
            Self::Listen => "listen",
            Self::Datagram => "datagram",
            Self::Execute => "execute",
        }
    }
}

impl FromStr for Attempt {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|attempt| attempt.name() == name).ok_or_else(|| format!("{name:?} is no attempt"))
    }
}

/// Tries it. An error is what a confined process should get, unless it is ended.
pub fn attempt(what: Attempt) -> io::Result<()> {
    match what {
        Attempt::ReadOutside => fs::read("/etc/passwd").map(drop),
        Attempt::ListRoot => fs::read_dir("/").map(drop),
        Attempt::WriteTemporary => {
            let path = std::env::temp_dir().join(format!("scorebox-doctor-{}", std::process::id()));
            fs::write(&path, "written")?;
            fs::remove_file(path)
        }
        // Whether anybody listens there does not matter: to be refused by the other side is to have got there.
        Attempt::Connect => match TcpStream::connect(("127.0.0.1", 9)) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            result => result.map(drop),
        },
        Attempt::Listen => TcpListener::bind(("127.0.0.1", 0)).map(drop),
        Attempt::Datagram => UdpSocket::bind(("127.0.0.1", 0)).map(drop).or_else(|_| UnixDatagram::unbound().map(drop)),
        Attempt::Execute => Command::new(Path::new("/proc/self/exe")).arg("--version").output().map(drop),
    }
}
