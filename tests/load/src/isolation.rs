//! What isolation costs: a fresh instance for each request against one that is used again, for the same scorer.
//!
//! Both on a guest's thread, without the way to it. To use an instance again is what the sandbox is there to prevent: it is
//! only to be had through a function for tests and benchmarks.

use std::sync::{Arc, mpsc};
use std::time::Instant;

use scorebox_sandbox::{Bundle, Cache, Deployment, Limits, NoLog, Outcome, Phases, Request, Sandbox, SandboxConfig};
use scorebox_tests::fixtures;
use serde::Serialize;
use serde_json::{Value, json};

use crate::memory::request;
use crate::python::{self, faults};
use crate::stats::median;
use crate::{Result, example};

/// Requests of each kind in a round, unless they are large.
const REQUESTS: usize = 200;
/// Bytes of all bodies of a round.
const BYTES: usize = 4 << 20;
/// Rows in a request.
const ROWS: [usize; 3] = [1, 1000, 5000];
/// Numbers in a row of the model for the cost: an instance, a page that it dirtied, a kB of the body.
const TERMS: usize = 3;

/// What one request takes, in both ways.
#[derive(Debug, Clone, Serialize)]
struct Cost {
    scorer: &'static str,
    body_kb: f64,
    fresh_us: f64,
    /// Restored after the request. Zero where it is not known: the engine restores components.
    pages: f64,
    fresh_faults: f64,
    reused_us: f64,
    reused_faults: f64,
}

impl Cost {
    fn difference(&self) -> f64 {
        self.fresh_us - self.reused_us
    }

    fn terms(&self) -> [f64; TERMS] {
        [1.0, self.pages, self.body_kb]
    }
}

/// Measures, prints a table, and returns the raw figures.
pub(crate) fn measure(rounds: usize) -> Result<Value> {
    let sandbox = Sandbox::new(&SandboxConfig::default(), Some(Cache::open(python::cache(), u64::MAX)?))?;
    let scorers = [
        ("echo (Rust)", wasm(&sandbox, "echo", &Bundle::read(&fixtures::guest("echo"), None, u64::MAX)?)?),
        ("iris (Rust)", wasm(&sandbox, "iris", &Bundle::read(&example(), None, u64::MAX)?)?),
        ("sum (Python)", python::deploy(&sandbox, "sum", "sum")?),
        ("NumPy (Python)", python::deploy(&sandbox, "numpy_dot", "numpy_dot")?),
    ];
    let mut costs = Vec::new();
    for (name, deployment) in &scorers {
        eprintln!("  what isolation costs: {name}");
        for rows in ROWS {
            costs.push(cost(&sandbox, name, deployment, &body(rows), rounds)?);
        }
    }
    let model = fit(&costs).ok_or("the figures fit no model")?;
    print(&costs, model, rounds);
    Ok(json!({"costs": costs, "us_per_instance": model[0], "us_per_page": model[1], "us_per_kb": model[2]}))
}

fn wasm(sandbox: &Sandbox, name: &str, bundle: &Bundle) -> Result<Deployment> {
    let limits = Limits::default();
    let module = sandbox.seal(name, "1", bundle, &limits, Arc::new(NoLog), &|_| {})?;
    Ok(Deployment { name: name.to_owned(), version: "1".to_owned(), limits, module })
}

/// A body with so many rows.
fn body(rows: usize) -> String {
    json!({"data": vec![[5.1, 3.5, 1.4, 0.2]; rows]}).to_string()
}

/// Medians of the rounds' medians.
fn cost(sandbox: &Sandbox, scorer: &'static str, deployment: &Deployment, body: &str, rounds: usize) -> Result<Cost> {
    let request = Request { body: body.into(), ..request() };
    let times = REQUESTS.min(BYTES / body.len());
    let mut all = [const { Vec::new() }; 5];
    for round in 0..=rounds {
        let fresh = sandbox.measure(deployment, &request, times as u64, faults);
        let fresh = fresh.ok_or_else(|| format!("{scorer} gave no response"))?;
        let reused = reused(sandbox, deployment, &request, times)?;
        // The first is the warm-up.
        if round > 0 {
            all[0].push(median(fresh.iter().map(|phases| phases.total().as_secs_f64() * 1e6)));
            all[1].push(median(fresh.iter().map(|Phases { faults, .. }| *faults as f64)));
            all[2].push(median(reused.iter().map(|(micros, _)| *micros)));
            all[3].push(median(reused.iter().map(|(_, faults)| *faults)));
            all[4].push(median(fresh.iter().map(|Phases { pages_dirtied, .. }| *pages_dirtied as f64)));
        }
    }
    let [fresh_us, fresh_faults, reused_us, reused_faults, pages] = all.map(median);
    let body_kb = body.len() as f64 / 1e3;
    Ok(Cost { scorer, body_kb, fresh_us, pages, fresh_faults, reused_us, reused_faults })
}

