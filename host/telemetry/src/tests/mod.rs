//! Telemetry as a whole, through the socket of an endpoint.

mod delivery;
mod fields;
mod otlp;
mod sink;

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};

use crate::outbox::Backoff;
use crate::pipeline::Timing;
use crate::{AppInsights, Config, Context, DEFAULT_SHUTDOWN, RequestItem, Telemetry, Trace};

const KEY: &str = "22222222-2222-2222-2222-222222222222";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Long enough for anything that a shutdown has to wait for.
const ENOUGH: Duration = Duration::from_secs(10);

/// As the server has it, but quicker.
const QUICK: Timing = Timing {
    gather: Duration::from_millis(50),
    backoff: Backoff { first: Duration::from_millis(100), longest: Duration::from_millis(400) },
};

/// The server of the recorded items, with its endpoint at the URL.
fn config(url: &str) -> Config {
    Config {
        app_insights: Some(AppInsights::new(KEY, Some(url), None).unwrap()),
        service_name: "mysvc".to_owned(),
        workspace_name: "myws".to_owned(),
        container_id: "testhost".to_owned(),
        ..Config::default()
    }
}

fn start(config: &Config) -> Telemetry {
    Telemetry::start_with(config.clone(), QUICK).unwrap()
}

/// Telemetry that gathers long enough for what a test tells in one go to be one batch.
fn start_slowly(config: &Config) -> Telemetry {
    let timing = Timing { gather: Duration::from_millis(700), ..QUICK };
    Telemetry::start_with(config.clone(), timing).unwrap()
}

/// A request that continues [`TRACE`].
fn context(request_id: &str, client_request_id: &str) -> Context {
    let mut headers = HeaderMap::new();
    let value = format!("00-{TRACE}-{CALLER}-01");
    headers.insert("traceparent", HeaderValue::from_str(&value).unwrap());
    headers.insert("tracestate", HeaderValue::from_static("vendor=value"));
    Context {
        trace: Trace::of_request(&headers),
        request_id: request_id.to_owned(),
        client_request_id: Some(client_request_id.to_owned()).filter(|id| !id.is_empty()),
    }
}

fn request(path_and_query: &str, status: u16, milliseconds: u64) -> RequestItem {
    RequestItem {
        method: "POST".to_owned(),
        route: path_and_query.split('?').next().unwrap_or_default().to_owned(),
        url: format!("http://127.0.0.1:5001{path_and_query}"),
        status,
        start: SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_303_267_644_753),
        duration: Duration::from_micros(milliseconds * 1000 + 234),
        response: None,
    }
}

#[test]
fn times_are_those_that_are_promised_where_nobody_says_others() {
    let Timing { gather, backoff: Backoff { first, longest } } = Timing::default();
    assert_eq!([gather, DEFAULT_SHUTDOWN], [Duration::from_secs(5); 2]);
    assert_eq!([first, longest], [Duration::from_secs(1), Duration::from_mins(1)]);
}
