"""Serves a `score.py` as Azure ML's inference server does, in a sandbox.

The host calls `init` once and takes a snapshot of the memory. `schema` and `run` start from it, each in a copy of its own:
`run` is called at most once in the life of an instance.
"""

import copy
import gc
import json
import logging
import os
import sys
import time
import traceback

from flask import Response

from . import (
    context,
    global_state,
    hints,
    model_directory,
    output,
    pickles,
    randomness,
    responses,
    restrictions,
    schema_fixes,
    schemas,
    script,
    snapshot,
)
from .errors import BadInput, UserScriptError, UserScriptException, operator_text
from .head import RequestHead

_log = logging.getLogger("azmlinfsrv")

CHECK = "SCOREBOX_CHECK"
"""Environment variable that asks for advice on the script, besides deploying it."""

WARM_UP = "SCOREBOX_WARM_UP"
"""Environment variable that names a file of the app with the body of a request. `run()` is called with it before the
snapshot, so that requests find the interpreter's code specialised, caches filled and modules imported."""

_REHEARSALS = 32
"""Requests before the snapshot: as many as it takes until nothing is specialised any more."""

_LONGEST_WARM_UP = 10.0
"""Seconds after which no further request is made to warm up."""

_REHEARSED = b"id\n\nPOST\nhttp\n/score\n?a=1\n127.0.0.1\nhost: localhost\ncontent-type: application/json"
"""The head of requests before the snapshot."""

_ready = False
"""Whether everything is in place that a script finds, but the script."""

_script: script.Script
_context: context.ScoringContext
_description: bytes


def preload(statements: bytes) -> bytes:
    """Does what comes before the script, and then what the script begins with: `statements`, which import modules.

    The host may keep the state after it, for scripts that begin alike: `init` goes on from there. Returns nothing on
    success, else a text in UTF-8.
    """
    try:
        _get_ready()
        exec(compile(statements, "<preload>", "exec"), {"__name__": "preload"})
        # Most of the objects of a snapshot are those of its modules, and to find them all takes its time.
        gc.collect()
        snapshot.make_immortal()
    except BaseException as error:
        return operator_text(error).encode("utf-8", "backslashreplace")
    finally:
        output.finish()
    return b""


def init() -> bytes:
    """Imports the script, checks it and calls its `init()`.

    What the script is told comes from the environment: `AZUREML_ENTRY_SCRIPT`, `AML_APP_ROOT`, `AZUREML_SOURCE_DIRECTORY`,
    `AZUREML_MODEL_DIR`. Returns nothing on success, else a text in UTF-8 that says why the script cannot be served.
    """
    try:
        _init()
    except BaseException as error:
        return _explain(error).encode("utf-8", "backslashreplace")
    finally:
        output.finish()
    return b""


def schema() -> bytes:
    """What `run()` takes and gives, as JSON; see `schemas.describe`."""
    return _description


def run(head: bytes, body: bytes) -> responses.Answer:
    """Scores one request; see `head` for the form of a request's head and `responses` for that of the answer.

    Never raises.
    """
    try:
        return _run(RequestHead(head), body)
    except BadInput as error:
        return responses.bad_input(str(error))
    except BaseException as error:
        return responses.of_error(error)
    finally:
        output.finish()


def _get_ready() -> None:
    global _ready
    sys.argv = ["azmlinfsrv"]
    sys.dont_write_bytecode = True
    output.install(os.environ.get("AML_APP_ROOT", os.getcwd()), script.entry_script())
    restrictions.install()
    schema_fixes.install()
    pickles.install()
    hints.watch_pickles()
    randomness.watch()
    # The contract's second name for these modules; it works without a package `azureml`.
    from azureml_inference_server_http.api import aml_request, aml_response

    sys.modules["azureml.contrib.services.aml_request"] = aml_request
    sys.modules["azureml.contrib.services.aml_response"] = aml_response
    script.extend_path()
    _ready = True


def _init() -> None:
    global _script, _context, _description
    if _ready:
        # Others may go on from the same state.
        randomness.begin_anew()
    else:
        _get_ready()
    _script = script.load()
    if CHECK in os.environ:
        _warn_of_global_state()
    _script.invoke_init()
    _description = schemas.describe(_script)
    _context = context.enter(is_raw=_script.mode is script.Mode.RAW)
    _warm_up()
    randomness.settle()
    _rehearse()
    snapshot.prepare()


def _warn_of_global_state() -> None:
    path = script.entry_script()
    if path is None:
        return
    with open(path, "rb") as file:
        findings = global_state.find(file.read())
    for finding in findings:
        _log.warning("%s:%d: run() %s; no later request will see it", path, finding.line, finding.what)


def _run(head: RequestHead, body: bytes) -> responses.Answer:
    randomness.renew()
    _context.begin(head, body)
    result = _script.invoke_run(_script.arguments(head, body))
    if _context.has_after_request:
        result = _context.after_request(responses.to_response(result))
    if isinstance(result, Response):
        _log.info("run() output is HTTP Response")
        return responses.of_response(result, head.method, lambda: _context.request.environ)
    return responses.of_value(result)


def _warm_up() -> None:
    """Calls `run()` with the request that the author of the script names, if there is one.

    What that leaves in the script's state is in the snapshot: this is why nobody but the author asks for it. Raises
    `UserScriptError` where the file cannot be read, or `run()` fails.
    """
    name = os.environ.get(WARM_UP)
    if not name:
        return
    path = os.path.join(os.environ.get("AML_APP_ROOT", os.getcwd()), name)
    try:
        with open(path, "rb") as file:
            body = file.read()
    except OSError as error:
        raise UserScriptError(f"{WARM_UP} names {path}, which cannot be read: {error.strerror}") from None
    end = time.monotonic() + _LONGEST_WARM_UP
    for _ in range(_REHEARSALS):
        head = RequestHead(_REHEARSED)
        _context.begin(head, body)
        try:
            result = _script.invoke_run(_script.arguments(head, body))
            if not isinstance(result, Response):
                responses.of_value(result)
        except BaseException as error:
            reason = operator_text(error.__cause__ or error)
            raise UserScriptError(f"run() fails with {path}, which {WARM_UP} names: {reason}") from None
        finally:
            _context.forget()
            output.finish()
        if time.monotonic() > end:
            break


def _rehearse() -> None:
    """Does what every request does, often enough for the interpreter to have specialised the code for it.

    The script's `run()` is left out: how often it has been called may matter to it.
    """
    global _script
    body = b'{"": [0, 0.5, "", null, {}]}'
    actual, _script = _script, copy.copy(_script)
    _script.run = lambda **_: json.loads(body)
    try:
        for _ in range(_REHEARSALS):
            run(_REHEARSED, body)
            head = RequestHead(_REHEARSED)
            head.headers_by_title()
            responses.bad_input("")
            _context.request.get_json()
            _context.request.args.get("a")
            _context.request.headers.get("host")
            responses.of_response(Response(body, headers={"a": "b"}), head.method, dict)
            _context.forget()
    finally:
        _script = actual


def _explain(error: BaseException) -> str:
    """Logs why the script cannot be served; returns the short of it."""
    trace = "".join(traceback.format_exception(error)).rstrip()
    cause = error.__cause__ or error
    if isinstance(error, UserScriptException):
        _log.error("User's init function failed")
        _log.error("Encountered Exception %s", trace)
        model_directory.log_contents()
        reason = operator_text(cause)
    else:
        _log.error(trace)
        reason = str(error) if cause is error and isinstance(error, UserScriptError) else operator_text(cause)
    hint = hints.hint(cause)
    return f"{reason}\n{hint}" if hint else reason
