from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse

import flask
from werkzeug.datastructures import Headers


def init():
    pass


@rawhttp
def run(request: AMLRequest):
    if "broken" in request.args:
        return AMLResponse("x", 200, {"X": 5})
    if "json" in request.args:
        return AMLResponse({"a": 1}, 201, {"X-A": "1, 2", "Content-Type": "a/b"}, json_str=True)
    if "type" in request.args:
        return AMLResponse(b"\xff", 503, {"Content-Type": "a/b"}, run_function_failed=False)
    if "several" in request.args:
        headers = Headers([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("content-type", "text/plain")])
        return AMLResponse("x", 200, headers)
    return {
        "method": request.method,
        "url": request.url,
        "args": request.args.to_dict(flat=False),
        "form": request.form.to_dict(),
        "files": {name: file.read().decode() for name, file in request.files.items()},
        "data": request.get_data(as_text=True),
        "headers": [pair for pair in request.headers if pair[0].startswith("X-")],
        "route": [str(request.url_rule), request.endpoint, request.blueprint],
        "is": [isinstance(request, flask.Request), isinstance(request, AMLRequest)],
        "remote": [request.remote_addr, list(request.access_route)],
    }
