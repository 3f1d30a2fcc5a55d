//! The process is killed: at any moment, and without a word.

use std::time::{Duration, Instant, SystemTime};

use scorebox_tests::fixtures;
use scorebox_tests::random::Random;
use scorebox_tests::sink::Sink;
use scorebox_tests::wait::holds_within;

use super::*;

/// What the moments are drawn from.
const SEED: u64 = 20_251_122;
const KILLS: usize = 20;

/// A copy of the example whose answer says which one it is.
fn write_bundle(bundle: &Path, species: &str) {
    let example = fixtures::example("iris-rust");
    fs::create_dir_all(bundle.join("model")).expect("a folder");
    let model = fs::read_to_string(example.join("model/iris.json")).expect("the model");
    fs::write(bundle.join("model/iris.json"), model.replace("setosa", species)).expect("a file");
    if !bundle.join("model.wasm").exists() {
        fs::copy(example.join("model.wasm"), bundle.join("model.wasm")).expect("a file");
    }
}

#[test]
fn after_kills_at_random_moments_of_a_loop_of_deployments_every_start_is_fine_and_nothing_piles_up() {
    let mut random = Random::new(SEED);
    let (cache, bundle) = (folder(), folder());
    let serve = || Serve::new(bundle.path()).cache(cache.path());
    write_bundle(bundle.path(), "species-0");
    let start = Instant::now();
    let mut server = serve().start();
    let mut whole = start.elapsed();
    let mut while_deploying = 0;
    for kill in 1..=KILLS {
        let species = format!("species-{kill}");
        write_bundle(bundle.path(), &species);
        // Some moments are after the end of the deployment, so that its last steps are hit as well.
        let moment = whole.mul_f64(1.2 * random.fraction());
        // And every fifth while the entry is written, which is soon done.
        let wait = |process: &Process| {
            if kill.is_multiple_of(5) {
                holds_within(PATIENCE, || files(cache.path()).iter().any(|name| name.starts_with(".writing-")));
            } else {
                let _ = process.line(moment, |_| false);
            }
        };
        let killed = if kill % 2 == 0 {
            // While a server that serves reads its scorer again.
            server.process().signal(rustix::process::Signal::HUP);
            wait(server.process());
            let ended = server.kill();
            ended.stdout.matches("is deployed as").count() < 2
        } else {
            // While a server starts.
            drop(server);
            let (process, _shared) = serve().spawn(free_port());
            wait(&process);
            !process.kill().stdout.contains("is deployed as")
        };
        while_deploying += usize::from(killed);

        let start = Instant::now();
        server = serve().start();
        if server.log().iter().any(|line| line.contains(", compiled in")) {
            whole = whole.min(start.elapsed());
        }
        assert_eq!(complaints(&server), [""; 0], "kill {kill} after {moment:?}");
        assert_eq!(server.score(IRIS).json()["prediction"][0], species);
    }
    drop(server);
    println!("{while_deploying} of {KILLS} kills came before the end of a deployment of {whole:?}");
    assert!(while_deploying >= KILLS / 4, "killed too late: {while_deploying} of {KILLS}");

    // One entry for each deployment, and of each kill at most one file that it left.
    let all = files(cache.path());
    let left: Vec<_> = all.iter().filter(|name| name.starts_with(".writing-")).collect();
    let entries = all.iter().filter(|name| is(name, "sealed")).count();
    println!("{entries} entries, {} files left by kills", left.len());
    assert_eq!((entries, entries + left.len()), (KILLS + 1, all.len()), "{all:?}");
    assert!(left.len() <= KILLS, "{left:?}");
    // Each of the entries is whole.
    for deployed in 0..=KILLS {
        let species = format!("species-{deployed}");
        write_bundle(bundle.path(), &species);
        let server = serve().start();
        server.logged("loaded from the cache");
        assert_eq!(complaints(&server), [""; 0]);
        assert_eq!(server.score(IRIS).json()["prediction"][0], species);
    }
    // What was left goes when it is old enough to be nobody's, and a smaller cache has fewer entries.
    for name in left {
        let file = fs::File::options().write(true).open(cache.path().join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_hours(2)).unwrap();
    }
    write_bundle(bundle.path(), "another");
    drop(serve().args("--cache-size 1B").start());
    assert_eq!(files(cache.path()).len(), 1, "{:?}", files(cache.path()));
}

/// A server whose telemetry goes to an endpoint on this port.
pub(crate) fn to_app_insights(serve: Serve, port: u16, buffer: &Path) -> Serve {
    serve
        .env("AML_APP_INSIGHTS_ENABLED", "true")
        .env("AML_APP_INSIGHTS_KEY", "22222222-2222-4222-8222-222222222222")
        .env("AML_APP_INSIGHTS_ENDPOINT", format!("http://127.0.0.1:{port}"))
        .env("SCOREBOX_TELEMETRY_BUFFER", buffer)
}

#[test]
fn after_a_kill_while_telemetry_is_written_to_disk_the_next_server_sends_what_is_whole_and_keeps_nothing_else() {
    let mut random = Random::new(SEED);
    let (buffer, port) = (folder(), free_port());
    let batches = buffer.path().join("application-insights");
    let is_batch = |name: &String| is(name, "batch");
    let count = || files(&batches).into_iter().filter(is_batch).count();
    let serve = to_app_insights(Serve::guest("echo"), port, buffer.path());
    for kill in 0..6 {
        let server = serve.start();
        let before = count();
        let address = server.address();
        let load = std::thread::spawn(move || {
            let mut client = Client::connect(address).expect("the server listens");
            while client.send(&Request::score("x")).is_ok() {}
        });
        eventually(PATIENCE, "batches are written", || count() > before);
        std::thread::sleep(Duration::from_millis(200).mul_f64(random.fraction()));
        assert_eq!(server.kill().code, None);
        load.join().expect("the client ends");
        println!("kill {kill}: {} files", files(&batches).len());
    }
    let kept = count();
    assert!(kept >= 6, "{kept}");
    let sink = Sink::on(port);
    let server = serve.start();
    let half = |name: &String| is(name, "new");
    assert_eq!(files(&batches).iter().filter(|name| half(name)).count(), 0, "what was half written is removed");
    sink.wait("all that was kept", |posts| posts.len() >= kept);
    eventually(PATIENCE, "nothing is kept that was sent", || count() == 0);
    for post in sink.posts() {
        assert!(!post.items().is_empty());
    }
    assert_eq!(complaints(&server), [""; 0]);
    assert_eq!(server.stop().code, Some(0));
}
