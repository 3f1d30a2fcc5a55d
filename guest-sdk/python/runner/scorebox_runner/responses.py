"""Answers to a request, in the form that the host takes: a head and a body.

The first line of a head says what the answer is. `response <status>` is followed by one line `Name: value` for each
header. `bad-input` has a message for the client as its body; `failed`, `timed-out`, `unencodable` and `broken` have a JSON
object with `kind`, `message` and `traceback` of an exception, which is for the log.
"""

import json
import logging
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import flask

from . import door
from .errors import UserScriptException, UserScriptTimeout, safe_text

_log = logging.getLogger("azmlinfsrv")

_EXITS = (GeneratorExit, KeyboardInterrupt, SystemExit)
"""What asks for the end of the process, by the names that the host knows."""

Answer = tuple[bytes, bytes]
"""Head and body."""

_JSON_HEAD = b"response 200\nContent-Type: application/json\nx-ms-run-function-failed: False"


def of_value(value: Any) -> Answer:
    """The answer for what `run()` returned, when it is no response: JSON, and `{}` for None.

    Raises what `json.dumps` raises: `TypeError`, `ValueError`, `RecursionError`.
    """
    return _JSON_HEAD, json.dumps({} if value is None else value).encode()


def to_response(value: Any) -> flask.Response:
    """What `run()` returned as a response of Flask's; a value as in `of_value`."""
    if isinstance(value, flask.Response):
        return value
    response = flask.Response(of_value(value)[1], mimetype="application/json")
    response.headers["x-ms-run-function-failed"] = "False"
    return response


def of_response(response: flask.Response, method: str, environ: Callable[[], dict[str, Any]]) -> Answer:
    """The answer for a response of Flask's; a streamed one has been sent when this returns.

    `environ` is called only for a response that needs the request's WSGI environment. Raises `ValueError` for headers
    that are not HTTP, and `UserScriptException` when the first piece of a stream cannot be made.
    """
    needs_environ = response.autocorrect_location_header
    headers = response.get_wsgi_headers(environ() if needs_environ else {"REQUEST_METHOD": method})
    if not response.is_streamed:
        # Iterables of a known length become bytes here, as the contract has it.
        response.get_data()
    first = head(response.status_code, headers)
    chunks = response.get_app_iter({"REQUEST_METHOD": method})
    try:
        return _stream(first, chunks) if response.is_streamed else (first, b"".join(chunks))
    finally:
        _close(chunks)


def head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """The head of a response. Raises `ValueError` for line breaks and for characters beyond Latin-1."""
    lines = [f"response {status}"]
    for name, value in headers:
        line = f"{name}: {value}"
        if "\n" in line or "\r" in line:
            raise ValueError(f"Header values must not contain newline characters: {name}")
        lines.append(line)
    return "\n".join(lines).encode("latin-1")


def bad_input(message: str) -> Answer:
    """The client is told what is wrong with its input."""
    return b"bad-input", message.encode("utf-8", "backslashreplace")


def of_error(error: BaseException) -> Answer:
    """What went wrong: the script's fault if it is a `UserScriptException` or `UserScriptTimeout`, else a result that
    is none."""
    if isinstance(error, UserScriptException):
        return b"failed", _exception(error)
    if isinstance(error, UserScriptTimeout):
        return b"timed-out", _exception(error)
    return b"unencodable", _exception(error)


def _stream(first: bytes, chunks: Iterable[bytes]) -> Answer:
    """Sends a response while it is made. It begins with its first piece: until then an error can be answered."""
    pieces = iter(chunks)
    try:
        piece = _next_piece(pieces)
    except BaseException as error:
        raise UserScriptException from error
    try:
        door.start_response(first)
    except OSError:
        return b"streamed", b""
    while piece is not None:
        try:
            door.send(piece)
        except OSError:
            break
        try:
            piece = _next_piece(pieces)
        except BaseException as error:
            return b"broken", _exception(error)
    return b"streamed", b""


def _close(chunks: Iterable[bytes]) -> None:
    """Says that a body has been sent, once, as servers do (PEP 3333): this runs what waits for it (`call_on_close`). What it
    raises is for the log, since the answer is complete."""
    close = getattr(chunks, "close", None)
    if close is None:
        return
    try:
        close()
    except BaseException as error:
        _log.error("Error after the response\n%s", _traceback(error).rstrip())


def _next_piece(pieces: Iterator[bytes]) -> bytes | None:
    """The next piece that is not empty; None at the end."""
    for piece in pieces:
        if piece:
            return bytes(memoryview(piece))
    return None


def _exception(error: BaseException) -> bytes:
    cause = error.__cause__ if isinstance(error, UserScriptException | UserScriptTimeout) else error
    cause = cause or error
    return json.dumps(
        {"kind": _kind(cause), "message": safe_text(cause), "traceback": _traceback(error)}
    ).encode()


def _kind(error: BaseException) -> str:
    """The name of an exception's type. What is no `Exception` ends the process as well, and is called as what does."""
    if isinstance(error, Exception):
        return type(error).__name__
    return next((kind.__name__ for kind in _EXITS if isinstance(error, kind)), SystemExit.__name__)


def _traceback(error: BaseException) -> str:
    """The traceback as Python prints it. If there is no memory for it, what the frames hold is let go."""
    try:
        return "".join(traceback.format_exception(error))
    except BaseException:
        for each in (error, error.__cause__):
            if each is not None:
                traceback.clear_frames(each.__traceback__)
    try:
        return "".join(traceback.format_exception(error))
    except BaseException:
        return ""
