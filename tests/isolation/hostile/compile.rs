//! Modules that are hard to compile, cut off, or damaged.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use scorebox_tests::process::{Process, descendants, memory, scorebox};
use scorebox_tests::wait::PATIENCE;
use scorebox_tests::{Ended, fixtures};
use wasm_encoder::{BlockType, ComponentSectionId, Module};

use crate::component::{Guest, Written, core_module, hundred_thousand_functions, with_core_modules};

/// Modules like these are compiled with no more than this, and then refused.
const LIMITS: [&str; 6] = ["--seal-timeout", "10s", "--seal-memory", "1GiB", "--memory", "64MiB"];
/// Bytes that the processes of a command may have together: what one may write to that compiles, and besides that the
/// program, and what the others keep of the module.
const MEMORY: u64 = (1 << 30) + 3 * (64 << 20) + (256 << 20);
/// What is said of a process that has crashed, or that was ended from outside, rather than at one of its limits.
const CRASHES: [&str; 5] =
    ["was ended by signal", "was killed", "ended with exit status", "' panicked at", ") panicked at"];
/// How long a command may take that compiles one of them.
const BOUND: Duration = Duration::from_secs(40);

/// How a command ended, after what time, and how much memory it had at most: all of its processes that were there at the
/// same time, each with the most that it had until then, and each with the program itself.
#[derive(Debug)]
struct Measured {
    ended: Ended,
    time: Duration,
    memory: u64,
}

/// Runs `scorebox check` on a component to its end.
#[track_caller]
fn check(component: &[u8]) -> Measured {
    let written = Written::new(component);
    let mut command = scorebox();
    command.arg("check").arg(written.path()).arg("--no-cache").args(LIMITS);
    let begin = Instant::now();
    let mut process = Process::start(&mut command);
    let mut most = 0;
    while process.runs() {
        assert!(begin.elapsed() < BOUND, "it has not ended within {BOUND:?}; {}", process.said());
        let processes = descendants(process.id()).into_iter().chain([process.id()]);
        most = most.max(processes.filter_map(|id| memory(id, "VmHWM")).sum());
        std::thread::sleep(Duration::from_millis(2));
    }
    let time = begin.elapsed();
    Measured { ended: process.wait(PATIENCE), time, memory: most }
}

/// Checks that no process of a command has crashed.
#[track_caller]
fn assert_no_crash(what: &str, ended: &Ended) {
    let crash = CRASHES.iter().find(|crash| ended.stderr.contains(*crash));
    assert!(crash.is_none(), "{what}: {ended:?}");
}

/// A scorer that has this module inside.
fn scorer_with(module: &Module) -> Vec<u8> {
    with_core_modules(&Guest::new().component(), [module])
}

/// Checks that a scorer is taken, or refused with a reason, in bounded time and memory.
#[track_caller]
fn assert_bounded(what: &str, component: &[u8]) -> Measured {
    let measured = check(component);
    let Measured { ended, time, memory } = &measured;
    let said: String = ended.stderr.chars().take(300).collect();
    println!("{what}: {} KiB, {time:?}, {} MiB, exit {:?}; {said}", component.len() >> 10, memory >> 20, ended.code);
    match ended.code {
        Some(0) => assert!(ended.stdout.contains("scorebox:scoring/scoring@0.1.0"), "{}", ended.stdout),
        Some(1) => assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr),
        _ => panic!("{what}: {ended:?}"),
    }
    assert_no_crash(what, ended);
    assert!(*memory <= MEMORY, "{what}: {memory} bytes, more than {MEMORY}");
    measured
}

#[test]
fn a_hundred_thousand_functions_are_compiled_or_refused() {
    assert_bounded("100,000 functions", &scorer_with(&hundred_thousand_functions()));
}

#[test]
fn a_function_of_10_mb_is_refused_and_one_of_2_mb_is_compiled_or_refused() {
    for (what, size) in [("a function of 10 MB", 10_000_000), ("a function of 2 MB", 2_000_000)] {
        let module = core_module(1, 8, |code| {
            for step in 0..size / 9 {
                let local = step % 8;
                code.local_get(local).i64_const(0x5_1234).i64_mul().local_set((local + 3) % 8);
            }
        });
        let measured = assert_bounded(what, &scorer_with(&module));
        let too_large = measured.ended.stderr.contains("function body size count exceeds limit of 7654321");
        assert_eq!(too_large, size == 10_000_000, "{measured:?}");
    }
}

#[test]
fn functions_of_50_000_locals_are_compiled_or_refused() {
    let module = core_module(30, 50_000, |code| {
        for local in 1..50_000 {
            code.local_get(local).i64_const(1).i64_add().local_set(local - 1);
        }
    });
    assert_bounded("30 functions of 50,000 locals", &scorer_with(&module));
}

#[test]
fn many_locals_in_many_loops_are_compiled_or_refused() {
    const LOCALS: u32 = 10_000;
    const LOOPS: usize = 1_000;
    let module = core_module(1, LOCALS, |code| {
        for _ in 0..LOOPS {
            code.loop_(BlockType::Empty);
        }
        for local in 0..LOCALS {
            code.local_get(local).i64_const(1).i64_add().local_set(local);
        }
        for _ in 0..LOOPS {
            code.local_get(0).i64_eqz().br_if(0).end();
        }
    });
    let measured = assert_bounded(&format!("{LOCALS} locals in {LOOPS} loops"), &scorer_with(&module));
    let said = &measured.ended.stderr;
    assert!(said.contains("raise --seal-timeout") || said.contains("raise --seal-memory"), "{measured:?}");
}

