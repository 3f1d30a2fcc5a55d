import json
import os
import pickle
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from scipy import sparse

models = {}


def init():
    """Loads all models of the folder."""
    for path in sorted(Path(os.environ["AZUREML_MODEL_DIR"]).iterdir()):
        if path.suffix == ".joblib":
            models[path.name] = joblib.load(path)
        else:
            with open(path, "rb") as file:
                models[path.name] = pickle.load(file)


def rows_of(data):
    if data["kind"] == "sparse":
        return sparse.csr_matrix((data["values"], data["columns"], data["starts"]), shape=data["shape"])
    if data["kind"] == "table":
        return pd.DataFrame(data["rows"])
    return np.array(data["rows"], dtype=data["kind"])


def plain(answer):
    if isinstance(answer, tuple):
        return [plain(part) for part in answer]
    return (answer.toarray() if sparse.issparse(answer) else np.asarray(answer)).tolist()


def run(raw_data):
    request = json.loads(raw_data)
    model, rows = models[request["file"]], rows_of(request["input"])
    return {method: plain(getattr(model, method)(rows)) for method in request["methods"]}
