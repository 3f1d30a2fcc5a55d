//! What becomes of batches when the endpoint does not take them at once.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::sink::{Reply, Sink, accepted};
use super::{ENOUGH, KEY, QUICK, config, context, request, start, start_slowly};
use crate::batch::{self, Batch};
use crate::disk::Disk;
use crate::outbox::Backoff;
use crate::pipeline::Timing;
use crate::{AppInsights, Buffer, Config, Level, Telemetry};

fn print(telemetry: &Telemetry, text: &str) {
    telemetry.log(None, "azmlinfsrv.print", Level::Info, text, &[]);
}

fn messages(sink: &Sink) -> Vec<String> {
    sink.items().iter().map(|item| item["data"]["baseData"]["message"].as_str().unwrap().to_owned()).collect()
}

fn failing(status: u16, headers: &'static str) -> Reply {
    Reply(status, headers, String::new())
}

/// A port where nobody listens, on an address that no other test uses where a machine has many.
fn nobody() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let address = if cfg!(target_os = "linux") { Ipv4Addr::new(127, 0, 1, count) } else { Ipv4Addr::LOCALHOST };
    TcpListener::bind((address, 0)).unwrap().local_addr().unwrap()
}

fn with_buffer(config: Config, folder: &Path) -> Config {
    Config { buffer: Some(Buffer { folder: folder.to_owned(), bytes: 100_000 }), ..config }
}

fn batches(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder.join("application-insights"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|file| file.extension().is_some_and(|extension| extension == "batch"))
        .collect();
    files.sort();
    files
}

#[test]
fn items_are_sent_a_hundred_at_a_time_or_when_the_time_is_up() {
    let sink = Sink::new();
    let telemetry = start_slowly(&config(&sink.url()));
    for at in 0..250 {
        print(&telemetry, &at.to_string());
    }
    let received = sink.wait_for(3);
    let sizes: Vec<usize> = received.iter().map(|batch| batch.items().len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
    let expected: Vec<String> = (0..250).map(|at| at.to_string()).collect();
    assert_eq!(messages(&sink), expected);
    telemetry.shutdown(ENOUGH);
    assert_eq!(telemetry.dropped(), 0);
}

#[test]
fn a_batch_is_sent_again_after_a_failure_that_may_pass() {
    for status in [408, 429, 439, 500, 503] {
        let sink = Sink::answering(move |before, _| if before < 2 { failing(status, "") } else { accepted() });
        let telemetry = start(&config(&sink.url()));
        print(&telemetry, "again");
        let received = sink.wait_for(3);
        assert!(received.windows(2).all(|pair| pair[0].body == pair[1].body), "{status}");
        assert!(received[1].at - received[0].at >= Duration::from_millis(70), "{status}");
        assert!(received[2].at - received[1].at >= Duration::from_millis(140), "{status}");
        telemetry.shutdown(ENOUGH);
        assert_eq!((sink.received().len(), telemetry.dropped()), (3, 0), "{status}");
    }
}

#[test]
fn retry_after_is_heeded() {
    let sink = Sink::answering(|before, _| if before == 0 { failing(429, "Retry-After: 1\r\n") } else { accepted() });
    let telemetry = start(&config(&sink.url()));
    print(&telemetry, "later");
    let received = sink.wait_for(2);
    assert!(received[1].at - received[0].at >= Duration::from_millis(990));
    telemetry.shutdown(ENOUGH);
}

#[test]
fn a_shutdown_does_not_hurry_an_endpoint_that_asked_for_time() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::answering(|_, _| failing(503, "Retry-After: 600\r\n"));
    let telemetry = start(&with_buffer(config(&sink.url()), folder.path()));
    print(&telemetry, "later");
    sink.wait_for(1);
    let began = Instant::now();
    telemetry.shutdown(ENOUGH);
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!((sink.received().len(), batches(folder.path()).len(), telemetry.dropped()), (1, 1, 0));
}

#[test]
fn a_shutdown_tries_once_more_where_the_endpoint_asked_for_no_more_time_than_has_gone() {
    let sink = Sink::answering(|before, _| if before == 0 { failing(429, "Retry-After: 1\r\n") } else { accepted() });
    let backoff = Backoff { first: Duration::from_hours(1), longest: Duration::from_hours(1) };
    let telemetry = Telemetry::start_with(config(&sink.url()), Timing { backoff, ..QUICK }).unwrap();
    print(&telemetry, "later");
    sink.wait_for(1);
    thread::sleep(Duration::from_millis(1100));
    telemetry.shutdown(ENOUGH);
    assert_eq!((sink.received().len(), telemetry.dropped()), (2, 0));
}