/// Microseconds and page faults of requests in one instance, without the first half: there it still becomes warm.
fn reused(sandbox: &Sandbox, deployment: &Deployment, request: &Request, times: usize) -> Result<Vec<(f64, f64)>> {
    let (sender, receiver) = mpsc::channel();
    let mut before: Option<(Instant, u64)> = None;
    let after_each = move |outcome: Outcome| {
        let end = Instant::now();
        let faulted = faults();
        if !matches!(outcome, Outcome::Response(_)) {
            return;
        }
        if let Some((start, already)) = before {
            // It is received when all are done.
            let _ = sender.send(((end - start).as_secs_f64() * 1e6, (faulted - already) as f64));
        }
        drop(outcome);
        before = Some((Instant::now(), faulted));
    };
    sandbox.run_all_in_one_instance(deployment, vec![request.clone(); 2 * times + 1], Arc::new(NoLog), after_each);
    let all: Vec<_> = receiver.iter().collect();
    if all.len() == 2 * times { Ok(all[times..].to_vec()) } else { Err("an instance did not last".into()) }
}

/// The coefficients with which [`Cost::terms`] come closest to what fresh instances cost more, by least squares of the
/// errors relative to the whole: or else the slowest scorer would decide alone.
fn fit(costs: &[Cost]) -> Option<[f64; TERMS]> {
    // The normal equations, each with its right side at the end.
    let mut equations = [[0.0; TERMS + 1]; TERMS];
    for cost in costs {
        let weight = 1.0 / cost.fresh_us.powi(2);
        let terms = cost.terms();
        for (equation, own) in equations.iter_mut().zip(terms) {
            for (sum, term) in equation.iter_mut().zip(terms.into_iter().chain([cost.difference()])) {
                *sum += weight * own * term;
            }
        }
    }
    solve(equations)
}

/// Solves linear equations, by elimination; none where they have no single solution.
fn solve(mut equations: [[f64; TERMS + 1]; TERMS]) -> Option<[f64; TERMS]> {
    for column in 0..TERMS {
        let largest = (column..TERMS)
            .max_by(|&one, &other| equations[one][column].abs().total_cmp(&equations[other][column].abs()))?;
        equations.swap(column, largest);
        let pivot = equations[column].map(|value| value / equations[column][column]);
        if !pivot.iter().all(|value| value.is_finite()) {
            return None;
        }
        equations[column] = pivot;
        for (row, equation) in equations.iter_mut().enumerate() {
            if row != column {
                let factor = equation[column];
                for (value, pivot) in equation.iter_mut().zip(pivot) {
                    *value -= factor * pivot;
                }
            }
        }
    }
    Some(equations.map(|equation| equation[TERMS]))
}

fn print(costs: &[Cost], model: [f64; TERMS], rounds: usize) {
    println!(
        "\nWhat isolation costs: a fresh instance for each request, and one for all; us, medians of {rounds} rounds"
    );
    println!(
        "| scorer         | body kB | fresh us | reused us | cost us | of fresh | pages dirtied | faults, fresh | reused | model us |"
    );
    println!(
        "| -------------- | ------: | -------: | --------: | ------: | -------: | ------------: | ------------: | -----: | -------: |"
    );
    for cost in costs {
        let Cost { scorer, body_kb, fresh_us, pages, fresh_faults, reused_us, reused_faults } = cost;
        let difference = cost.difference();
        let predicted: f64 = cost.terms().iter().zip(model).map(|(term, coefficient)| term * coefficient).sum();
        println!(
            "| {scorer:14} | {body_kb:>7.2} | {fresh_us:>8.1} | {reused_us:>9.1} | {difference:>7.1} | {:>8.2} | {pages:>13} | \
             {fresh_faults:>13} | {reused_faults:>6} | {predicted:>8.1} |",
            difference / fresh_us
        );
    }
    let [instance, page, kb] = model;
    println!(
        "Fitted to this: {instance:.2} us an instance, {page:.3} us a page dirtied, \
         {kb:.3} us a kB of the body."
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_that_made_the_figures_is_found() {
        let costs = [(1.0, 10.0), (20.0, 15.0), (300.0, 400.0), (7.0, 250.0)].map(|(body_kb, pages)| {
            let reused_us = 5.0;
            let fresh_us = reused_us + 8.0 + 1.5 * pages + 0.25 * body_kb;
            Cost { scorer: "", body_kb, fresh_us, pages, fresh_faults: 0.0, reused_us, reused_faults: 0.0 }
        });
        for (found, expected) in fit(&costs).unwrap().into_iter().zip([8.0, 1.5, 0.25]) {
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        }
        assert!(fit(&[]).is_none());
    }
}
