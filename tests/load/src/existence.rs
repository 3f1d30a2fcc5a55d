//! Whether time says what the text does not: that an endpoint of another tenant exists.
//!
//! With the key of one tenant, requests go in turns to an endpoint of another tenant and to one that does not exist. The
//! medians of each round are compared.

use std::time::Instant;

use scorebox_tests::{Client, Request, fixtures};
use serde_json::{Value, json};

use crate::Result;
use crate::managed::{Managed, serving, upload};
use crate::stats::{median, range};

const ROUNDS: usize = 7;
/// Requests of each kind in a round.
const REQUESTS: usize = 2000;

/// Measures, prints what was seen, and returns the raw figures.
pub(crate) fn measure() -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let server = Managed::start(folder.path())?;
    let addresses = server.addresses();
    let bundle = upload(addresses, &std::fs::read(fixtures::guest("echo"))?)?;
    let mut keys = Vec::new();
    for tenant in ["one", "other"] {
        keys.push(serving(addresses, tenant, &bundle)?);
    }
    let to = |path: &str| {
        let request = Request::json("{}").to(&format!("/{path}/score"));
        request.header("authorization", format!("Bearer {}", keys[0]))
    };
    // Of the same length, so that no byte more is read.
    let asked = [("another tenant's", to("other/e")), ("not there", to("nobdy/e"))];
    let mut client = Client::connect(addresses.scoring)?;
    let mut rounds = Vec::new();
    for _ in 0..=ROUNDS {
        let mut took = [const { Vec::new() }; 2];
        for _ in 0..REQUESTS {
            for ((_, request), took) in asked.iter().zip(&mut took) {
                let start = Instant::now();
                let answer = client.send(request)?;
                took.push(start.elapsed().as_secs_f64() * 1e6);
                if answer.status != 404 {
                    return Err(format!("it was answered {answer:?}").into());
                }
            }
        }
        rounds.push(took.map(median));
    }
    // The first is the warm-up.
    rounds.remove(0);
    let ratios: Vec<_> = rounds.iter().map(|[other, nothing]| other / nothing).collect();
    let (low, high) = range(ratios.iter().copied());
    println!(
        "\nAn endpoint of another tenant's is answered in {:.1} us, one that is not there in {:.1} us: {:.3} times as \
         long ({low:.3} to {high:.3}); medians of {REQUESTS} requests in turns, {ROUNDS} rounds",
        median(rounds.iter().map(|[other, _]| *other)),
        median(rounds.iter().map(|[_, nothing]| *nothing)),
        median(ratios.iter().copied()),
    );
    Ok(json!(rounds))
}
