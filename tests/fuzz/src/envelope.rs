//! What Application Insights is sent.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use scorebox_telemetry::fuzz::{Told, batches};
use scorebox_telemetry::{Context, Exception, ExceptionKind, Level, RequestItem, Trace};
use serde_json::Value;

use crate::texts;

/// The service's limits: bytes of an item, and characters of UTF-16 of its texts.
const ITEM_BYTES: usize = 65_536;
const MESSAGE: usize = 32_768;
const VALUE: usize = 8_192;
const URL: usize = 2_048;
const TITLE: usize = 1_024;
const ROLE: usize = 256;
const NAME: usize = 150;
/// Longest text that is told.
const LONGEST: usize = 100_000;

/// Eight parts. The first is a letter for the kind of item (`r`equest, `e`xception, `m`odel data, else a log record) and how
/// often each text is said in a row. Then come the server's names (key, host, service, workspace, container; one a line), the
/// two ids, three texts, and lines `name=value` of attributes or names of models.
pub fn check(data: &[u8]) {
    let [kind, sender, id, client_id, first, second, third, lines] = texts(data);
    let times: usize = kind.get(1..).and_then(|times| times.parse().ok()).unwrap_or(1);
    let long = |text: &str| text.repeat(times.min(LONGEST / text.len().max(1)));
    let mut names = sender.lines();
    let key = names.next().unwrap_or_default().to_owned();
    let mut name = || names.next().map(long).unwrap_or_default();
    // The key has been checked before.
    let sender = [key.chars().take(36).collect(), name(), name(), name(), name()];
    let (first, second, third) = (long(&first), long(&second), long(&third));
    let context = Context {
        trace: Trace::none(),
        request_id: long(&id),
        client_request_id: Some(client_id).filter(|id| !id.is_empty()),
    };
    let attributes: Vec<_> = lines
        .lines()
        .map(|line| line.split_once('=').unwrap_or((line, "")))
        .map(|(name, value)| (name.to_owned(), long(value)))
        .collect();
    let models: Vec<_> = lines.lines().map(long).collect();
    let level = [Level::Debug, Level::Info, Level::Warning, Level::Error, Level::Critical][first.len() % 5];
    let told = match kind.as_bytes().first() {
        Some(b'r') => Told::Request(RequestItem {
            method: "POST".to_owned(),
            route: first.clone(),
            url: second.clone(),
            status: 200 + (third.len() % 400) as u16,
            start: UNIX_EPOCH + Duration::from_millis(third.len() as u64),
            duration: Duration::from_micros(first.len() as u64 * 1_000_003),
            response: Some(Bytes::from(third.clone())),
        }),
        Some(b'e') => Told::Exception(Exception {
            kind: if first.len().is_multiple_of(2) { ExceptionKind::Script } else { ExceptionKind::Timeout },
            type_name: &first,
            message: &second,
            traceback: &third,
        }),
        Some(b'm') => Told::ModelData(&models, &first, &second),
        _ => Told::Log(&first, level, &second, &attributes),
    };
    let key = sender[0].clone();
    let is_request = matches!(told, Told::Request(_));
    let is_log = matches!(told, Told::Log(..));
    let batches = batches(sender, &context, vec![told]);
    let [batch] = &*batches else { panic!("one item is one batch, not {}", batches.len()) };
    assert!(batch.len() <= ITEM_BYTES + "[]".len(), "the item has {} bytes", batch.len() - 2);
    let items: Vec<Value> = serde_json::from_slice(batch).expect("it is JSON");
    let [item] = &*items else { panic!("one item is one, not {}", items.len()) };
    assert_eq!(item["iKey"], *key);
    for (name, value) in item["tags"].as_object().expect("tags") {
        let limit = if name.starts_with("ai.cloud") || name == "ai.internal.nodeName" { ROLE } else { TITLE };
        assert_short(name, value, limit);
    }
    let data = &item["data"]["baseData"];
    for (name, value) in data["properties"].as_object().expect("properties") {
        assert!(name.encode_utf16().count() <= NAME, "{name:?}");
        assert_short(name, value, VALUE);
    }
    // What is short is told as it is.
    let is_short = batch.len() < 4096;
    if is_request {
        assert_short("name", &data["name"], TITLE);
        assert_short("url", &data["url"], URL);
        assert_eq!(data["responseCode"], (200 + third.len() % 400).to_string());
        assert!(!is_short || data["url"] == *second && data["properties"]["Response Value"] == *third);
    } else if is_log {
        assert_short("message", &data["message"], MESSAGE);
        assert!(!is_short || second.is_empty() || data["message"] == *second);
        // A scorer cannot say whose record it is.
        assert!(!is_short || id.len() * times > TITLE || data["properties"]["Request Id"] == *context.request_id);
    } else if data["exceptions"].is_array() {
        let exception = &data["exceptions"][0];
        assert_short("message", &exception["message"], MESSAGE);
        assert_short("stack", &exception["stack"], MESSAGE);
        assert!(!is_short || exception["message"].as_str().is_some_and(|message| message.ends_with(&second)));
    }
}

fn assert_short(name: &str, value: &Value, limit: usize) {
    let text = value.as_str().unwrap_or_else(|| panic!("{name} is {value}, which is no text"));
    let length = text.encode_utf16().count();
    assert!(length <= limit, "{name} has {length} characters, more than {limit}");
}
