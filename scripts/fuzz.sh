#!/usr/bin/env bash
# Fuzzes:
#
#     scripts/fuzz.sh [-seed=N] SECONDS [NAME]...
#
# Each target of tests/fuzz, or those that are named, runs for that many seconds, two at a time. It starts from its seeds and
# from what earlier runs have kept in target/fuzz/corpus. An input that fails is left in target/fuzz/findings: mend what it
# shows, and keep it in tests/fuzz/regressions. With a seed, two runs try much the same.
#
# No nightly compiler and no cargo-fuzz are needed: libFuzzer is compiled from the sources that the crate libfuzzer-sys has,
# and fuzz-rustc.sh says how the rest is.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD

seed=-seed=0 # libFuzzer's word for one of its own choice
if [[ $1 = -seed=* ]]; then
    seed=$1
    shift
fi
seconds=$1
shift
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    for file in tests/fuzz/fuzz_targets/*.rs; do names+=("$(basename "$file" .rs)"); done
fi

export FUZZ_ENGINE=$root/target/fuzz/engine
if [ ! -e "$FUZZ_ENGINE/libfuzzer.a" ]; then
    # A path of Cargo's, whose sources are fetched where they are not there.
    manifest=$(scripts/rust.sh cargo metadata --locked --all-features --format-version 1 |
        grep -o '"manifest_path":"[^"]*/libfuzzer-sys-[^"]*"' | head -n 1 | cut -d '"' -f 4)
    mkdir -p "$FUZZ_ENGINE"
    echo "compiling libFuzzer" >&2
    # The time goes into what is fuzzed: more than -O1 takes longer than it saves.
    find "$(dirname "$manifest")/libfuzzer" -maxdepth 1 -name '*.cpp' -print0 |
        (cd "$FUZZ_ENGINE" && xargs -0 -n 1 -P "$(nproc)" c++ -c -O1 -std=c++17 -fno-omit-frame-pointer -w)
    ar rcs "$FUZZ_ENGINE/libfuzzer.tmp" "$FUZZ_ENGINE"/*.o
    mv "$FUZZ_ENGINE/libfuzzer.tmp" "$FUZZ_ENGINE/libfuzzer.a"
fi

# All are built, so that it is the same whichever are wanted.
bins=()
for file in tests/fuzz/fuzz_targets/*.rs; do bins+=(--bin "$(basename "$file" .rs)"); done
RUSTC_WORKSPACE_WRAPPER=$root/scripts/fuzz-rustc.sh scripts/rust.sh cargo build ${CI:+--locked} --release --workspace \
    --features scorebox-fuzz/libfuzzer "${bins[@]}"

mkdir -p target/fuzz/findings target/fuzz/logs
# fuzz NAME: ends with 0 when nothing was found.
fuzz() {
    local name=$1 log=target/fuzz/logs/$1.log folder folders=("target/fuzz/corpus/$1")
    mkdir -p "${folders[0]}"
    for folder in "tests/fuzz/seeds/$name" "tests/fuzz/regressions/$name"; do
        if [ -d "$folder" ]; then folders+=("$folder"); fi
    done
    if target/release/"$name" "$seed" -max_total_time="$seconds" -timeout=300 -rss_limit_mb=4096 \
        -artifact_prefix="target/fuzz/findings/$name-" "${folders[@]}" >"$log" 2>&1 </dev/null; then
        printf '%-14s %s\n' "$name" "$(sed -nE \
            's|^#([0-9]+)\s+DONE\s+cov: ([0-9]+) .* corp: ([0-9]+)/.*|\1 inputs, \2 places reached, \3 kept|p' "$log")"
    else
        printf '%-14s failed: %s\n' "$name" "$log"
        grep -vE '^(#[0-9]+|INFO:|WARNING:|\s+NEW_FUNC|$)' "$log" | head -n 40
        return 1
    fi
}
export seconds seed
export -f fuzz
export SCOREBOX_GUESTS=${SCOREBOX_GUESTS:-$root/target/guests}
# shellcheck disable=SC2016 # The name is the inner shell's.
printf '%s\0' "${names[@]}" | xargs -0 -n 1 -P 2 bash -euo pipefail -c 'fuzz "$1"' fuzz
