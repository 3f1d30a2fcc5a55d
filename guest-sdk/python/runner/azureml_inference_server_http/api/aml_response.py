"""`AMLResponse`: a response with a status and headers of its own."""

import json
from collections.abc import Mapping
from typing import Any

from flask import Response

_JSON = "application/json"
_RUN_FUNCTION_FAILED = "x-ms-run-function-failed"


class AMLResponse(Response):
    """A response that `run()` may return; it is a `flask.Response` with other arguments."""

    def __init__(
        self,
        message: Any,
        status_code: int | str | None,
        response_headers: Mapping[str, str] = {},
        json_str: bool = False,
        run_function_failed: bool = False,
    ) -> None:
        """Makes a response.

        `message` is the body: text, bytes, or an iterable of those, which is sent while it is made; with `json_str` any
        value that `json.dumps` takes. None is the JSON text `{}`. `status_code` may be a text with a reason, and None
        for 200. `response_headers`, a `dict` or werkzeug's `Headers`, are added; each comma in a value begins another line of
        the same header. Only `Content-Type` with a body that is not JSON, and in a `dict` spelled so, replaces what would be
        sent otherwise. `run_function_failed` tells the client whether scoring failed; with a status of 500 and more it always
        did.

        Raises `AttributeError` for a header's value that is no text and `ValueError` for one with line breaks.
        """
        if message is None:
            super().__init__("{}", status_code, mimetype=_JSON)
        elif json_str:
            super().__init__(json.dumps(message), status_code, mimetype=_JSON)
        else:
            super().__init__(message, status_code)
            if "Content-Type" in response_headers:
                self.headers.remove("Content-Type")
        self.headers.add(_RUN_FUNCTION_FAILED, str(run_function_failed))
        for name, values in response_headers.items():
            for value in values.split(","):
                self.headers.add(name, value.strip())
