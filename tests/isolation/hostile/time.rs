//! Guests that do not end, wherever they can be called.

use std::time::{Duration, Instant};

use scorebox_tests::{Request, Serve};

use crate::component::{Guest, Written, with_a_resource};
use crate::{assert_refused, assert_script_failed, assert_timed_out, assert_well, attack};

const LOOP: &str = "(loop $for_ever (br $for_ever))";
const TIMEOUT: Duration = Duration::from_millis(200);
/// How long a request may take that is stopped after [`TIMEOUT`], on a busy machine.
const STOPPED: Duration = Duration::from_secs(4);

/// Checks that a server of this guest does not start, and that it is stopped in the function that is named.
#[track_caller]
fn assert_stopped_at_deploy(guest: &Guest, function: &str) {
    let (_written, serve) = guest.serve();
    let begin = Instant::now();
    assert_refused(&serve.args("--init-timeout 200ms").refused(), &[function, "did not end within 0.2 s"]);
    assert!(begin.elapsed() < 2 * STOPPED, "refused after {:?}", begin.elapsed());
}

#[test]
fn a_loop_in_init_in_schema_or_in_the_start_function_is_stopped_at_deploy() {
    assert_stopped_at_deploy(&Guest::new().init(LOOP), "init()");
    assert_stopped_at_deploy(&Guest::new().schema(LOOP), "schema()");
    assert_stopped_at_deploy(&Guest::new().field(&format!("(func $begin {LOOP}) (start $begin)")), "init()");
}

#[test]
fn a_loop_in_what_frees_the_result_of_init_or_schema_is_stopped_at_deploy() {
    for function in ["init", "schema"] {
        let name = format!("cabi_post_scorebox:scoring/scoring@0.1.0#{function}");
        let guest = Guest::new().field(&format!(r#"(func (export "{name}") (param i32) {LOOP})"#));
        assert_stopped_at_deploy(&guest, &format!("{function}()"));
    }
}

#[test]
fn a_loop_in_run_in_what_frees_its_result_or_in_the_allocator_ends_with_the_deadline() {
    let (_written, serve) = Guest::new()
        .when(b'l', LOOP)
        .field(&format!(
            r#"(global $post (mut i32) (i32.const 0))
            (func (export "cabi_post_scorebox:scoring/scoring@0.1.0#run") (param i32) (if (global.get $post) (then {LOOP})))"#
        ))
        .when(b'p', "(global.set $post (i32.const 1))")
        // The host asks for room for a body of this length.
        .realloc(&format!("(if (i32.eq (local.get $size) (i32.const 12345)) (then {LOOP}))"))
        .serve();
    let server = serve.args("--timeout 200ms").start();
    for request in [Request::score("l"), Request::score("p"), Request::score(vec![b'w'; 12345])] {
        let begin = Instant::now();
        assert_timed_out(&server.send(&request), TIMEOUT);
        assert!(begin.elapsed() < STOPPED, "after {:?}", begin.elapsed());
        assert_well(&server);
    }
}

#[test]
fn a_loop_in_a_drop_handler_ends_with_the_deadline() {
    let written = Written::new(&with_a_resource(LOOP, "(call $drop (call $new (i32.const 7)))"));
    let server = Serve::new(written.path()).args("--no-cache --timeout 200ms").start();
    let begin = Instant::now();
    assert_timed_out(&attack(&server, b'x'), TIMEOUT);
    assert!(begin.elapsed() < STOPPED, "after {:?}", begin.elapsed());
    assert_well(&server);
}

#[test]
fn recursion_without_end_and_unreachable_code_are_stopped() {
    let (_written, serve) = Guest::new()
        .field("(func $down (param i64 i64) (result i64) (i64.add (call $down (local.get 1) (local.get 0)) (i64.const 1)))")
        .field("(func $aside (param i32) (call $again (local.get 0))) (func $again (param i32) (call $aside (local.get 0)) (call $aside (local.get 0)))")
        .when(b'r', "(drop (call $down (i64.const 1) (i64.const 2)))")
        .when(b'm', "(call $aside (i32.const 1))")
        .when(b'u', "unreachable")
        .when(b'd', "(drop (i32.div_u (i32.const 1) (i32.load (i32.const 60))))")
        .serve();
    let server = serve.start();
    for (kind, reason) in [
        (b'r', "call stack exhausted"),
        (b'm', "call stack exhausted"),
        (b'u', "`unreachable` instruction executed"),
        (b'd', "integer divide by zero"),
    ] {
        assert_script_failed(&attack(&server, kind));
        server.logged(&format!("run() was stopped: wasm trap: {}{reason}", if kind == b'u' { "wasm " } else { "" }));
        assert_well(&server);
    }
}

#[test]
fn recursion_without_end_in_init_is_refused() {
    let (_written, serve) = Guest::new().field("(func $down (call $down) (call $down))").init("(call $down)").serve();
    assert_refused(&serve.refused(), &["init() was stopped: wasm trap: call stack exhausted"]);
}

/// One instruction on all of a memory cannot be interrupted: it is over when it is.
#[test]
fn instructions_on_all_of_a_large_memory_end_with_the_deadline_and_the_instruction() {
    let fill = "(memory.fill (i32.const 4096) (i32.const 1) (i32.const 0x1fff0000))";
    let (_written, serve) = Guest::new()
        .when(b'f', &format!("(drop (memory.grow (i32.const 8192))) (loop $for_ever {fill} (br $for_ever))"))
        .serve();
    let server = serve.args("--timeout 200ms --memory 1GiB").start();
    let mut times = Vec::new();
    for _ in 0..3 {
        let begin = Instant::now();
        assert_timed_out(&attack(&server, b'f'), TIMEOUT);
        times.push(begin.elapsed());
        assert_well(&server);
    }
    println!("filling 512 MiB at a time for ever, stopped after 200 ms: {times:?}");
    assert!(times.iter().all(|time| *time < STOPPED), "{times:?}");
}