#[test]
fn only_the_items_that_may_be_taken_later_are_sent_again() {
    let partly = r#"{"itemsReceived":4,"itemsAccepted":1,"errors":[{"index":0,"statusCode":400,"message":"bad"},
        {"index":1,"statusCode":429,"message":""},{"index":3,"statusCode":503,"message":""}]}"#;
    for folder in [None, Some(tempfile::tempdir().unwrap())] {
        let sink =
            Sink::answering(move |before, _| if before == 0 { Reply(206, "", partly.to_owned()) } else { accepted() });
        let mut config = config(&sink.url());
        if let Some(folder) = &folder {
            config = with_buffer(config, folder.path());
        }
        let telemetry = start_slowly(&config);
        for text in ["bad", "busy", "taken", "failed"] {
            print(&telemetry, text);
        }
        sink.wait_for(2);
        telemetry.shutdown(ENOUGH);
        assert_eq!(messages(&sink), ["bad", "busy", "taken", "failed", "busy", "failed"]);
        assert_eq!((sink.received().len(), telemetry.dropped()), (2, 1));
    }
}

#[test]
fn what_is_refused_is_dropped_and_counted() {
    for status in [400, 401, 402, 403, 404, 413] {
        let sink = Sink::answering(move |before, _| if before == 0 { failing(status, "") } else { accepted() });
        let telemetry = start_slowly(&config(&sink.url()));
        print(&telemetry, "one");
        print(&telemetry, "two");
        sink.wait_for(1);
        print(&telemetry, "three");
        telemetry.shutdown(ENOUGH);
        assert_eq!((sink.received().len(), telemetry.dropped()), (2, 2), "{status}");
    }
}

#[test]
fn the_service_is_followed_to_where_it_is() {
    let there = Sink::new();
    let location: &'static str = format!("Location: {}/v2.1/track\r\n", there.url()).leak();
    let here = Sink::answering(move |_, _| failing(308, location));
    let telemetry = start(&config(&here.url()));
    print(&telemetry, "moved");
    telemetry.shutdown(ENOUGH);
    assert_eq!((messages(&there).len(), telemetry.dropped()), (1, 0));
    let lost = Sink::answering(|_, _| failing(307, ""));
    let telemetry = start(&config(&lost.url()));
    print(&telemetry, "lost");
    telemetry.shutdown(ENOUGH);
    assert_eq!((lost.received().len(), telemetry.dropped()), (1, 1));
}

#[test]
fn what_cannot_be_sent_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let address = nobody();
    let url = format!("http://{address}");
    let config = with_buffer(config(&url), folder.path());
    for text in ["first", "second"] {
        let telemetry = start(&config);
        print(&telemetry, text);
        let began = Instant::now();
        telemetry.shutdown(ENOUGH);
        assert!(began.elapsed() < Duration::from_secs(2), "what is safe on the disk holds up no shutdown");
        assert_eq!(telemetry.dropped(), 0);
    }
    assert_eq!(batches(folder.path()).len(), 2);

    let sink = Sink::at(address, |_, _| accepted());
    let telemetry = start(&config);
    sink.wait_for(2);
    telemetry.shutdown(ENOUGH);
    assert_eq!(messages(&sink), ["first", "second"]);
    assert!(batches(folder.path()).is_empty());
    assert_eq!(telemetry.dropped(), 0);
}

#[test]
fn what_waits_is_sent_when_the_endpoint_comes_back() {
    for folder in [None, Some(tempfile::tempdir().unwrap())] {
        let address = nobody();
        let mut config = config(&format!("http://{address}"));
        if let Some(folder) = &folder {
            config = with_buffer(config, folder.path());
        }
        let telemetry = start(&config);
        for text in ["one", "two", "three"] {
            print(&telemetry, text);
            thread::sleep(2 * QUICK.gather);
        }
        let sink = Sink::at(address, |_, _| accepted());
        while sink.items().len() < 3 {
            sink.wait_for(sink.received().len() + 1);
        }
        print(&telemetry, "four");
        telemetry.shutdown(ENOUGH);
        assert_eq!(messages(&sink), ["one", "two", "three", "four"]);
        assert_eq!(telemetry.dropped(), 0);
        assert!(folder.is_none_or(|folder| batches(folder.path()).is_empty()));
    }
}

