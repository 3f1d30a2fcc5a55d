#!/usr/bin/env bash
# Runs a command with the Rust that setup.sh chose first in PATH:
#     scripts/rust.sh cargo build
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/toolchain.sh
. "$root/scripts/toolchain.sh"

if [ ! -s "$root/$TOOLCHAIN_FILE" ]; then
    (cd "$root" && scripts/setup.sh build)
fi
dir=$(cat "$root/$TOOLCHAIN_FILE")
case ":$PATH:" in
    ":$dir:"*) ;;
    *) PATH="$dir:$PATH" ;;
esac
exec "$@"
