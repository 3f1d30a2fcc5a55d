//! `make conformance`: every case against the real server and against Scorebox, side by side.
//!
//! Its arguments are parts of the names of servers: it replays those alone.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the comparison is the output of this program")]

use std::fs;
use std::process::{Command, ExitCode};

use scorebox_conformance::cases::{self, Group, Setup};
use scorebox_conformance::differences::Differences;
use scorebox_conformance::replay::{Outcome, replay};
use scorebox_conformance::report::{self, PYTHON};
use scorebox_conformance::servers::Server;

fn main() -> ExitCode {
    let wanted: Vec<_> = std::env::args().skip(1).collect();
    let groups = cases::read();
    let differences = Differences::read();
    let (real, scorebox) = (Server::real(), Server::scorebox());
    println!("The real server runs with {}; the recordings were made with Python {PYTHON}.", python());

    let mut tally = Tally::default();
    for group in &groups {
        for setup in &group.servers {
            if wanted.is_empty() || wanted.iter().any(|part| setup.name.contains(part)) {
                let (real, scorebox) = replay_both(&real, &scorebox, group, setup);
                for (real, scorebox) in real.iter().zip(&scorebox) {
                    tally.add(&differences, real, scorebox);
                }
            }
        }
    }
    println!(
        "{} cases: {} the same, {} known differences, {} surprises",
        tally.all(),
        tally.same,
        tally.known,
        tally.new
    );
    let path = report::path();
    fs::write(&path, report::report(&groups, &differences)).expect("the report can be written");
    println!("{} is written.", path.display());
    if tally.new == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The version of Python that the environment of the real server is made with.
fn python() -> String {
    let version = Command::new("python3").arg("--version").output().expect("there is a Python");
    String::from_utf8_lossy(&version.stdout).trim().to_owned()
}

/// Replays a setup against both servers at the same time.
fn replay_both(real: &Server, scorebox: &Server, group: &Group, setup: &Setup) -> (Vec<Outcome>, Vec<Outcome>) {
    std::thread::scope(|scope| {
        let real = scope.spawn(|| replay(real, group, setup));
        let scorebox = replay(scorebox, group, setup);
        (real.join().expect("a replay ends"), scorebox)
    })
}

/// How many cases went which way.
#[derive(Default)]
struct Tally {
    same: usize,
    known: usize,
    new: usize,
}

impl Tally {
    fn all(&self) -> usize {
        self.same + self.known + self.new
    }

    /// Counts a case, and says what is not as it was recorded.
    fn add(&mut self, differences: &Differences, real: &Outcome, scorebox: &Outcome) {
        let name = &scorebox.name;
        let show = |title: &str, lines: &[String]| println!("{name}: {title}\n    {}", lines.join("\n    "));
        let known = differences.of(name);
        if !real.differences.is_empty() && real.differences == scorebox.differences {
            show("both servers differ from the recording in the same way", &real.differences);
            self.new += 1;
            return;
        }
        if !real.differences.is_empty() {
            show("the real server differs from the recording", &real.differences);
        }
        match (scorebox.differences.is_empty(), known) {
            (true, None) if real.differences.is_empty() => self.same += 1,
            (false, Some(known)) if real.differences.is_empty() => {
                show(
                    &format!("Scorebox differs, as is known ({}: {})", known.kind, known.reason),
                    &scorebox.differences,
                );
                self.known += 1;
            }
            (true, Some(_)) => {
                show("Scorebox does not differ any more, but a difference is listed", &[]);
                self.new += 1;
            }
            _ => {
                show("Scorebox differs", &scorebox.differences);
                self.new += 1;
            }
        }
    }
}