#[test]
fn the_buffer_stays_within_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = start(&with_buffer(config(&format!("http://{}", nobody())), folder.path()));
    let text = "x".repeat(20_000);
    for _ in 0..20 {
        print(&telemetry, &text);
        thread::sleep(QUICK.gather);
    }
    telemetry.shutdown(Duration::from_secs(1));
    let files = batches(folder.path());
    let bytes: u64 = files.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!((20_000..=100_000).contains(&bytes), "{bytes}");
    let dropped = telemetry.dropped();
    assert!((10..20).contains(&dropped), "{dropped}");
}

#[test]
fn a_batch_is_kept_on_disk_for_48_hours() {
    const HOUR: u64 = 3_600_000_000;
    let folder = tempfile::tempdir().unwrap();
    let dropped = Arc::new(AtomicU64::new(0));
    let mut disk = Disk::open(folder.path().to_owned(), "https://a", 10_000, Arc::clone(&dropped)).unwrap().unwrap();
    let older = |hours: u64| {
        let batch = Batch::new(1, "application/json", None, Bytes::from_static(b"[]"));
        Batch { created: batch.created - hours * HOUR, ..batch }
    };
    for hours in [49, 47] {
        disk.push(&older(hours)).unwrap();
    }
    let (_, first) = disk.first().unwrap().expect("the younger one");
    let (age, dropped) = (batch::now() - first.created, dropped.load(Ordering::Relaxed));
    assert!((47 * HOUR..48 * HOUR).contains(&age) && dropped == 1, "{age}, {dropped}");
}

#[test]
fn a_broken_file_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let address = nobody();
    let config = with_buffer(config(&format!("http://{address}")), folder.path());
    for text in ["broken", "whole"] {
        let telemetry = start(&config);
        print(&telemetry, text);
        telemetry.shutdown(ENOUGH);
    }
    let files = batches(folder.path());
    let content = fs::read(&files[0]).unwrap();
    fs::write(&files[0], &content[..content.len() / 2]).unwrap();
    let sink = Sink::at(address, |_, _| accepted());
    let telemetry = start(&config);
    sink.wait_for(1);
    telemetry.shutdown(ENOUGH);
    assert_eq!(messages(&sink), ["whole"]);
    assert_eq!((batches(folder.path()).len(), telemetry.dropped()), (0, 1));
}

#[test]
fn what_cannot_be_kept_on_disk_stays_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let address = nobody();
    let telemetry = start(&with_buffer(config(&format!("http://{address}")), folder.path()));
    fs::remove_dir_all(folder.path().join("application-insights")).unwrap();
    print(&telemetry, "one");
    thread::sleep(4 * QUICK.gather);
    let sink = Sink::at(address, |_, _| accepted());
    sink.wait_for(1);
    telemetry.shutdown(ENOUGH);
    assert_eq!((messages(&sink).len(), telemetry.dropped()), (1, 0));
}

#[test]
fn a_buffer_in_use_elsewhere_leaves_memory() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::new();
    let config = with_buffer(config(&sink.url()), folder.path());
    let (first, second) = (start(&config), start(&config));
    print(&second, "second");
    second.shutdown(ENOUGH);
    first.shutdown(ENOUGH);
    assert_eq!(messages(&sink), ["second"]);
}

#[test]
fn a_buffer_that_cannot_be_used_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Telemetry::start(with_buffer(config("http://127.0.0.1:9"), file.path())).unwrap_err().to_string();
    assert!(error.contains(&*file.path().to_string_lossy()) && error.contains("give a folder"), "{error}");
}

#[test]
fn an_endpoint_that_is_away_all_the_time_delays_nobody() {
    // It takes connections and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [nobody(), listener.local_addr().unwrap()] {
        let telemetry = start(&config(&format!("http://{address}")));
        let context = context("R", "C");
        for _ in 0..500 {
            let began = Instant::now();
            telemetry.request(&context, request("/score", 200, 1));
            assert!(began.elapsed() < Duration::from_millis(500));
        }
        thread::sleep(Duration::from_millis(300));
        let began = Instant::now();
        telemetry.shutdown(Duration::from_millis(700));
        assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
        assert_eq!(telemetry.dropped(), 500);
        telemetry.request(&context, request("/score", 200, 1));
        assert_eq!(telemetry.dropped(), 501, "what comes after the end is dropped");
    }
}

