#!/usr/bin/env bash
# Installs what is missing on this machine, and only that:
#
#     scripts/setup.sh [build|python|test|bench|audit]...
#
#   build   (always) make, a C compiler, Rust, a toolchain that builds for wasm32-unknown-unknown
#   test    rustfmt and clippy, a C++ compiler for libFuzzer, and Chromium for the console
#   python  python3 and pip, which make the Python runtime
#   bench   wrk, and what `python` has: the real server is measured in a virtual environment
#   audit   git, and cargo-deny into target/tools
#
# Rust is rustup's where it is new enough, otherwise Debian's rustc-web. The WebAssembly target comes from rustup;
# where that is not to be had, Debian's rust-web-src and lld-22 build its standard library (`scorebox build` does it).
# Says nothing where nothing is missing. Packages are installed with apt-get, by sudo when not root.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/toolchain.sh
. scripts/toolchain.sh

CARGO_DENY='^0.20.2'

say() { printf 'setup: %s\n' "$*" >&2; }

die() {
    printf 'setup: error: %s\n' "$1" >&2
    shift
    if [ $# -gt 0 ]; then printf '       %s\n' "$@" >&2; fi
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# within SECONDS COMMAND...: bounded where the machine has timeout(1).
within() {
    local seconds=$1
    shift
    if have timeout; then timeout "$seconds" "$@"; else "$@"; fi
}

# --- Debian's packages ---------------------------------------------------------------------------------------------

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

can_install() { have apt-get && { [ "$(id -u)" -eq 0 ] || have sudo; }; }

# Runs apt-get quietly; what it said is shown when it fails.
apt() {
    local log status=0
    log=$(mktemp)
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@" \
        >"$log" 2>&1 </dev/null || status=$?
    if [ "$status" -ne 0 ]; then tail -n 20 "$log" >&2; fi
    rm -f "$log"
    return "$status"
}

apt_updated=no

# install WHY PACKAGE...: from Debian's packages, or an error that says what to do instead.
install() {
    local why=$1 package
    shift
    if ! can_install; then
        die "missing: $why" \
            "apt-get, or the right to use it, is missing too, so it cannot be installed from here. Install by hand:" \
            "  make and a C compiler (gcc or clang)," \
            "  Rust $RUST_MIN or later with rustfmt and clippy (https://rustup.rs)," \
            "  its WebAssembly target (rustup target add wasm32-unknown-unknown)," \
            "  for tests: Chromium and its chromedriver; for benchmarks: wrk"
    fi
    if [ "$apt_updated" = no ]; then
        apt update || die "apt-get update failed, and $why has to be installed"
        apt_updated=yes
    fi
    for package in "$@"; do
        apt-cache show "$package" >/dev/null 2>&1 || die "missing: $why" \
            "This release's packages have no $package. With rustup (https://rustup.rs) none is needed:" \
            "  rustup toolchain install stable --component rustfmt --component clippy --target wasm32-unknown-unknown"
    done
    say "installing $* ($why)"
    apt install --no-install-recommends "$@" || die "apt-get could not install: $*"
}

# need COMMAND PACKAGE WHY: notes PACKAGE as missing where COMMAND is not there.
missing=() missing_why=
need() {
    if ! have "$1"; then
        missing+=("$2")
        missing_why=${missing_why:+$missing_why, }$3
    fi
}

install_missing() {
    if [ ${#missing[@]} -gt 0 ]; then
        install "$missing_why" "${missing[@]}"
        missing=() missing_why=
    fi
}

# --- build ---------------------------------------------------------------------------------------------------------

# Compiles and links: a compiler without a C library would not do.
has_c_compiler() {
    have cc || return 1
    local out status=0
    out=$(mktemp)
    echo 'int main(void) { return 0; }' | cc -x c -o "$out" - 2>/dev/null || status=$?
    rm -f "$out"
    return "$status"
}

need_basics() {
    need make make make
    if ! has_c_compiler; then
        missing+=(gcc libc6-dev)
        missing_why=${missing_why:+$missing_why, }'a C compiler'
    fi
    install_missing
}

# has_lints DIR: do rustfmt and clippy work there?
has_lints() {
    "$1/cargo-fmt" --version >/dev/null 2>&1 && "$1/rustfmt" --version >/dev/null 2>&1 &&
        PATH="$1:$PATH" "$1/cargo-clippy" --version >/dev/null 2>&1
}

# fits DIR: new enough, and with rustfmt and clippy where the tests are to run.
fits() {
    usable_rust "$1" || return 1
    [ "$with_lints" = yes ] || return 0
    has_lints "$1" && return 0
    [ -x "$1/rustup" ] || return 1
    say "adding rustfmt and clippy to rustup's toolchain"
    within 600 "$1/rustup" component add rustfmt clippy >/dev/null 2>&1 && has_lints "$1"
}

# Debian's packages of a recent Rust, kept up to date for its browsers.
install_debian_rust() {
    local packages=(rustc-web cargo-web) version
    if [ "$with_lints" = yes ]; then packages+=(rustfmt-web rust-web-clippy); fi
    install "Rust $RUST_MIN or later${1:+ $1}" "${packages[@]}"
    version=$(rust_version /usr/bin) || die "rustc-web is installed, but /usr/bin/rustc does not run"
    new_enough "$version" || die "/usr/bin/rustc is $version, and $RUST_MIN or later is needed" \
        "Newer versions come with the security updates: is that suite among the sources of apt?" \
        "Or use rustup (https://rustup.rs)."
}

need_rust() {
    local dir chosen=
    while IFS= read -r dir; do
        if fits "$dir"; then
            chosen=$dir
            break
        fi
    done < <(rust_dirs)
    if [ -z "$chosen" ]; then
        if [ "$with_lints" = yes ]; then install_debian_rust 'with rustfmt and clippy'; else install_debian_rust; fi
        chosen=/usr/bin
    fi
    mkdir -p target
    if [ "$(cat "$TOOLCHAIN_FILE" 2>/dev/null || true)" != "$chosen" ]; then
        printf '%s\n' "$chosen" >"$TOOLCHAIN_FILE"
    fi
    rust=$chosen
}

# The chosen Rust comes with the target's standard library.
has_wasm_target() {
    local lib found
    lib=$(PATH="$rust:$PATH" "$rust/rustc" --print target-libdir --target wasm32-unknown-unknown 2>/dev/null) || return 1
    for found in "$lib"/libstd-*.rlib; do
        if [ -e "$found" ]; then return 0; fi
    done
    return 1
}

# Debian's Rust with the sources of the standard library.
has_wasm_sources() {
    usable_rust /usr/bin && [ -e "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/std/Cargo.toml" ] &&
        have "$WASM_LD"
}

need_wasm() {
    if has_wasm_target || has_wasm_sources; then return; fi
    if [ -x "$rust/rustup" ]; then
        say "adding the target wasm32-unknown-unknown to rustup's toolchain"
        if within 300 env RUSTUP_MAX_RETRIES=1 "$rust/rustup" target add wasm32-unknown-unknown >/dev/null 2>&1; then
            has_wasm_target && return
        fi
        say "rustup could not add it: Debian's packages instead"
    fi
    install 'a toolchain for wasm32-unknown-unknown' rustc-web cargo-web rust-web-src "lld-${WASM_LD##*-}"
    has_wasm_sources || die "Debian's packages are installed, but cannot build for wasm32-unknown-unknown" \
        "Needed: /usr/bin/rustc $RUST_MIN or later ($(/usr/bin/rustc --version 2>&1)), its sources, $WASM_LD." \
        "Or use rustup: rustup target add wasm32-unknown-unknown"
}

# --- python --------------------------------------------------------------------------------------------------------

# A Python that can make virtual environments, pip in them: the tests train models in one.
need_python() {
    if python3 -c 'import ensurepip, pip, venv, zlib' >/dev/null 2>&1; then return; fi
    install 'python3 with pip and venv' python3 python3-pip python3-venv
    python3 -c 'import ensurepip, pip, venv, zlib' || die "python3 is installed, but has no pip or no venv"
}

# --- audit ---------------------------------------------------------------------------------------------------------

need_cargo_deny() {
    if target/tools/bin/cargo-deny --version >/dev/null 2>&1; then return; fi
    say "building cargo-deny into target/tools (some minutes)"
    scripts/rust.sh cargo install --quiet --locked --root target/tools --target-dir target/tools/build \
        --version "$CARGO_DENY" cargo-deny
    rm -rf target/tools/build
}

# -------------------------------------------------------------------------------------------------------------------

with_lints=no
for group in "$@"; do
    case $group in
        build | python | bench | audit) ;;
        test) with_lints=yes ;;
        *) die "no such group: $group" "usage: scripts/setup.sh [build|python|test|bench|audit]..." ;;
    esac
done

need_basics
need_rust
need_wasm
for group in "$@"; do
    case $group in
        test)
            need c++ g++ 'a C++ compiler, for libFuzzer'
            need mkfs.ext4 e2fsprogs 'mkfs.ext4, for a disk that fails'
            need chromium chromium 'Chromium, for the console'
            need chromedriver chromium-driver 'a WebDriver for Chromium'
            install_missing
            ;;
        python) need_python ;;
        bench)
            need_python
            need wrk wrk wrk
            install_missing
            ;;
        audit)
            need git git 'git, for the advisories'
            install_missing
            need_cargo_deny
            ;;
    esac
done
