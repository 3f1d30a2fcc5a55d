import json
import os
import pickle

import numpy as np
import sklearn.linear_model  # what the pickled pipeline needs is imported with the script, and not in init()
import sklearn.pipeline
import sklearn.preprocessing


def init():
    global model
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "pipeline.pkl"), "rb") as file:
        model = pickle.load(file)


def run(data):
    rows = np.array(json.loads(data)["data"])
    return {"prediction": model.predict(rows).tolist(), "probability": model.predict_proba(rows).tolist()}
