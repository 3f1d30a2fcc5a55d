#!/usr/bin/env bash
# Checks the dependencies of the given Cargo projects with cargo-deny and deny.toml:
#
#     scripts/audit.sh DIR...
#
# Licences, bans and sources always. Advisories where their database can be reached, otherwise it says that they have
# not been checked; with AUDIT_ADVISORIES=required that is an error.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
deny=(target/tools/bin/cargo-deny --config deny.toml)
status=0

# Only a failure to reach the database is passed over, no other.
advisories=yes
if ! fetched=$("${deny[@]}" fetch db 2>&1); then
    case $fetched in
        *'failed to fetch'*) advisories=no ;;
        *)
            printf '%s\n' "$fetched" >&2
            exit 1
            ;;
    esac
fi

for dir in "$@"; do
    echo "== $dir"
    checks=(bans licenses sources)
    if [ "$advisories" = yes ]; then checks=(advisories "${checks[@]}"); fi
    # The database has been fetched; what is missing of the crates still may be.
    "${deny[@]}" --manifest-path "$dir/Cargo.toml" --workspace check --hide-inclusion-graph "${checks[@]}" || status=1
done

if [ "$advisories" = no ]; then
    printf '\naudit: ADVISORIES NOT CHECKED: their database could not be reached:\n' >&2
    printf '%s\n' "$fetched" | tail -n 5 | sed 's/^/    /' >&2
    if [ "${AUDIT_ADVISORIES:-}" = required ]; then status=1; fi
fi
exit "$status"