#[test]
fn a_branch_table_of_a_million_targets_is_refused() {
    let module = core_module(1, 1, |code| {
        code.block(BlockType::Empty).block(BlockType::Empty).local_get(0).i32_wrap_i64();
        code.br_table((0..1_000_000).map(|target| target % 2), 0);
        code.end().end();
    });
    let measured = assert_bounded("br_table of 1,000,000 targets", &scorer_with(&module));
    assert!(measured.ended.stderr.contains("`br_table` has 1000000 targets"), "{measured:?}");
}

#[test]
fn blocks_in_blocks_without_end_are_compiled_or_refused() {
    let module = core_module(1, 1, |code| {
        for _ in 0..200_000 {
            code.block(BlockType::Empty);
        }
        for _ in 0..200_000 {
            code.end();
        }
    });
    assert_bounded("200,000 blocks, one in the other", &scorer_with(&module));
}

/// A section of a component with this content.
fn section(id: ComponentSectionId, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![id.into()];
    leb128(content.len(), &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

fn leb128(mut number: usize, bytes: &mut Vec<u8>) {
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[test]
fn components_in_components_are_compiled_or_refused() {
    for depth in [50, 20_000] {
        let mut inner = fixtures::EMPTY_COMPONENT.to_vec();
        for _ in 0..depth {
            let mut outer = fixtures::EMPTY_COMPONENT.to_vec();
            outer.extend(section(ComponentSectionId::Component, &inner));
            inner = outer;
        }
        let mut component = Guest::new().component();
        component.extend(section(ComponentSectionId::Component, &inner));
        assert_bounded(&format!("{depth} components, one in the other"), &component);
    }
}

#[test]
fn types_of_types_without_end_are_refused() {
    for depth in [50_usize, 10_000, 900_000] {
        // list<list<list<...>>>, each by the index of the one before.
        let mut component = Guest::new().component();
        let mut content = Vec::new();
        leb128(depth, &mut content);
        // The first is `list<u8>` in a component of its own, where the indices begin with 0.
        content.extend([0x70, 0x7d]);
        for index in 0..depth - 1 {
            content.push(0x70);
            leb128_signed(index, &mut content);
        }
        let mut inner = fixtures::EMPTY_COMPONENT.to_vec();
        inner.extend(section(ComponentSectionId::Type, &content));
        component.extend(section(ComponentSectionId::Component, &inner));
        let measured = assert_bounded(&format!("{depth} types, one of the other"), &component);
        assert_eq!(measured.ended.stderr.contains("type nesting is too deep"), depth > 50, "{measured:?}");
    }
}

fn leb128_signed(number: usize, bytes: &mut Vec<u8>) {
    let mut number = number;
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 && byte & 0x40 == 0 {
            bytes.push(byte);
            return;
        }
        bytes.push(byte | 0x80);
    }
}

/// A number generator that gives the same numbers in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

/// How a damaged scorer ends: refused, or scored in the sandbox, whatever comes of it.
fn run_damaged(component: &[u8], body: &Path) -> Ended {
    let written = Written::new(component);
    let mut command = scorebox();
    command.arg("run").arg(written.path()).arg("--data").arg(body);
    command.args(["--no-cache", "--timeout", "500ms", "--init-timeout", "500ms"]).args(LIMITS);
    Process::start(&mut command).wait(PATIENCE)
}

#[test]
fn a_scorer_that_is_cut_off_or_has_a_wrong_bit_is_refused_or_scored() {
    let compiled = fs::read(fixtures::guest("spin")).expect("a guest");
    assert_refused_or_scored(&compiled, 40, 20);
    // Of a small one more of the bits matter.
    assert_refused_or_scored(&Guest::new().component(), 300, 60);
}

/// Damages a scorer in so many ways, the same in each run of the test, and runs what comes of it.
#[track_caller]
fn assert_refused_or_scored(component: &[u8], flips: usize, cuts: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let body = folder.path().join("body");
    fs::write(&body, r#"{"spin": false}"#).expect("a file");
    let mut numbers = Numbers(5);
    let mut damaged: Vec<_> = (0..flips)
        .map(|_| {
            let mut damaged = component.to_vec();
            damaged[numbers.below(component.len())] ^= 1 << numbers.below(8);
            damaged
        })
        .collect();
    damaged.extend((0..cuts).map(|_| component[..numbers.below(component.len())].to_vec()));
    let (mut refused, mut scored) = (0, 0);
    for (number, damaged) in damaged.iter().enumerate() {
        let ended = run_damaged(damaged, &body);
        match ended.code {
            Some(0) => scored += 1,
            Some(1) if ended.stderr.contains("error: ") => refused += 1,
            _ => panic!("number {number}: {ended:?}"),
        }
        assert_no_crash(&format!("number {number}"), &ended);
    }
    println!("of {} damaged scorers {refused} were refused or failed, {scored} scored", damaged.len());
    assert!(refused > cuts && scored > 0, "{refused} {scored}");
}
