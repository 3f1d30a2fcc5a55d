"""Sums up the report of schemathesis that it writes as `ndjson`.

    findings.py REPORT

Prints a JSON object: `requests`, how many were sent; `findings`, what the checks found, each once; `errors`, the requests
that had no answer; `failures`, the answers with a status of 500 and more, each once.
"""

import base64
import json
import sys
from urllib.parse import urlsplit


def events(path):
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            (kind, event), *_ = json.loads(line).items()
            yield kind, event


def message(response):
    """What the answer says, where it is an error of the contract."""
    try:
        return json.loads(base64.b64decode(response["content"]["$base64"]))["message"]
    except (KeyError, TypeError, ValueError):
        return None


def main(path):
    requests, findings, errors, failures = 0, set(), [], set()
    for kind, event in events(path):
        if kind in ("NonFatalError", "FatalError"):
            errors.append(json.dumps(event))
        if kind != "ScenarioFinished":
            continue
        recorder = event["recorder"]
        for case, exchange in recorder.get("interactions", {}).items():
            requests += 1
            request, response = exchange["request"], exchange["response"]
            mode = recorder["cases"][case]["value"]["meta"]["generation"]["mode"]
            operation = f"{request['method']} {urlsplit(request['uri']).path}"
            if response is None:
                errors.append(f"no answer to {operation}")
                continue
            status = response["status_code"]
            if status >= 500:
                failed = response["headers"].get("x-ms-run-function-failed", [None])[0]
                failures.add((mode, operation, status, message(response), failed))
            for check in recorder["checks"].get(case, []):
                if check["status"] == "failure":
                    findings.add((check["name"], mode, operation, status, message(response)))
    key = lambda row: tuple(map(str, row))
    findings, failures = sorted(findings, key=key), sorted(failures, key=key)
    json.dump({"requests": requests, "findings": findings, "errors": errors, "failures": failures}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
