//! What makes a response the one that was recorded.

use regex::Regex;
use scorebox_tests::Response;
use uuid::{Uuid, Version};

use crate::cases::{Expected, Group, Headers};

/// Headers that belong to the connection, not to the contract.
const TRANSPORT: [&str; 6] = ["date", "server", "connection", "content-length", "transfer-encoding", "keep-alive"];
/// Headers that are lists in no order.
const SETS: [&str; 4] = ["allow", "vary", "access-control-allow-methods", "access-control-allow-headers"];
/// How much of a body is shown.
const SHOWN: usize = 600;

/// How a response differs from what was recorded.
pub(crate) fn compare(group: &Group, expected: &Expected, actual: &Response) -> Vec<String> {
    let mut differences = Vec::new();
    if actual.status != expected.status {
        differences.push(format!("status {} instead of {}", actual.status, expected.status));
    }
    compare_headers(&expected.headers(group), actual, &mut differences);
    if let Some(pattern) = &expected.body_matches {
        let whole = Regex::new(&format!("(?s)^(?:{pattern})$")).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        if !whole.is_match(&String::from_utf8_lossy(&actual.body)) {
            differences.push(format!("body {}, which {pattern:?} does not match", shown(&actual.body)));
        }
    } else if actual.body != expected.body() {
        differences.push(format!("body {} instead of {}", shown(&actual.body), shown(&expected.body())));
    }
    differences
}

fn compare_headers(expected: &Headers, actual: &Response, differences: &mut Vec<String>) {
    let lines = |name: &str| -> Vec<&str> {
        actual.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| &**value).collect()
    };
    for (name, values) in expected {
        let (actual, expected) = (lines(name), values.lines());
        let same = if SETS.contains(&&**name) {
            set(&actual) == set(&expected)
        } else {
            actual.len() == expected.len()
                && expected.iter().zip(&actual).all(|(expected, actual)| match *expected {
                    "<ms>" => is_milliseconds(actual),
                    "<uuid>" => is_fresh_id(actual),
                    "<x-request-id>" => lines("x-request-id") == [*actual],
                    expected => *actual == expected,
                })
        };
        if !same {
            differences.push(format!("header {name}: {actual:?} instead of {expected:?}"));
        }
    }
    for (name, value) in &actual.headers {
        if !expected.contains_key(name) && !TRANSPORT.contains(&&**name) {
            differences.push(format!("header {name}: {value:?}, which nobody expects"));
        }
    }
}

/// The items of a list that may be on several lines, in order.
fn set(lines: &[&str]) -> Vec<String> {
    let mut items: Vec<_> =
        lines.iter().flat_map(|line| line.split(',')).map(|item| item.trim().to_ascii_lowercase()).collect();
    items.sort_unstable();
    items
}

/// Whether it is a number with three decimals.
fn is_milliseconds(text: &str) -> bool {
    text.split_once('.').is_some_and(|(whole, decimals)| {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        digits(whole) && digits(decimals) && decimals.len() == 3
    })
}

/// Whether it is an id that a server has made.
fn is_fresh_id(text: &str) -> bool {
    Uuid::parse_str(text)
        .is_ok_and(|id| id.get_version() == Some(Version::Random) && id.hyphenated().to_string() == text)
}

fn shown(body: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).into_owned();
    if body.len() > SHOWN {
        text += "...";
    }
    format!("{text:?}")
}
