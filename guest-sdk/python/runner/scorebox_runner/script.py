"""The user's script: how it is found, what it has to look like, and how its functions are called."""

import importlib
import inspect
import json
import logging
import os
import sys
from collections.abc import Callable
from enum import Enum
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

import flask
from azureml_inference_server_http.api import aml_request
from werkzeug.exceptions import HTTPException

from . import json_messages
from .errors import BadInput, UserScriptError, UserScriptException, UserScriptImportException, UserScriptTimeout
from .head import RequestHead

REQUEST_HEADERS = "request_headers"
"""Name of the parameter of `run()` that gets the request's headers."""

_server_log = logging.getLogger("azmlinfsrv")
_log = logging.getLogger("azmlinfsrv.user_script")


class Mode(Enum):
    """How `run()` gets its input. The values are the host's names."""

    PLAIN = "plain"
    """One text: the body."""
    JSON = "json"
    """The members of a JSON object, each as an argument."""
    RAW = "raw"
    """Flask's request."""


class Script:
    """A script that has been imported and checked."""

    def __init__(self, module: ModuleType, path: str) -> None:
        """Takes the functions `init` and `run` of `module`, `run` from its `driver_module` if that is a module that has one.

        `path` is for messages. Raises `UserScriptError` when they are not there or not what can be called.
        """
        driver = getattr(module, "driver_module", None)
        if not (isinstance(driver, ModuleType) and hasattr(driver, "run")):
            driver = module
        for name, place in (("init", module), ("run", driver)):
            if not hasattr(place, name):
                raise UserScriptError(f"User script at {path} does not have a {name}() function defined.")
            if not callable(getattr(place, name)):
                raise UserScriptError(f"{name} in the user script at {path} is not a function.")
        self._init: Callable[[], Any] = module.init
        self.run: Callable[..., Any] = driver.run
        self.mode, parameters = _examine(self.run)
        self._takes_headers = REQUEST_HEADERS in parameters
        self._inputs = {name: parameter.default for name, parameter in parameters.items() if name != REQUEST_HEADERS}
        self._input = next(iter(self._inputs))
        self._arguments = {Mode.PLAIN: self._text, Mode.JSON: self._members, Mode.RAW: self._request}[self.mode]

    def invoke_init(self) -> None:
        """Calls `init()`. Raises `UserScriptException` when it raises anything, `SystemExit` included."""
        _log.info("Invoking user's init function")
        try:
            self._init()
        except BaseException as error:
            raise UserScriptException from error
        _log.info("Users's init has completed successfully")

    def arguments(self, head: RequestHead, body: bytes) -> dict[str, Any]:
        """What `run()` is called with, by name.

        Raises `BadInput` when the client has to be told that the input is not usable, and whatever else reading it
        raises.
        """
        arguments = self._arguments(head, body)
        if self._takes_headers:
            arguments[REQUEST_HEADERS] = head.headers_by_title()
        return arguments

    def invoke_run(self, arguments: dict[str, Any]) -> Any:
        """Calls `run()`. Raises `UserScriptTimeout` for a `TimeoutError`, `UserScriptException` for all others."""
        try:
            return self.run(**arguments)
        except TimeoutError as error:
            raise UserScriptTimeout from error
        except BaseException as error:
            raise UserScriptException from error

    def _text(self, head: RequestHead, body: bytes) -> dict[str, Any]:
        if head.method != "GET" and "form" in head.content_type().lower():
            # Flask says what a form is, and has no data of one.
            try:
                body = flask.request.get_data()
            except HTTPException as error:
                raise BadInput(error.description) from None
        try:
            return {self._input: body.decode()}
        except UnicodeDecodeError as error:
            raise BadInput(f"Input cannot be decoded as UTF-8: {error}") from None

    def _request(self, _: RequestHead, __: bytes) -> dict[str, Any]:
        return {self._input: flask.request}

    def _members(self, _: RequestHead, body: bytes) -> dict[str, Any]:
        if not body:
            raise BadInput("POST body is empty. Expecting a JSON dictionary.")
        try:
            members = json.loads(body)
        except json.JSONDecodeError as error:
            error = json_messages.contractual(error)
            raise BadInput(f"POST body could not be decoded as JSON: {error}") from None
        if not isinstance(members, dict):
            raise BadInput("POST body should be a JSON dictionary.")
        arguments = {}
        for name, default in self._inputs.items():
            value = members.get(name, default)
            if value is inspect.Parameter.empty:
                raise BadInput(f"A value is not provided for the {name!r} parameter.")
            arguments[name] = value
        return arguments


