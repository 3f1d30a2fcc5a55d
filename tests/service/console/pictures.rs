//! Pictures of the console, for the documents: `make screenshots` puts them into docs/images.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use scorebox_tests::host::{address, score_request};
use scorebox_tests::wait::SetOnFailure;
use scorebox_tests::{Client, fixtures};
use serde_json::json;

use super::Console;

/// Bytes that a picture may have: they are in the repository.
const MOST: usize = 150_000;
/// How long there is something to see in the charts, where the pictures are kept.
const COURSE: Duration = Duration::from_secs(75);

#[test]
fn pictures_for_the_documents_are_small() {
    // Named where they are to be kept; else what takes them is tried out.
    let kept = std::env::var_os("SCOREBOX_SCREENSHOTS").map(PathBuf::from);
    let console = Console::logged_in();
    let (browser, host) = (&console.browser, &console.host);
    let folder = kept.clone().unwrap_or_else(|| console.files.path().join("pictures"));
    fs::create_dir_all(&folder).expect("the folder can be made");
    let keep = |name: &str| {
        let picture = browser.picture();
        assert!(picture.starts_with(b"\x89PNG") && picture.len() < MOST, "{name} has {} bytes", picture.len());
        fs::write(folder.join(format!("console-{name}.png")), picture).expect("the folder can be written to");
    };

    let key = host.endpoint("plants/iris");
    let described =
        json!({ "description": "Research on plants", "quotas": { "instances": 8, "requests_per_second": 200 } });
    assert_eq!(host.put(&address("plants"), &described).status, 200);
    let python = fixtures::workspace().join("examples/iris-python");
    let rust = fixtures::workspace().join("examples/iris-rust");
    for (deployment, scorer, version) in
        [("blue", &python, "1.4.0"), ("green", &rust, "2.0.0-rc.1"), ("green", &rust, "2.0.0")]
    {
        let (path, scorer) = (format!("plants/iris/{deployment}"), scorer.to_str().expect("a path is text"));
        let deployed = host.scorebox(&["deploy", &path, scorer, "--deployment-version", version]);
        assert_eq!(deployed.code, Some(0), "{}", deployed.stderr);
    }
    let traffic = json!({ "traffic": { "blue": 80, "green": 20 } });
    assert_eq!(host.put(&format!("{}/traffic", address("plants/iris")), &traffic).status, 200);

    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = SetOnFailure(&stop);
        let server = host.server.address();
        let (key, stop) = (&key, &stop);
        scope.spawn(move || {
            let mut client = Client::connect(server).expect("the server listens");
            let start = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                // More, and less again; now and then something that is wrong.
                let wave = (start.elapsed().as_secs_f64() / 7.0).sin();
                thread::sleep(Duration::from_secs_f64(0.035 - 0.02 * wave));
                let body = if wave > 0.96 { "{\"data\": \"?\"}" } else { fixtures::IRIS };
                client.send(&score_request("plants/iris", key, body)).expect("an answer");
            }
        });
        browser.goto("/console/#/plants/iris");
        let until = Instant::now() + if kept.is_some() { COURSE } else { Duration::ZERO };
        browser.wait("document.querySelectorAll('.chart path.line').length > 0");
        while Instant::now() < until {
            browser.wait("document.querySelector('.chart')");
            thread::sleep(Duration::from_millis(500));
        }
        browser.prefer("prefers-color-scheme", "light");
        keep("light");
        browser.prefer("prefers-color-scheme", "dark");
        keep("dark");
        browser.prefer("prefers-color-scheme", "light");
        browser.goto("/console/#/plants/iris/test");
        browser.click("#test-send");
        browser.wait("document.querySelector('#test-status')");
        browser.size(1280, 640);
        keep("test");
        browser.size(390, 800);
        browser.goto("/console/#/plants/iris/traffic");
        browser.wait("document.querySelector('#share-blue')");
        keep("phone");
        stop.store(true, Ordering::Relaxed);
    });
    browser.assert_clean();
}