#[test]
fn what_is_on_its_way_at_the_end_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let telemetry = start(&with_buffer(config(&format!("http://{}", listener.local_addr().unwrap())), folder.path()));
    print(&telemetry, "on its way");
    thread::sleep(4 * QUICK.gather);
    telemetry.shutdown(Duration::from_millis(200));
    assert_eq!((batches(folder.path()).len(), telemetry.dropped()), (1, 0));
}

#[test]
fn a_full_queue_drops_and_never_waits() {
    // Nothing is taken out while a batch is gathered for so long.
    let timing = Timing { gather: Duration::from_hours(1), ..QUICK };
    let sink = Sink::new();
    let telemetry = Telemetry::start_with(config(&sink.url()), timing).unwrap();
    let text = "x".repeat(32_768);
    let count = 20_000;
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..count / 4).for_each(|_| print(&telemetry, &text)));
        }
    });
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    telemetry.shutdown(Duration::from_mins(1));
    let sent = sink.items().len() as u64;
    assert_eq!(sent + telemetry.dropped(), count);
    assert!(telemetry.dropped() > 0);
}

#[test]
fn a_shutdown_sends_what_waits() {
    let timing = Timing { gather: Duration::from_hours(1), ..QUICK };
    let sink = Sink::new();
    let telemetry = Telemetry::start_with(config(&sink.url()), timing).unwrap();
    for at in 0..150 {
        print(&telemetry, &at.to_string());
    }
    let began = Instant::now();
    telemetry.shutdown(ENOUGH);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!((messages(&sink).len(), telemetry.dropped()), (150, 0));
    telemetry.shutdown(ENOUGH);
}

#[test]
fn what_waits_is_sent_when_nobody_shuts_down() {
    let timing = Timing { gather: Duration::from_hours(1), ..QUICK };
    let sink = Sink::new();
    let telemetry = Telemetry::start_with(config(&sink.url()), timing).unwrap();
    print(&telemetry, "left");
    drop(telemetry);
    sink.wait_for(1);
    assert_eq!(messages(&sink), ["left"]);
}

#[test]
fn telemetry_that_is_off_does_nothing() {
    let telemetry = Telemetry::start(Config::default()).unwrap();
    for telemetry in [telemetry, Telemetry::off()] {
        assert!(!telemetry.is_on());
        assert!(telemetry.trace(&http::HeaderMap::new()).is_none());
        print(&telemetry, "nothing");
        telemetry.request(&context("R", "C"), request("/score", 200, 1));
        telemetry.shutdown(ENOUGH);
        assert_eq!(telemetry.dropped(), 0);
    }
}

/// Keeps the texts of events, and hands each back to telemetry, as a log that is exported would.
#[derive(Clone, Default)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    telemetry: Arc<Mutex<Telemetry>>,
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, _: &Field, value: &dyn std::fmt::Debug) {
                let _ = write!(self.0, "{value:?} ");
            }
        }
        let metadata = event.metadata();
        let mut text = Text(format!("{} {}: ", metadata.level(), metadata.target()));
        event.record(&mut text);
        print(&self.telemetry.lock().unwrap(), &text.0);
        self.lines.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The only test that sets the log of the whole process: its endpoints tell its lines from those of others.
#[test]
fn the_log_says_once_a_minute_what_is_wrong_and_never_a_key() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let sink = Sink::answering(|_, _| Reply(400, "", format!("invalid key {KEY}")));
    let telemetry = start(&config(&sink.url()));
    *log.telemetry.lock().unwrap() = telemetry.clone();
    for count in 1..=3 {
        print(&telemetry, "refused");
        sink.wait_for(count);
    }
    telemetry.shutdown(ENOUGH);
    *log.telemetry.lock().unwrap() = Telemetry::off();
    let lines = log.lines.lock().unwrap().clone();
    let port = format!(":{}/", sink.address.port());
    let of_sink: Vec<&String> = lines.iter().filter(|line| line.contains(&port)).collect();
    let [line] = of_sink[..] else { panic!("{of_sink:?}") };
    assert!(line.starts_with("WARN azmlinfsrv: Telemetry was refused by Application Insights"), "{line}");
    assert!(line.contains("status 400"), "{line}");
    assert!(lines.iter().all(|line| !line.contains(KEY)), "{lines:?}");
    // What telemetry logs has not become telemetry.
    let texts: BTreeSet<String> = messages(&sink).into_iter().collect();
    assert!(texts.iter().all(|text| !text.contains(&port)), "{texts:?}");

    let shown = format!("{telemetry:?} {:?} {:?}", config(&sink.url()), AppInsights::new(KEY, None, None));
    assert!(!shown.contains(KEY), "{shown}");
}
