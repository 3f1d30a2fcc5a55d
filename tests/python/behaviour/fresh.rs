//! A snapshot is the same for all requests, and what they draw from it is not.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::{answer, start};

const REQUESTS: usize = 50;

#[test]
fn random_numbers_ids_and_time_are_fresh_and_all_else_is_as_after_init() {
    let server = start("fresh");
    let answers: Vec<_> = (0..REQUESTS).map(|request| answer(&server, &json!({ "request": request }))).collect();
    for source in answers[0]["fresh"].as_object().expect("what was drawn").keys() {
        let drawn: HashSet<_> = answers.iter().map(|answer| answer["fresh"][source].to_string()).collect();
        assert_eq!(drawn.len(), REQUESTS, "{source} repeats itself: {drawn:?}");
    }
    for answer in &answers {
        assert_eq!(answer["same"], answers[0]["same"]);
        assert_eq!((&answer["same"]["requests"], &answer["same"]["secret"]), (&json!(1), &json!(true)));
    }
}

#[test]
fn no_clock_goes_back_after_init_and_all_have_the_steps_of_the_host() {
    let server = start("fresh");
    for _ in 0..3 {
        let answer = answer(&server, &json!({}));
        for clock in answer["since_init"].as_array().expect("one for each clock") {
            let nanoseconds = clock.as_i64().expect("nanoseconds");
            assert!(nanoseconds >= 0 && nanoseconds % 100_000 == 0, "{answer}");
        }
        for slept in answer["slept"].as_array().expect("one for each way") {
            let nanoseconds = slept.as_i64().expect("nanoseconds");
            assert!((20_000_000..1_000_000_000).contains(&nanoseconds), "{answer}");
        }
    }
}

#[test]
fn the_clock_is_right() {
    let server = start("fresh");
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later than 1970");
    for _ in 0..2 {
        let before = now();
        let clock = answer(&server, &json!({}))["clock"].as_f64().expect("seconds");
        let clock = Duration::from_secs_f64(clock);
        assert!(before.saturating_sub(clock) < Duration::from_millis(50) && clock <= now(), "{clock:?} at {before:?}");
        std::thread::sleep(Duration::from_millis(300));
    }
}
