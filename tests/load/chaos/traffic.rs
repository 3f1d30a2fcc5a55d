//! Clients: they know whose answers they may get.

use std::ops::AddAssign;
use std::thread;
use std::time::{Duration, Instant};

use scorebox_tests::random::Random;
use scorebox_tests::{Client, Request, Response};
use serde::Serialize;

use crate::State;
use crate::managed::Addresses;
use crate::operator::Board;

/// Clients at the same time.
pub(crate) const CLIENTS: u64 = 8;
/// One request in so many shows the key of another tenant.
const FOREIGN: u64 = 10;

/// What has become of requests.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Count {
    /// Answered, by the tenant that was asked.
    answered: u64,
    /// With another tenant's key, and answered as if there were no such endpoint.
    foreign: u64,
    /// Broken off by a kill.
    cut: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.answered += other.answered;
        self.foreign += other.foreign;
        self.cut += other.cut;
    }
}

/// Sends requests until all is over.
pub(crate) fn run(number: u64, addresses: Addresses, boards: &[Board], rate: f64, seed: u64, state: &State) -> Count {
    let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9).wrapping_add(number));
    let mut count = Count::default();
    let mut client = None;
    let mut next = Instant::now();
    let any = |random: &mut Random| usize::try_from(random.number() % boards.len() as u64).expect("an index");
    while !state.is_over() {
        next += Duration::from_secs_f64(1.0 / rate);
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let epoch = state.up();
        // What was missed while the server was down is not made up for.
        next = next.max(Instant::now());
        let (asked, shown) = (any(&mut random), any(&mut random));
        let shown = if random.number().is_multiple_of(FOREIGN) { shown } else { asked };
        let board = &boards[asked];
        let nonce = format!("{:016x}", random.number());
        let request = Request::json(format!("{{\"nonce\": \"{nonce}\"}}"))
            .to(&format!("/{}/endpoint/score", board.tenant))
            .header("authorization", format!("Bearer {}", boards[shown].key));
        let sent = match &mut client {
            Some((since, client)) if *since == epoch => Client::send(client, &request),
            // The connections of a server that was killed are gone.
            _ => Client::connect(addresses.scoring).and_then(|new| client.insert((epoch, new)).1.send(&request)),
        };
        match sent {
            Ok(answer) if shown != asked => {
                count.foreign += 1;
                if answer.status != 404 {
                    state
                        .complain(format!("the key of {} got from {}: {answer:?}", boards[shown].tenant, board.tenant));
                }
            }
            Ok(answer) => {
                count.answered += 1;
                if let Some(wrong) = wrong(&answer, &board.tenant, &nonce) {
                    state.complain(format!("{wrong} for {}: {answer:?}", board.tenant));
                }
            }
            Err(error) => {
                client = None;
                count.cut += 1;
                if !state.was_killed_since(epoch) {
                    state.complain(format!("no answer for {}, and no kill has cut it: {error}", board.tenant));
                }
            }
        }
    }
    count
}

/// What is wrong with an answer, if anything is.
fn wrong(answer: &Response, tenant: &str, nonce: &str) -> Option<&'static str> {
    if answer.status != 200 {
        return Some("an error");
    }
    let json = answer.json();
    let version = json["deployment"]["version"].as_str().or(json["version"].as_str()).unwrap_or_default();
    if version.split('.').next() != Some(tenant) {
        return Some("an answer of another tenant's scorer");
    }
    (!json["body"].as_str().is_some_and(|body| body.contains(nonce))).then_some("an answer to another request")
}
