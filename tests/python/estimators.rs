//! What scikit-learn has learned natively, it predicts in the sandbox.

use std::fs;
use std::process::Command;

use scorebox_tests::python::{environment, kept, make_once, serve_source, source, succeed};
use scorebox_tests::{Client, Request};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What a number may be off by, relative to itself.
const TOLERANCE: f64 = 1e-9;
/// How many estimators are to be compared at least.
const ENOUGH: usize = 32;
/// What a number may be off by, relative to the largest of the same answer: it may be next to nothing by comparison.
const NEXT_TO_NOTHING: f64 = 1e-12;
/// The same for answers that were computed with 32 bits.
const SINGLE: f64 = 1e-6;

/// An estimator, and what it answered to some rows where it was trained.
#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    class: String,
    file: String,
    input: Value,
    /// By method.
    expected: Map<String, Value>,
    /// Whether it computes with 32 bits.
    single: bool,
}

#[test]
fn every_estimator_that_was_trained_on_another_machine_predicts_what_it_predicts_there() {
    let folder = kept("estimators");
    let (train, lock) = (source("estimators/train.py"), source("estimators/requirements.lock"));
    let programs = environment("estimators");
    make_once(&folder, &[&train, &lock], || {
        succeed(Command::new(programs.join("python")).arg(&train).arg(&folder));
    });
    let cases = fs::read(folder.join("cases.json")).expect("train.py has written the cases");
    let cases: Vec<Case> = serde_json::from_slice(&cases).expect("train.py writes cases");

    let server = serve_source("estimators/score.py").arg("--model_dir").arg(folder.join("model")).start();
    let mut client = server.connect();
    let mut wrong = Vec::new();
    println!("{:<36}{:<34}{:>8}{:>12}", "estimator", "class", "values", "off by");
    for case in &cases {
        match predict(&mut client, case) {
            Ok((numbers, largest)) => println!("{:<36}{:<34}{numbers:>8}{largest:>12.1e}", case.name, case.class),
            Err(reason) => wrong.push(format!("{} ({}): {reason}", case.name, case.class)),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}\n{}", wrong.len(), cases.len(), wrong.join("\n"), server.process().said());
    assert!(cases.len() >= ENOUGH, "{} estimators", cases.len());
}

/// Asks for all answers of an estimator: how many numbers they have, and by how much of the largest of them one is off at most.
fn predict(client: &mut Client, case: &Case) -> Result<(usize, f64), String> {
    let methods: Vec<_> = case.expected.keys().collect();
    let request = json!({"file": case.file, "input": case.input, "methods": methods});
    let response = client.send(&Request::json(request.to_string())).map_err(|error| error.to_string())?;
    if response.status != 200 {
        return Err(format!("status {}", response.status));
    }
    let (mut count, mut largest) = (0, 0.0_f64);
    for (method, expected) in &case.expected {
        let answer = &response.json()[method];
        let (mut pairs, mut labels) = (Vec::new(), 0);
        pair(answer, expected, &mut pairs, &mut labels).map_err(|reason| format!("{method}: {reason}"))?;
        let scale = pairs.iter().map(|(_, expected)| expected.abs()).fold(0.0, f64::max);
        for (actual, expected) in &pairs {
            let off = (actual - expected).abs();
            let allowed =
                if case.single { SINGLE * scale } else { TOLERANCE * expected.abs() + NEXT_TO_NOTHING * scale };
            if off > allowed {
                return Err(format!("{method}: {actual} instead of {expected}"));
            }
            if off > 0.0 {
                largest = largest.max(off / scale);
            }
        }
        count += pairs.len() + labels;
    }
    Ok((count, largest))
}

/// Pairs the numbers of two answers of the same shape, and checks that everything else is the same.
fn pair(actual: &Value, expected: &Value, pairs: &mut Vec<(f64, f64)>, labels: &mut usize) -> Result<(), String> {
    match (actual, expected) {
        (Value::Array(actual), Value::Array(expected)) if actual.len() == expected.len() => {
            actual.iter().zip(expected).try_for_each(|(actual, expected)| pair(actual, expected, pairs, labels))
        }
        (Value::Number(actual), Value::Number(expected)) => {
            let number = |number: &serde_json::Number| number.as_f64().expect("JSON has no other numbers");
            pairs.push((number(actual), number(expected)));
            Ok(())
        }
        _ if actual == expected => {
            *labels += 1;
            Ok(())
        }
        _ => Err(format!("{actual} instead of {expected}")),
    }
}
