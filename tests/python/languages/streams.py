"""Answers piece by piece. tests/guests/streams is the same in Rust."""

import json

from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp
from flask import Response


def init():
    pass


def pieces(request):
    yield request.get("body", "")
    for piece in request.get("pieces", []):
        print("sends", json.dumps(piece))
        yield piece
    if request.get("end") == "error":
        raise ValueError("no more pieces")
    while request.get("end") == "spin":
        pass


@rawhttp
def run(request: AMLRequest):
    wanted = json.loads(request.get_data())
    headers = {"Content-Type": "text/plain", **dict(wanted.get("headers", []))}
    return Response(pieces(wanted), wanted.get("status", 200), headers)
