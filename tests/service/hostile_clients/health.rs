//! Health checks, asked for all through an attack.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use scorebox_tests::wait::SetOnFailure;
use scorebox_tests::{Client, Request, Server};

/// How long nearly all of the answers may take while a server with two cores is attacked, and clients and tests beside it
/// need them as well.
const NEARLY_ALL: Duration = Duration::from_millis(500);
/// How long any of them may take: less than what those who ask wait for.
const ANY: Duration = Duration::from_secs(2);
/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(10);

/// Attacks, and asks for health meanwhile, on new connections and on one that is kept. All of it has to be answered.
#[track_caller]
#[expect(clippy::print_stdout, reason = "what was measured is quoted")]
pub(crate) fn answers_throughout<T>(server: &Server, name: &str, attack: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    let mut kept = server.connect();
    std::thread::scope(|scope| {
        let prober = scope.spawn(|| {
            let mut times = Vec::new();
            // At least once after the end.
            loop {
                let last = over.load(Ordering::Relaxed);
                let mut new = Client::connect(server.address()).expect("a connection");
                for (client, target) in [(&mut new, "/livez"), (&mut kept, "/readyz")] {
                    let start = Instant::now();
                    let response = client.send(&Request::get(target)).expect("an answer");
                    times.push(start.elapsed());
                    assert_eq!(response.status, 200, "{response:?}");
                }
                if last {
                    return times;
                }
                std::thread::sleep(PAUSE);
            }
        });
        let result = {
            let _over = SetOnFailure(&over);
            attack()
        };
        over.store(true, Ordering::Relaxed);
        let mut times = prober.join().expect("health is answered");
        times.sort_unstable();
        let (nearly_all, any) = (times[(times.len() - 1) * 99 / 100], times[times.len() - 1]);
        println!("{name}: health was answered {} times, 99 % within {nearly_all:?}, all within {any:?}", times.len());
        assert!(nearly_all <= NEARLY_ALL && any <= ANY, "99 % within {nearly_all:?}, all within {any:?}");
        result
    })
}

/// Memory of the server in use, in bytes.
pub(crate) fn memory(server: &Server) -> u64 {
    bytes(server, "VmRSS:")
}

/// The most memory that the server has had in use, in bytes.
pub(crate) fn most_memory(server: &Server) -> u64 {
    bytes(server, "VmHWM:")
}

/// What the system says of the server's memory.
fn bytes(server: &Server, name: &str) -> u64 {
    let path = format!("/proc/{}/status", server.process().id());
    let status = std::fs::read_to_string(path).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("its memory is known");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}
