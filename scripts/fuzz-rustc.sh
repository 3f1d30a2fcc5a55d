#!/usr/bin/env bash
# The compiler for fuzzing: Cargo calls it for the project's own crates (RUSTC_WORKSPACE_WRAPPER), so that these tell
# libFuzzer where they have been and what they compare, and check their arithmetic, while all that they depend on is what
# other builds have compiled already. Programs are linked with libFuzzer, which is in the folder that FUZZ_ENGINE names.
set -euo pipefail

own=(
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
    -Cdebug-assertions=on
    -Coverflow-checks=on
)
case " $* " in
    *" --crate-type bin "*) own+=("-Clink-arg=$FUZZ_ENGINE/libfuzzer.a" -Clink-arg=-lstdc++) ;;
esac
exec "$@" "${own[@]}"
