//! What a fresh instance costs: made, run and destroyed, on one thread.
//!
//! Needs the examples: `make examples` builds them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use scorebox_sandbox::{Bundle, Cache, Deployment, Limits, NoLog, Phases, Request, Sandbox, SandboxConfig};

/// Examples with a request for each.
const EXAMPLES: [(&str, &str); 2] = [
    ("iris-rust", r#"{"data": [[5.1, 3.5, 1.4, 0.2]]}"#),
    ("house-price-rust", include_str!("../../../examples/house-price-rust/request.json")),
];

fn request(body: &str) -> Request {
    Request {
        id: "6c3a1e5c-2f3c-4a8e-9d5a-0a8f2f0f7b11".to_owned(),
        client_request_id: None,
        method: "POST".to_owned(),
        scheme: "http".to_owned(),
        path: "/score".to_owned(),
        query: None,
        headers: [("host", "localhost:5001"), ("content-type", "application/json"), ("accept", "*/*")]
            .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
            .to_vec(),
        client_address: "127.0.0.1".to_owned(),
        body: body.as_bytes().to_vec(),
    }
}

fn bundle(example: &str) -> Bundle {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(example);
    Bundle::read(&folder, None, u64::MAX).expect("the example has been built: `make examples`")
}

fn fresh_instance(c: &mut Criterion) {
    let sandbox = Sandbox::new(&SandboxConfig::default(), None).expect("a sandbox");
    let mut group = c.benchmark_group("fresh_instance");
    for (example, body) in EXAMPLES {
        let limits = Limits::default();
        let module = sandbox.seal(example, "1", &bundle(example), &limits, Arc::new(NoLog), &|_| {}).expect("sealed");
        let deployment = Deployment { name: example.to_owned(), version: "1".to_owned(), limits, module };
        let request = request(body);
        group.bench_function(example, |bencher| {
            bencher.iter_custom(|times| {
                let phases = sandbox.measure(&deployment, &request, times, || 0).expect("a response");
                phases.iter().map(Phases::total).sum()
            });
        });
    }
    group.finish();
}

fn warm_start(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = bundle("iris-rust");
    let cache = Cache::open(folder.path(), u64::MAX).expect("a cache");
    let sandbox = Sandbox::new(&SandboxConfig::default(), Some(cache)).expect("a sandbox");
    let seal = || {
        let start = Instant::now();
        sandbox.seal("iris", "1", &bundle, &Limits::default(), Arc::new(NoLog), &|_| {}).expect("sealed");
        start.elapsed()
    };
    seal();
    c.bench_function("seal_from_warm_cache/iris-rust", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| seal()).sum::<Duration>());
    });
}

criterion_group!(benches, fresh_instance, warm_start);
criterion_main!(benches);
