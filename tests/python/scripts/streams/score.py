"""Answers piece by piece."""

import time

from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse


def init():
    pass


def pieces(pause, count, fail):
    for index in range(count):
        print("piece", index)
        yield f"piece {index}\n"
        time.sleep(pause)
    if fail:
        raise ValueError("no more pieces")


@rawhttp
def run(request: AMLRequest):
    pause, count = request.args.get("pause", 0.0, float), request.args.get("count", 3, int)
    return AMLResponse(pieces(pause, count, "fail" in request.args), 200, {"Content-Type": "text/plain"})
