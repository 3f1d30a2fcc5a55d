#!/usr/bin/env bash
# Runs `cargo test` with the given arguments, all of it even where something fails, and closes with one line that counts
# over all test programs: "N passed, N failed, N skipped".
set -euo pipefail

log=$(mktemp)
trap 'rm -f "$log"' EXIT

status=0
"$(dirname "${BASH_SOURCE[0]}")/rust.sh" cargo test --no-fail-fast "$@" | tee "$log" || status=$?

sed -nE 's/.*test result: [^.]*\. ([0-9]+) passed; ([0-9]+) failed; ([0-9]+) ignored;.*/\1 \2 \3/p' "$log" |
    awk '{ passed += $1; failed += $2; skipped += $3 }
        END { printf "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped }'
exit "$status"
