"""The WSGI environment of a request (PEP 3333), for those who ask for Flask's request."""

import io
import os
import sys
from typing import Any
from urllib.parse import unquote_to_bytes

from .head import RequestHead

_TRUSTED_PROXIES = ("127.0.0.1", "::1")
"""Clients whose word on the scheme counts."""

_SECURE = {"x-forwarded-protocol": "ssl", "x-forwarded-proto": "https", "x-forwarded-ssl": "on"}
"""Headers, and the values with which they say that the client used TLS."""


def environ(head: RequestHead, body: bytes) -> dict[str, Any]:
    """Builds the environment of a request whose body has been read already."""
    method, scheme, path, query, address, *_ = head.lines()
    headers = head.headers()
    if address in _TRUSTED_PROXIES and any(_SECURE.get(name) == value.lower() for name, value in headers):
        scheme = "https"
    result: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path.encode("latin-1")).decode("latin-1"),
        "QUERY_STRING": query[1:],
        "RAW_URI": path + query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": os.environ.get("SERVER_PORT", "5001"),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "scorebox",
        "REMOTE_ADDR": address,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": True,
    }
    for name, value in headers:
        key = name.upper().replace("-", "_")
        if key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            result[key] = value
            continue
        key = "HTTP_" + key
        result[key] = f"{result[key]},{value}" if key in result else value
    return result
