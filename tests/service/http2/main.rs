//! HTTP/2 as RFC 9113 and RFC 7541 have it: what the server does with each frame that it should, or should not, be sent.
//!
//! The cases are those of h2spec, in its order. A case is what is sent, and what of it may come. Where the server does
//! something else, that is written down with its reason, and has to stay so until it is changed here.

mod exchange;
mod frames;
mod generic;
mod hpack;
mod messages;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use scorebox_tests::Serve;
use scorebox_tests::http2::{Connection, code, flag, frame, kind};

/// What can come of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The connection is ended with this code.
    GoAway(u32),
    /// A stream is ended with this code.
    Reset(u32),
    /// The connection is closed without a word.
    Closed,
    /// A request is answered to its end: whether with 200.
    Answered { ok: bool },
    /// A PING with this first byte is answered.
    Pong(u8),
    /// Settings are acknowledged.
    Acknowledged,
    /// A piece of a body of so many bytes comes.
    Data(usize),
}

pub(crate) use Outcome::{Acknowledged, Closed, Data, GoAway, Pong, Reset};

/// A request is answered with 200.
pub(crate) const ANSWERED: Outcome = Outcome::Answered { ok: true };
/// A request is refused.
pub(crate) const REFUSED: Outcome = Outcome::Answered { ok: false };

/// A case.
#[derive(Clone)]
pub(crate) struct Case {
    /// The section of the standard.
    pub(crate) section: &'static str,
    /// What is sent.
    pub(crate) name: &'static str,
    /// The settings with which the connection begins. None where `send` begins it.
    pub(crate) settings: Option<&'static [(u16, u32)]>,
    /// Sends it.
    pub(crate) send: fn(&mut Peer),
    /// What may come of it.
    pub(crate) expected: &'static [Outcome],
}

/// A case on a connection with settings of no interest.
pub(crate) const fn case(
    section: &'static str,
    name: &'static str,
    send: fn(&mut Peer),
    expected: &'static [Outcome],
) -> Case {
    Case { section, name, settings: Some(&[]), send, expected }
}

/// The connection is ended, which is what matters.
const UNSPECIFIC: &str = "the library says PROTOCOL_ERROR where the standard has a code that says more";

