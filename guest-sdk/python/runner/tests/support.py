"""Deploying scripts in this process, with a host that takes notes."""

import builtins
import gc
import importlib
import json
import os
import sys
import types

SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "scripts")


class Host:
    """What the other side of the door saw."""

    def __init__(self):
        self.messages = []
        self.chunks_until_gone = None

    def call(self, message):
        kind = message[:1]
        if kind == b"C" and self.chunks_until_gone is not None:
            if self.chunks_until_gone == 0:
                raise OSError("the client is gone")
            self.chunks_until_gone -= 1
        self.messages.append(bytes(message))
        return b""

    def of_kind(self, kind):
        return [message[1:] for message in self.messages if message[:1] == kind]

    def log(self):
        """Stream, level, logger and text of each record."""
        records = []
        for message in self.of_kind(b"L"):
            name, _, text = message[2:].partition(b"\0")
            records.append((int(message[:1]), int(message[1:2]), name.decode(), text.decode()))
        return records


host = Host()
_door = types.ModuleType("_host")
_door.call = lambda message: host.call(message)
sys.modules["_host"] = _door

import flask  # noqa: E402
import scorebox_runner  # noqa: E402  (needs the door)

runner = scorebox_runner


def leave_contexts():
    """Undoes what `context.enter` did for the last deployment."""
    if flask.has_request_context():
        flask.globals._cv_request.get().pop()
        flask.globals._cv_app.get().pop()


def deploy(test, script, **environment):
    """Runs `init` for a script of the folder `scripts`; returns its answer. Undone when the test ends."""
    _begin(test, script, environment)
    return scorebox_runner.init().decode()


def preload(test, statements):
    """Runs `preload`; returns its answer. Undone when the test ends."""
    _begin(test, "plain.py", {})
    return scorebox_runner.preload(statements.encode()).decode()


def _begin(test, script, environment):
    saved = sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__, builtins.print, list(sys.path), sys.argv, dict(os.environ)

    def undo():
        sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__, builtins.print, sys.path[:], sys.argv, env = saved
        os.environ.clear()
        os.environ.update(env)
        gc.unfreeze()
        leave_contexts()

    leave_contexts()
    test.addCleanup(undo)
    importlib.import_module("azureml_inference_server_http.api.aml_request")._raw_http = False
    if "inference_schema.schema_util" in sys.modules:
        sys.modules["inference_schema.schema_util"].__functions_schema__.clear()
        sys.modules["inference_schema.schema_util"].__versions__.clear()
    scorebox_runner._ready = False
    scorebox_runner.schema_fixes._asks_for_narrow_integers.cache_clear()
    host.__init__()
    os.environ.update({"AML_APP_ROOT": SCRIPTS, "AZUREML_ENTRY_SCRIPT": os.path.join(SCRIPTS, script), **environment})


def score(body=b"", method="POST", path="/score", query="", headers=(), request_id="id", client_id=""):
    """Runs `run` as for a new instance; returns the lines of the head, and the body."""
    host.messages.clear()
    context = scorebox_runner._context
    context.__dict__.pop("request", None)
    context._after_request_functions.clear()
    lines = [request_id, client_id, method, "http", path, query, "127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers]
    if isinstance(body, str):
        body = body.encode()
    head, answer = scorebox_runner.run("\n".join(lines).encode("latin-1"), body)
    return head.decode("latin-1").split("\n"), answer


def failure(answer):
    """The exception in an answer."""
    return json.loads(answer)
