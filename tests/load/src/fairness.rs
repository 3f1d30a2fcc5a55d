//! What a tenant notices of another that offers a hundred times as much.
//!
//! Both have the same script, which computes for some milliseconds. One asks for little, always at the same rate; in every
//! other half of a round the other offers a hundred times that rate, several times what the machine can do. Ratios are
//! taken within a round.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use scorebox_tests::{Client, Request, fixtures};
use serde_json::{Value, json};

use crate::Result;
use crate::managed::{Addresses, Managed, archive, put, serving, upload};
use crate::stats::{median, range};

const ROUNDS: usize = 5;
/// How long each half of a round is.
const HALF: Duration = Duration::from_secs(8);
/// Requests in a second of the tenant that asks for little.
const RATE: f64 = 20.0;
/// How many times that the other offers.
const TIMES: f64 = 100.0;
/// Requests of the other that may run at the same time, and that may wait.
const PLACES: u32 = 8;
/// Connections of the other.
const CONNECTIONS: usize = 208;
/// What the 99th percentile may become, in times what it is alone.
const TARGET: f64 = 1.5;

/// A script that computes for some milliseconds.
const SCRIPT: &str = "\
def init():
    pass


def run(data):
    return sum(i * i for i in range(100000))
";

/// What became of requests.
#[derive(Debug, Default)]
struct Offered {
    sent: AtomicU64,
    answered: AtomicU64,
    refused: AtomicU64,
}

/// Measures, prints a table, and returns the raw figures.
pub(crate) fn measure() -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let server = Managed::start(folder.path())?;
    let addresses = server.addresses();
    let script = fixtures::folder(&[("score.py", SCRIPT)]);
    let bundle = upload(addresses, &archive(script.path())?)?;
    let request = |tenant: &str| -> Result<Request> {
        let key = serving(addresses, tenant, &bundle)?;
        Ok(Request::json("{}").to(&format!("/{tenant}/e/score")).header("authorization", format!("Bearer {key}")))
    };
    let (modest, greedy) = (request("modest")?, request("greedy")?);
    // What it offers beyond that is refused at once: so it can offer as much as it is to.
    put(addresses, "/tenants/greedy", &json!({"quotas": {"instances": PLACES, "waiting": PLACES}}))?;
    println!(
        "\nFairness: a tenant with {RATE} requests/s of some milliseconds, alone and beside one that offers {TIMES} times \
         that; median of {ROUNDS} rounds (lowest to highest)"
    );
    paced(addresses, &modest, HALF / 4)?;
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        eprintln!("  fairness: round {round} of {ROUNDS}");
        let alone = paced(addresses, &modest, HALF)?;
        let offered = Offered::default();
        let over = AtomicBool::new(false);
        let beside = thread::scope(|scope| {
            for number in 0..CONNECTIONS {
                let (offered, over, greedy) = (&offered, &over, &greedy);
                scope.spawn(move || offer(addresses, greedy, number, offered, over));
            }
            // The first requests of the other have to wait before there is anything to see.
            thread::sleep(Duration::from_millis(500));
            let beside = paced(addresses, &modest, HALF);
            over.store(true, Relaxed);
            beside
        })?;
        rounds.push(json!({
            "alone": alone,
            "beside": beside,
            "other": {
                "sent": offered.sent.load(Relaxed),
                "answered": offered.answered.load(Relaxed),
                "refused": offered.refused.load(Relaxed),
            },
        }));
    }
    print(&rounds);
    Ok(Value::Array(rounds))
}

/// Asks at the same rate for some time. Returns percentiles of how long answers took, in milliseconds.
fn paced(addresses: Addresses, request: &Request, time: Duration) -> Result<Value> {
    let mut client = Client::connect(addresses.scoring)?;
    let mut took = Vec::new();
    let start = Instant::now();
    let mut next = start;
    while start.elapsed() < time {
        next += Duration::from_secs_f64(1.0 / RATE);
        thread::sleep(next.saturating_duration_since(Instant::now()));
        // From when it was due: a request that is sent late because the one before took long has waited, too.
        let answer = client.send(request)?;
        if answer.status != 200 {
            return Err(format!("the tenant that asks for little was answered {answer:?}").into());
        }
        took.push(next.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_unstable_by(f64::total_cmp);
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    Ok(json!({"requests": took.len(), "p50_ms": at(50), "p99_ms": at(99)}))
}

/// Offers one connection's part of the other tenant's requests.
fn offer(addresses: Addresses, request: &Request, number: usize, offered: &Offered, over: &AtomicBool) {
    let pause = Duration::from_secs_f64(CONNECTIONS as f64 / (RATE * TIMES));
    let mut next = Instant::now() + pause.mul_f64(number as f64 / CONNECTIONS as f64);
    let Ok(mut client) = Client::connect(addresses.scoring) else { return };
    while !over.load(Relaxed) {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        // What it could not send while it waited is made up for, but not all of it at once.
        let earliest = Instant::now().checked_sub(pause * 4).unwrap_or(next);
        next = (next + pause).max(earliest);
        offered.sent.fetch_add(1, Relaxed);
        match client.send(request) {
            Ok(answer) if answer.status == 200 => offered.answered.fetch_add(1, Relaxed),
            Ok(_) => offered.refused.fetch_add(1, Relaxed),
            Err(_) => return,
        };
    }
}

fn print(rounds: &[Value]) {
    let number = |round: &Value, path: &str| round.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
    println!("| {:4} | {:>10} | {:>10} | {:>22} |", "", "alone ms", "beside ms", "beside/alone");
    println!("| {0:-<4} | {0:->9}: | {0:->9}: | {0:->21}: |", "");
    for percentile in ["p50", "p99"] {
        let of = |half: &str| -> Vec<f64> {
            rounds.iter().map(|round| number(round, &format!("/{half}/{percentile}_ms"))).collect()
        };
        let (alone, beside) = (of("alone"), of("beside"));
        let ratios: Vec<_> = alone.iter().zip(&beside).map(|(alone, beside)| beside / alone).collect();
        let (low, high) = range(ratios.iter().copied());
        let ratio = format!("{:.2} ({low:.2} to {high:.2})", median(ratios.iter().copied()));
        println!("| {percentile} | {:>10.2} | {:>10.2} | {ratio:>22} |", median(alone), median(beside));
    }
    let sent = median(rounds.iter().map(|round| number(round, "/other/sent"))) / HALF.as_secs_f64();
    let answered = median(rounds.iter().map(|round| number(round, "/other/answered"))) / HALF.as_secs_f64();
    println!(
        "The other offers {sent:.0} requests/s and gets {answered:.0} answers/s. Target: p99 {TARGET} times alone."
    );
}