/// What the server does that the standard, as h2spec reads it, does not allow: section and name of the case, what comes of
/// it, and why.
const DEVIATIONS: &[(&str, &str, Outcome, &str)] = &[
    (
        "3.4",
        "a preface without settings",
        Pong(0),
        "the library takes SETTINGS whenever they come; the limits on the connection hold without them",
    ),
    ("4.3", "a block that cannot be decoded", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("5.1", "DATA on a half-closed stream", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("5.1", "HEADERS after RST_STREAM", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("5.1", "HEADERS on a closed stream", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("5.1", "HEADERS on a half-closed stream", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("5.1", "trailers on a half-closed stream", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("5.4.1", "a frame of a wrong size, and GOAWAY says so", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("6.1", "DATA on a stream that is not open", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("6.3", "PRIORITY of a wrong size", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("6.4", "RST_STREAM of a wrong size", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("6.5", "SETTINGS of a wrong size", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("6.5", "SETTINGS that acknowledge and say something", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("6.5.2", "INITIAL_WINDOW_SIZE over the greatest", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("6.7", "PING of a wrong size", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("6.9", "WINDOW_UPDATE of a wrong size", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    (
        "8.2.1",
        "a value that begins with a space",
        ANSWERED,
        "the library leaves the space there; a scorer gets the value as it was sent",
    ),
    ("8.3", "a first header in trailers", ANSWERED, "trailers are not looked at at all"),
    ("8.5", "CONNECT without an authority", Reset(code::NO_ERROR), "it is answered with 405, as every CONNECT is"),
    ("HPACK 2.3.3", "a name at a place that no table has", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("HPACK 2.3.3", "a place that no table has", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("HPACK 4.2", "a table that is made smaller at the end of a block", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("HPACK 5.1", "a number that is too large", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("HPACK 5.2", "padding of a coded string that is longer than seven bits", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("HPACK 5.2", "padding of a coded string that is not all ones", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("HPACK 5.2", "the end of strings in a coded string", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("HPACK 6.1", "place 0", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
    ("HPACK 6.3", "a table that is larger than it may be", GoAway(code::PROTOCOL_ERROR), UNSPECIFIC),
];

/// Our end of a connection.
pub(crate) struct Peer {
    connection: Connection,
    /// What has come and has not been asked for.
    seen: Vec<Outcome>,
    ended: bool,
    /// Streams whose answers have begun, and whether with 200.
    statuses: Vec<(u32, bool)>,
}

impl Peer {
    /// Sends bytes. That the server has closed the connection meanwhile shows when it is read.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.connection.send(bytes);
    }

    /// Sends a PING, to see that the connection is alive.
    pub(crate) fn ping(&mut self, first: u8) {
        self.send(&frame(kind::PING, flag::NONE, 0, &[first, 0, 0, 0, 0, 0, 0, 0]));
    }

    /// Waits until one of these comes, and forgets what came before.
    pub(crate) fn expect(&mut self, outcomes: &[Outcome]) {
        let come = self.wait(outcomes);
        assert!(come.is_some_and(|outcome| outcomes.contains(&outcome)), "{come:?} came instead of {outcomes:?}");
    }

    /// Waits until one of these comes, or the connection ends.
    fn wait(&mut self, outcomes: &[Outcome]) -> Option<Outcome> {
        // As long as that only for what does not come.
        let end = Instant::now() + Duration::from_secs(2);
        let mut last = None;
        loop {
            let mut seen = std::mem::take(&mut self.seen).into_iter();
            while let Some(outcome) = seen.next() {
                // An end with another code than expected is not made good by the close that follows.
                if outcomes.contains(&outcome) || matches!(outcome, GoAway(_) | Reset(_)) {
                    self.seen = seen.collect();
                    return Some(outcome);
                }
                last = Some(outcome);
            }
            if self.ended {
                return last;
            }
            match self.connection.read(end.saturating_duration_since(Instant::now())) {
                Ok(Some(frame)) => self.note(&frame),
                Ok(None) => {
                    self.ended = true;
                    self.seen.push(Closed);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return last,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn note(&mut self, frame: &scorebox_tests::http2::Frame) {
        let ends = frame.flags & flag::END_STREAM != 0;
        match frame.kind {
            kind::GOAWAY => {
                // The library says that it ends the connection, and then why.
                self.seen.push(GoAway(frame.code().expect("GOAWAY has a code")));
            }
            kind::RST_STREAM => self.seen.push(Reset(frame.code().expect("RST_STREAM has a code"))),
            kind::HEADERS => {
                // `:status` comes first, and 200 has a place of its own in the table.
                let ok = frame.payload.first() == Some(&0x88);
                self.statuses.push((frame.stream, ok));
                if ends {
                    self.seen.push(Outcome::Answered { ok });
                }
            }
            kind::DATA => {
                self.seen.push(Data(frame.payload.len()));
                if ends {
                    let ok = self.statuses.iter().any(|(stream, ok)| *stream == frame.stream && *ok);
                    self.seen.push(Outcome::Answered { ok });
                }
            }
            kind::PING if frame.flags & flag::ACK != 0 => self.seen.push(Pong(frame.payload[0])),
            kind::SETTINGS if frame.flags & flag::ACK != 0 => self.seen.push(Acknowledged),
            kind::SETTINGS => self.send(&scorebox_tests::http2::frame(kind::SETTINGS, flag::ACK, 0, &[])),
            _ => {}
        }
    }
}

/// What comes of a case.
fn outcome(server: SocketAddr, case: &Case) -> Option<Outcome> {
    let connection = match case.settings {
        Some(settings) => Connection::open(server, settings),
        None => Connection::connect(server),
    };
    let connection = connection.expect("the server listens");
    let mut peer = Peer { connection, seen: Vec::new(), ended: false, statuses: Vec::new() };
    (case.send)(&mut peer);
    peer.wait(case.expected)
}

#[test]
fn the_server_does_what_the_standard_says_but_for_what_is_written_down() {
    let server = Serve::guest("echo").args("--head-timeout 1500ms").start();
    let cases: Vec<_> = [generic::CASES, exchange::CASES, frames::CASES, messages::CASES, hpack::CASES].concat();
    let next = AtomicUsize::new(0);
    // Some cases wait for what does not come.
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    std::iter::from_fn(|| {
                        let case = cases.get(next.fetch_add(1, Ordering::Relaxed))?;
                        Some((case, outcome(server.address(), case)))
                    })
                    .collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a case does not fail by itself")).collect()
    });
    let mut wrong = Vec::new();
    let mut conforming = 0;
    for (case, outcome) in outcomes {
        let is_expected = outcome.is_some_and(|outcome| case.expected.contains(&outcome));
        let known = DEVIATIONS.iter().find(|(section, name, ..)| (*section, *name) == (case.section, case.name));
        let what = format!("{} {}: {outcome:?}, where it may be {:?}", case.section, case.name, case.expected);
        match known {
            None if is_expected => conforming += 1,
            Some((_, _, deviation, _)) if !is_expected && outcome == Some(*deviation) => {}
            _ => wrong.push(format!("{what}; written down is {known:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{conforming} of {} cases are as the standard has them", cases.len());
    assert_eq!((conforming, DEVIATIONS.len(), cases.len()), (145, 28, 173), "as many as the specification says");
    assert_eq!(server.get("/livez").status, 200);
}
