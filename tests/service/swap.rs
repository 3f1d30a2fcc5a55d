//! Deployments are replaced at once, while requests are being served.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use scorebox_sandbox::{Bundle, Cache, Limits, Sandbox, SandboxConfig};
use scorebox_server::connection::{self, ConnectionLimits, Drained};
use scorebox_server::{App, DEFAULT, Deployed, Plan, Settings};
use scorebox_telemetry::Telemetry;
use scorebox_tests::fixtures::{self, IRIS};
use scorebox_tests::wait::{PATIENCE, SetOnFailure, eventually};
use scorebox_tests::{Client, Request};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

const SWAPS: usize = 100;
const CLIENTS: usize = 4;
/// Answers to wait for between two swaps.
const BETWEEN: usize = 20;

/// The iris example, whose model has another name for setosa.
fn bundle(folder: &Path, setosa: &str) -> Bundle {
    let iris = fixtures::example("iris-rust");
    let model = std::fs::read_to_string(iris.join("model/iris.json")).expect("the model");
    assert!(model.contains("setosa"));
    std::fs::create_dir_all(folder.join("model")).expect("a folder");
    std::fs::write(folder.join("model/iris.json"), model.replace("setosa", setosa)).expect("a file");
    std::fs::copy(iris.join("model.wasm"), folder.join("model.wasm")).expect("a file");
    Bundle::read(folder, None, 1 << 30).expect("a bundle")
}

fn deployed(sandbox: &Sandbox, version: &str) -> Deployed {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bundle = bundle(folder.path(), version);
    let plan = Plan {
        name: "iris".to_owned(),
        version: version.to_owned(),
        limits: Limits::default(),
        swagger_files: std::collections::BTreeMap::new(),
        journal: Arc::default(),
    };
    let deployed = Deployed::deploy(sandbox, &Settings::default(), &Telemetry::off(), &bundle, plan, &|_| {});
    deployed.expect("iris can be served")
}

#[test]
fn no_request_fails_and_every_answer_is_a_whole_one_while_deployments_are_swapped() {
    // Each version is compiled once.
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path().join("cache"), 1 << 30).unwrap();
    let sandbox = Arc::new(Sandbox::new(&SandboxConfig::default(), Some(cache)).unwrap());
    let app = App::new(Arc::clone(&sandbox), Settings::default(), Telemetry::off());
    app.put_single(deployed(&sandbox, "version-0"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let serving = runtime.spawn(connection::serve(listener, None, app.router(), ConnectionLimits::default(), stopped));

    let end = AtomicBool::new(false);
    let answered = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let total = || answered.iter().map(|count| count.load(Ordering::Relaxed)).sum::<usize>();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(address).expect("the server listens");
                while !end.load(Ordering::Relaxed) {
                    let response = client.send(&Request::json(IRIS)).expect("an answer");
                    assert_eq!(response.status, 200, "{response:?}");
                    let predicted = &response.json()["prediction"];
                    let version = (0..2).find(|version| *predicted == json!([format!("version-{version}")]));
                    answered[version.unwrap_or_else(|| panic!("{response:?}"))].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _failure = SetOnFailure(&end);
        for swap in 1..=SWAPS {
            let begin = total();
            let old = app.put_single(deployed(&sandbox, &format!("version-{}", swap % 2)));
            assert_eq!(
                old.expect("there was one").deployments[DEFAULT]
                    .resident()
                    .expect("it is never parked")
                    .deployment()
                    .version,
                format!("version-{}", (swap + 1) % 2)
            );
            // Whoever asks after the swap gets the new one.
            let response = Client::connect(address).unwrap().send(&Request::json(IRIS)).unwrap();
            assert_eq!(response.json()["prediction"], json!([format!("version-{}", swap % 2)]));
            eventually(PATIENCE, "requests go on", || total() >= begin + BETWEEN);
        }
        end.store(true, Ordering::Relaxed);
    });
    let counts = answered.map(AtomicUsize::into_inner);
    println!("{SWAPS} swaps, answers of the one and of the other: {counts:?}");
    assert!(counts.iter().all(|count| *count > SWAPS), "{counts:?}");
    stop.send(true).unwrap();
    assert_eq!(runtime.block_on(serving).unwrap(), Drained::Completely);
}
