//! The scanner in Python that Scorebox brings; `scanner.py` says what it does.

use std::collections::BTreeMap;
use std::time::Duration;

use scorebox_sandbox::{Bundle, BundleFile, Code, Runtime};
use serde::Deserialize;

use super::drive::{Ask, Ending, Findings, Input, Scanner};
use super::secret::{Secrets, hexadecimal};
use crate::python::GUEST_APP;

const SCANNER: &str = include_str!("scanner.py");
/// Memory of its instances, which some of its requests use up.
pub(super) const MEMORY: u64 = 256 << 20;
/// Time of its requests, which some of them use up.
pub(super) const DEADLINE: Duration = Duration::from_secs(3);

/// The scanner as it is deployed.
pub(super) fn bundle(runtime: Runtime) -> Bundle {
    let variable = |name: &str, value: String| (name.to_owned(), value);
    Bundle {
        owner: String::new(),
        code: Code::Runtime(runtime),
        environment: vec![
            variable("AML_APP_ROOT", GUEST_APP.to_owned()),
            variable("AZUREML_ENTRY_SCRIPT", format!("{GUEST_APP}/score.py")),
        ],
        files: vec![BundleFile { path: "app/score.py".to_owned(), contents: SCANNER.as_bytes().to_vec() }],
        model_dir: None,
        preload: None,
    }
}

/// How requests end, and how many of 200. All others are answered.
const ENDS: [(Ending, &str, u64); 5] = [
    (Ending::Fault, "raise", 20),
    (Ending::Fault, "recurse", 4),
    (Ending::Fault, "exhaust", 2),
    (Ending::Deadline, "spin", 1),
    (Ending::Aborted, "stream", 20),
];
const OF: u64 = 200;

/// Makes the requests, and reads the reports.
#[derive(Debug)]
pub(super) struct Script;

/// What it answers.
#[derive(Deserialize)]
struct Answer {
    scanned: u64,
    planted: u64,
    stale: u64,
    found: BTreeMap<String, u64>,
}

impl Scanner for Script {
    fn request(&self, secrets: &Secrets, number: u64, ask: Ask) -> Option<(Input, Ending)> {
        let (ending, end) = match ask {
            Ask::Any => {
                let mut place = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % OF;
                ENDS.iter()
                    .find(|(_, _, share)| {
                        let found = place < *share;
                        place = place.saturating_sub(*share);
                        found
                    })
                    .map_or((Ending::Answer, "answer"), |(ending, end, _)| (*ending, *end))
            }
            Ask::Answer => (Ending::Answer, "answer"),
            Ask::Hold => (Ending::Aborted, "stream"),
        };
        let secret = hexadecimal(&secrets.masked(number));
        let body = format!("{{\"secret\": \"{secret}\", \"end\": \"{end}\"}}").into_bytes();
        let headers = vec![("content-type".to_owned(), b"application/json".to_vec())];
        Some((Input { body, headers }, ending))
    }

    fn report(&self, body: &[u8]) -> Result<Findings, String> {
        let Answer { scanned, planted, stale, found } = serde_json::from_slice(body)
            .map_err(|error| format!("{error} in the answer {}", String::from_utf8_lossy(body)))?;
        Ok(Findings { scanned, planted, stale, found: found.into_iter().collect() })
    }
}
