"""`@rawhttp`: `run()` gets the HTTP request itself."""

from collections.abc import Callable
from typing import TypeVar

from flask import Request

_Function = TypeVar("_Function", bound=Callable[..., object])

_raw_http = False


class AMLRequest(Request):
    """For annotations: `def run(request: AMLRequest)`. What `run()` gets is Flask's own request."""


def rawhttp(function: _Function) -> _Function:
    """Makes `run()` get Flask's request instead of its body, for every method of the route. Returns `function` itself.

    As in Azure ML's inference server it is the deployment that is switched, whichever function is decorated.
    """
    global _raw_http
    _raw_http = True
    return function


def is_raw_http() -> bool:
    """Whether `rawhttp` has been used."""
    return _raw_http
