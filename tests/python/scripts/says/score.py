"""Says something in each way that Python has."""

import json
import logging
import sys
import warnings

import flask

print("said while the script is imported")


def init():
    print("said in init()")
    logging.getLogger("azmlinfsrv").info("logged in init()")


def run(raw_data):
    text = json.loads(raw_data)["text"]
    print("printed", text)
    print("ids", flask.g.request_id, flask.g.client_request_id)
    print("printed to standard error", text, file=sys.stderr)
    sys.stdout.write(f"written {text}\n")
    sys.stderr.write(f"written to standard error {text}\n")
    logging.getLogger("azmlinfsrv").info("logged %s", text)
    logging.getLogger("azmlinfsrv.child").warning("logged below %s", text)
    logging.getLogger("azmlinfsrv").debug("logged too low %s", text)
    logging.warning("logged at the root %s", text)
    logging.info("logged at the root and too low %s", text)
    warnings.warn(f"warned {text}", stacklevel=1)
    try:
        raise ValueError(f"caught {text}")
    except ValueError:
        logging.getLogger("azmlinfsrv").exception("an exception %s", text)
    return "said"
