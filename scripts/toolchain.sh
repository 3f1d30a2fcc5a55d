# shellcheck shell=bash disable=SC2034
# What setup.sh and rust.sh both know: which Rust will do, and where its programs are. Sourced, not run.

# Keep in step with rust-version in Cargo.toml.
RUST_MIN=1.95
# The linker for WebAssembly that goes with Debian's Rust.
WASM_LD=wasm-ld-22
# The directory of the Rust that setup.sh chose: one line.
TOOLCHAIN_FILE=target/.toolchain

# rust_version DIR: prints the version of DIR/rustc, fails where there is none that runs.
rust_version() {
    [ -x "$1/rustc" ] && [ -x "$1/cargo" ] || return 1
    local version
    version=$("$1/rustc" --version 2>/dev/null) || return 1
    version=${version#rustc }
    printf '%s\n' "${version%% *}"
}

# new_enough VERSION: is it RUST_MIN or later?
new_enough() {
    local major minor rest
    IFS=. read -r major minor rest <<<"$1"
    [ "$major" -gt "${RUST_MIN%.*}" ] || { [ "$major" -eq "${RUST_MIN%.*}" ] && [ "$minor" -ge "${RUST_MIN#*.}" ]; }
}

# usable_rust DIR: is there a cargo and a rustc that is new enough?
usable_rust() {
    local version
    version=$(rust_version "$1") && new_enough "$version"
}

# rust_dirs: prints the directories that may hold a Rust, the preferred one first.
rust_dirs() {
    local first
    first=$(command -v cargo || true)
    if [ -n "$first" ]; then dirname "$first"; fi
    printf '%s\n' "${CARGO_HOME:-$HOME/.cargo}/bin" /usr/bin
}
