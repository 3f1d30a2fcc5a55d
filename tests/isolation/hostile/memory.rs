//! Guests that take memory: of their own, and of the host.

use std::fs;
use std::time::{Duration, Instant};

use scorebox_tests::process::Process;
use scorebox_tests::wait::eventually;
use scorebox_tests::{Serve, Server, fixtures};
use wasm_encoder::Module;

use crate::component::{Guest, Written, with_a_resource, with_core_modules};
use crate::{assert_refused, assert_script_failed, assert_well, attack};

/// Bytes that the server may have grown by when an attack is over: what is kept to be quick.
const KEPT: u64 = 48 << 20;

/// A figure of `/proc/PID/status`, in bytes.
fn status(process: &Process, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("a figure");
    line.trim().strip_suffix(" kB").and_then(|figure| figure.parse::<u64>().ok()).expect("a number of KiB") * 1024
}

/// The most memory that a server has had so far.
pub(crate) fn peak(server: &Server) -> u64 {
    status(server.process(), "VmHWM")
}

/// Checks that an attack takes no more memory of the server than this, and gives nearly all of it back.
#[track_caller]
pub(crate) fn assert_takes_at_most(server: &Server, bytes: u64, attack: impl FnOnce()) {
    assert_well(server);
    let before = status(server.process(), "VmRSS");
    attack();
    let most = peak(server).saturating_sub(before);
    assert!(most <= bytes, "{most} bytes, more than {bytes}");
    eventually(Duration::from_secs(10), "memory is given back", || status(server.process(), "VmRSS") <= before + KEPT);
}

/// A loop that grows a memory until that fails, and writes to each page.
const GROW: &str = "
    (loop $more
      (local.set $n (memory.grow (i32.const 1)))
      (if (i32.ne (local.get $n) (i32.const -1))
        (then (i32.store (i32.mul (local.get $n) (i32.const 65536)) (i32.const 1)) (br $more))))";

#[test]
fn memory_grows_to_the_limit_and_no_further() {
    let (_written, serve) = Guest::new()
        // Answers as many bytes as the memory has.
        .when(b'g', &format!("{GROW} (i32.store (i32.const 208) (i32.const 0)) (i32.store (i32.const 212) (i32.mul (memory.size) (i32.const 65536)))"))
        // Uses what it did not get.
        .when(b'p', &format!("{GROW} (i32.store (i32.mul (memory.size) (i32.const 65536)) (i32.const 1))"))
        // Asks for more than there are addresses.
        .when(b'a', "(drop (memory.grow (i32.const -1))) (drop (memory.grow (i32.const 65536))) unreachable")
        .serve();
    let server = serve.args("--memory 16MiB").start();
    assert_takes_at_most(&server, 64 << 20, || {
        for _ in 0..10 {
            let response = attack(&server, b'g');
            assert_eq!(response.status, 200);
            // All but a page: the memory has some bytes of tables beside it.
            assert!((255 * 65536..=256 * 65536).contains(&response.body.len()), "{}", response.body.len());
            assert_script_failed(&attack(&server, b'p'));
            assert_script_failed(&attack(&server, b'a'));
        }
    });
    server.logged("run() was stopped: it needed more memory than the limit of 16777216 bytes");
    assert_well(&server);
}

#[test]
fn memory_tables_and_instances_are_limited_in_number_and_size_at_deploy() {
    let with_memories = |number: usize, pages: usize| {
        (0..number).fold(Guest::new(), |guest, index| guest.field(&format!("(memory $m{index} {pages})\n")))
    };
    let with_tables = |number: usize, elements: usize| {
        (0..number).fold(Guest::new(), |guest, index| guest.field(&format!("(table $t{index} {elements} funcref)\n")))
    };
    let refused = [
        ("five memories", with_memories(4, 1)),
        ("five tables", with_tables(5, 10)),
        ("a table of a hundred million elements", with_tables(1, 100_000_000)),
        ("memories that together are over the limit", with_memories(3, 8000)),
        ("a memory that is over the limit", Guest::new().memory("65536")),
        ("a memory of 64-bit addresses", Guest::new().field("(memory $wide i64 1)")),
        ("a memory that threads share", Guest::new().field("(memory $shared 1 1 shared)")),
        ("data behind the end of the memory", Guest::new().field(r#"(data (i32.const -4) "12345678")"#)),
    ];
    for (what, guest) in refused {
        let begin = Instant::now();
        let (_written, serve) = guest.serve();
        let ended = serve.refused();
        println!("{what}: {}", ended.stderr);
        assert_refused(&ended, &[]);
        assert!(begin.elapsed() < Duration::from_secs(10), "{what}: refused after {:?}", begin.elapsed());
    }
    for (what, number) in [("17 instances", 17), ("10,000 instances", 10_000)] {
        let written = Written::new(&with_core_modules(&Guest::new().component(), &vec![Module::new(); number]));
        let ended = Serve::new(written.path()).arg("--no-cache").refused();
        println!("{what}: {}", ended.stderr);
        assert_refused(&ended, &[]);
    }
}

#[test]
fn several_memories_have_one_limit_together() {
    let (_written, serve) = Guest::new()
        .field("(memory $second 1) (memory $third 1)")
        .when(
            b'g',
            "
            (loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 1)))))
            (loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow $second (i32.const 1)))))
            (loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow $third (i32.const 1)))))
            (i32.store (i32.const 208) (i32.const 0))
            (i32.store (i32.const 212) (i32.add (memory.size) (i32.add (memory.size $second) (memory.size $third))))",
        )
        .serve();
    let server = serve.args("--memory 16MiB").start();
    let response = attack(&server, b'g');
    assert_eq!(response.status, 200, "{}", server.process().said());
    assert!((254..=256).contains(&response.body.len()), "{} pages", response.body.len());
    assert_well(&server);
}

/// What the engine keeps of a guest's resources is the host's memory, and no limit of the scorer's counts it.
#[test]
fn resources_of_its_own_without_end_take_no_memory_without_end() {
    let attack_text = "(loop $more (drop (call $new (i32.const 7))) (br $more))";
    let written = Written::new(&with_a_resource("", attack_text));
    let server = Serve::new(written.path()).args("--no-cache --timeout 10s").start();
    assert_takes_at_most(&server, 64 << 20, || assert_script_failed(&attack(&server, b'x')));
    println!("resources without end: {}", server.logged("run() was stopped: "));
    assert_well(&server);
}

/// Exceptions are objects of a heap of their own.
#[test]
fn exceptions_without_end_take_no_memory_without_end() {
    let (_written, serve) = Guest::new()
        .field("(tag $thrown (param i64))")
        .when(
            b'x',
            "(loop $more
            (block $caught (result i64)
              (try_table (catch $thrown $caught) (throw $thrown (i64.const 1)))
              unreachable)
            drop
            (br $more))",
        )
        .serve();
    let server = serve.args("--memory 16MiB --timeout 10s").start();
    assert_takes_at_most(&server, 64 << 20, || assert_script_failed(&attack(&server, b'x')));
    println!("exceptions without end: {}", server.logged("run() was stopped: "));
    assert_well(&server);
}

#[test]
fn a_scorer_that_begins_with_more_than_the_limit_is_refused_with_the_limit() {
    let serve = Serve::new(fixtures::guest("hostile")).args("--no-cache --memory 128KiB");
    assert_refused(&serve.refused(), &["init() needs more memory than the limit of 131072 bytes; raise the limit"]);
}
