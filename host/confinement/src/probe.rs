//! Attempts at what a confined process must not be able to do: for `scorebox doctor`, and for tests.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;

use rustix::net::{self, AddressFamily, SendFlags, SocketType};

use crate::Profile;

/// An address where hardly anybody listens.
const NOBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
/// `MSG_FASTOPEN`: to connect with what is sent.
const FAST_OPEN: u32 = 0x2000_0000;

/// Something that an intruder would try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// To read a file that everybody can read.
    ReadOutside,
    /// To list the root folder.
    ListRoot,
    /// To write to the folder of temporary files.
    WriteTemporary,
    /// To write to a file that the process may read.
    WriteReadable,
    /// To make a file in a folder that the process may read.
    CreateInReadable,
    /// To remove a file that the process may read.
    RemoveReadable,
    /// To connect to somebody.
    Connect,
    /// To connect by sending, which is another system call: TCP Fast Open.
    FastOpen,
    /// To listen on a port of its own choice.
    Listen,
    /// To listen by another protocol than TCP, which Landlock does not look at: Multipath TCP.
    Multipath,
    /// To send datagrams.
    Datagram,
    /// To start a program.
    Execute,
}

impl Attempt {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::ReadOutside,
        Self::ListRoot,
        Self::WriteTemporary,
        Self::WriteReadable,
        Self::CreateInReadable,
        Self::RemoveReadable,
        Self::Connect,
        Self::FastOpen,
        Self::Listen,
        Self::Multipath,
        Self::Datagram,
        Self::Execute,
    ];

    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOutside => "read-outside",
            Self::ListRoot => "list-root",
            Self::WriteTemporary => "write-temporary",
            Self::WriteReadable => "write-readable",
            Self::CreateInReadable => "create-in-readable",
            Self::RemoveReadable => "remove-readable",
            Self::Connect => "connect",
            Self::FastOpen => "fast-open",
            Self::Listen => "listen",
            Self::Multipath => "multipath",
            Self::Datagram => "datagram",
            Self::Execute => "execute",
        }
    }

    /// Whether it is about a file that the process may read.
    pub fn is_of_a_file(self) -> bool {
        matches!(self, Self::WriteReadable | Self::CreateInReadable | Self::RemoveReadable)
    }

    /// Whether a process of this kind must not be able to do it: only the sealer starts programs, and only this one.
    pub fn is_refused_to(self, profile: Profile) -> bool {
        !(self == Self::Execute && profile == Profile::Sealer)
    }
}

impl FromStr for Attempt {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|attempt| attempt.name() == name).ok_or_else(|| format!("{name:?} is no attempt"))
    }
}

/// Tries it. `readable` is a file in a folder that the process may read, and `Ok` means that it could be done. An error is
/// what a confined process should get, unless it is ended.
pub fn attempt(what: Attempt, readable: &Path) -> io::Result<()> {
    let beside = |ending: &str| {
        let mut path = OsString::from(readable);
        path.push(ending);
        path
    };
    match what {
        Attempt::ReadOutside => fs::read("/etc/passwd").map(drop),
        Attempt::ListRoot => fs::read_dir("/").map(drop),
        Attempt::WriteTemporary => {
            let path = std::env::temp_dir().join(format!("scorebox-doctor-{}", std::process::id()));
            fs::write(&path, "written")?;
            fs::remove_file(path)
        }
        Attempt::WriteReadable => OpenOptions::new().append(true).open(readable).map(drop),
        Attempt::CreateInReadable => fs::write(beside(".new"), "written"),
        Attempt::RemoveReadable => fs::remove_file(readable),
        Attempt::Connect => refused_by_others_is_done(TcpStream::connect(NOBODY).map(drop)),
        Attempt::FastOpen => {
            let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
            let sent = net::sendto(&socket, b"sent", SendFlags::from_bits_retain(FAST_OPEN), &NOBODY);
            refused_by_others_is_done(sent.map(drop).map_err(io::Error::from))
        }
        Attempt::Listen => TcpListener::bind(("127.0.0.1", 0)).map(drop),
        Attempt::Multipath => {
            let socket = net::socket(AddressFamily::INET, SocketType::STREAM, Some(net::ipproto::MPTCP))?;
            Ok(net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?)
        }
        Attempt::Datagram => UdpSocket::bind(("127.0.0.1", 0)).map(drop).or_else(|_| UnixDatagram::unbound().map(drop)),
        Attempt::Execute => Command::new(Path::new("/proc/self/exe")).arg("--version").output().map(drop),
    }
}

/// Whether anybody listens there does not matter: to be refused by the other side is to have got there.
fn refused_by_others_is_done(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        result => result,
    }
}
