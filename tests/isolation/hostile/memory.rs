//! Guests that take memory: of their own, and of the host.

use std::time::{Duration, Instant};

use scorebox_tests::process::memory;
use scorebox_tests::wait::eventually;
use scorebox_tests::{Serve, Server, fixtures};
use wasm_encoder::{Module, RefType, TableSection, TableType};

use crate::component::{Guest, Written, with_a_resource, with_core_modules};
use crate::{assert_refused, assert_script_failed, assert_well, attack};

/// Bytes that the server may have grown by when an attack is over: what is kept to be quick.
const KEPT: u64 = 48 << 20;

/// The most memory that a server has had so far.
pub(crate) fn peak(server: &Server) -> u64 {
    memory(server.process().id(), "VmHWM").expect("it runs")
}

/// The memory that a server has now.
fn resident(server: &Server) -> u64 {
    memory(server.process().id(), "VmRSS").expect("it runs")
}

/// Checks that an attack takes no more memory of the server than this, and gives nearly all of it back.
#[track_caller]
pub(crate) fn assert_takes_at_most(server: &Server, bytes: u64, attack: impl FnOnce()) {
    assert_well(server);
    let before = resident(server);
    attack();
    let most = peak(server).saturating_sub(before);
    assert!(most <= bytes, "{most} bytes, more than {bytes}");
    eventually(Duration::from_secs(10), "memory is given back", || resident(server) <= before + KEPT);
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

fn module_with_a_table() -> Module {
    let table_type =
        TableType { element_type: RefType::FUNCREF, table64: false, minimum: 10, maximum: None, shared: false };
    let mut tables = TableSection::new();
    tables.table(table_type);
    let mut module = Module::new();
    module.section(&tables);
    module
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
        ("five memories", with_memories(4, 1), "memories count of 5 exceeds the per-instance limit of 4"),
        ("two tables in a module", with_tables(2, 10), "tables count of 2 exceeds the per-instance limit of 1"),
        ("a table of a hundred million elements", with_tables(1, 100_000_000), "exceeds the limit of 131072"),
        ("memories that together are over the limit", with_memories(3, 8000), "limit of 1073741824 bytes"),
        ("a memory that is over the limit", Guest::new().memory("65536"), "limit of 1073741824 bytes"),
        ("a memory of 64-bit addresses", Guest::new().field("(memory $wide i64 1)"), "memory64 must be enabled"),
        ("a memory that threads share", Guest::new().field("(memory $shared 1 1 shared)"), "threads must be enabled"),
        (
            "data behind the end of the memory",
            Guest::new().field(r#"(data (i32.const -4) "12345678")"#),
            "out of bounds memory access",
        ),
    ];
    for (what, guest, why) in refused {
        let begin = Instant::now();
        let (_written, serve) = guest.serve();
        let ended = serve.refused();
        println!("{what}: {}", ended.stderr);
        assert_refused(&ended, &[why]);
        assert!(begin.elapsed() < Duration::from_secs(10), "{what}: refused after {:?}", begin.elapsed());
    }
    let with_modules = |module: &Module, number| {
        Written::new(&with_core_modules(&Guest::new().component(), &vec![module.clone(); number]))
    };
    let (empty, table) = (Module::new(), module_with_a_table());
    for (module, number, why) in [
        (&empty, 13, "17 core module instances, which exceeds the configured maximum of 16"),
        (&empty, 10_000, "modules count exceeds limit of 1000"),
        (&table, 4, "5 tables, which exceeds the configured maximum of 4"),
    ] {
        let written = with_modules(module, number);
        let ended = Serve::new(written.path()).arg("--no-cache").refused();
        println!("{number} modules more: {}", ended.stderr);
        assert_refused(&ended, &[why]);
    }
    // A guest has a memory, four instances, and a table by which it calls what it imports.
    for written in [with_memories(3, 1).written(), with_modules(&empty, 12), with_modules(&table, 3)] {
        assert_well(&Serve::new(written.path()).arg("--no-cache").start());
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
