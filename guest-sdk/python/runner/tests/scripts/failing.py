import os
import pickle

import flask

if os.environ.get("FAIL") == "import":
    import xgboost.sklearn
if os.environ.get("FAIL") == "pickle":
    pickle.loads(b"cxgboost.sklearn\nXGBClassifier\n.")
if os.environ.get("FAIL") == "exit":
    raise SystemExit(4)


def init():
    if os.environ.get("FAIL") == "unbound":
        flask.g.x = 1
    error = ValueError("no model")
    raise error from error if os.environ.get("FAIL") == "cycle" else None


def run(data):
    pass