def extend_path() -> None:
    """Adds `AML_APP_ROOT`, and the folder `AZUREML_SOURCE_DIRECTORY` in it, to `sys.path`; the script's own folder is not."""
    source_directory = os.environ.get("AZUREML_SOURCE_DIRECTORY")
    for folder in (_app_root(), os.path.join(_app_root(), source_directory) if source_directory else None):
        if folder and folder not in sys.path:
            sys.path.append(folder)


def _app_root() -> str:
    return os.environ.get("AML_APP_ROOT", os.getcwd())


def load() -> Script:
    """Imports the script that `AZUREML_ENTRY_SCRIPT` names, or the module `main`, and checks it.

    The module's name is `entry_module`, and `sys.modules` does not have it. Raises `UserScriptImportException` when it
    cannot be imported and `UserScriptError` when it is not a script.
    """
    path = entry_script()
    try:
        module = _import_main(_app_root()) if path is None else _import_file(path)
    except BaseException as error:
        raise UserScriptImportException from error
    path = path or getattr(module, "__file__", None) or "main.py"
    _log.info("Found user script at %s", path)
    script = Script(module, path)
    _log.info(_MODE_MESSAGES[script.mode].format(", ".join(script._inputs)))
    return script


def entry_script() -> str | None:
    """Absolute path of the script; None when it is the module `main` that is served."""
    path = os.environ.get("AZUREML_ENTRY_SCRIPT")
    return os.path.abspath(os.path.join(os.environ.get("AML_APP_ROOT", ""), path)) if path else None


_MODE_MESSAGES = {
    Mode.PLAIN: "run() is not decorated. Server will invoke it with the input in JSON string.",
    Mode.JSON: "run() is decorated with @input_schema. Server will invoke it with the following arguments: {}.",
    Mode.RAW: "run() is decorated with @rawhttp. Server will invoke it with the flask request object.",
}


def _import_file(path: str) -> ModuleType:
    spec = spec_from_file_location("entry_module", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except FileNotFoundError as error:
        if error.filename == path:
            _server_log.error("No such file or directory.")
        raise
    return module


def _import_main(app_root: str) -> ModuleType:
    try:
        return importlib.import_module("main")
    except ModuleNotFoundError as error:
        if error.name == "main":
            _server_log.error("No score script found. Expected score script main.py.")
            _server_log.error("Expected script to be found in PYTHONPATH: %s", sys.path)
            _server_log.error("Current contents of AML_APP_ROOT: %s", os.listdir(app_root))
        raise


def _examine(run: Callable[..., Any]) -> tuple[Mode, dict[str, inspect.Parameter]]:
    """The mode that `run()` asks for, and its parameters in order."""
    parameters = dict(inspect.signature(run).parameters)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if any(parameter.kind not in named for parameter in parameters.values()):
        raise UserScriptError("run() cannot accept positional-only arguments, *args, or **kwargs.")
    if not parameters:
        raise UserScriptError("run() needs to accept an argument for input data.")
    if list(parameters) == [REQUEST_HEADERS]:
        raise UserScriptError(f'run() needs to accept an argument other than "{REQUEST_HEADERS}".')
    decorated = is_decorated(run)
    if aml_request.is_raw_http():
        if decorated:
            raise UserScriptError("run() cannot be decorated with both @rawhttp and @input_schema")
        return Mode.RAW, parameters
    return Mode.JSON if decorated else Mode.PLAIN, parameters


def is_decorated(run: Callable[..., Any]) -> bool:
    """Whether `run()` is decorated with `@input_schema` or `@output_schema`."""
    if "inference_schema.schema_decorators" not in sys.modules:
        return False
    from inference_schema.schema_util import is_schema_decorated

    return is_schema_decorated(run)
