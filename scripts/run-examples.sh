#!/usr/bin/env bash
# Serves two examples until it is interrupted, iris-python on port $PORT and iris-rust on the next one:
#
#     scripts/run-examples.sh BINARY
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
binary=$1
python_port=${PORT:-5001}
rust_port=$((python_port + 1))
request='{"data": [[5.1, 3.5, 1.4, 0.2]]}'

# The examples are ours, and in a container there may be no other user.
if [ "$(id -u)" = 0 ]; then
    export SCOREBOX_ALLOW_ROOT=true
fi

servers=()
stop() {
    trap - EXIT INT TERM
    if [ ${#servers[@]} -gt 0 ]; then
        kill "${servers[@]}" 2>/dev/null || true
        wait "${servers[@]}" || true
    fi
}
trap stop EXIT INT TERM

cat <<TEXT
Serving two examples, each in its own process. When they listen, in another terminal:

  curl -d '$request' -H 'content-type: application/json' localhost:$python_port/score   # examples/iris-python
  curl -d '$request' -H 'content-type: application/json' localhost:$rust_port/score   # examples/iris-rust

TEXT
"$binary" serve examples/iris-rust --port "$rust_port" &
servers+=($!)
"$binary" serve examples/iris-python --port "$python_port" &
servers+=($!)
# When one ends, so does the other.
wait -n
