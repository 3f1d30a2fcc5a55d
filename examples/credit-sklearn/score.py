import json
import logging
import os

import joblib
import pandas as pd


def init():
    """Loads the model, once."""
    global model
    # AZUREML_MODEL_DIR is the folder that the model was deployed from.
    model_path = os.path.join(os.getenv("AZUREML_MODEL_DIR"), "credit.joblib")
    model = joblib.load(model_path)
    logging.info("Init complete")


def run(raw_data):
    """Answers with the probability of a default for each applicant."""
    logging.info("Request received")
    applicants = pd.DataFrame(json.loads(raw_data)["data"])
    probability = model.predict_proba(applicants)[:, 1]
    logging.info("Request processed: %d applicants", len(applicants))
    return {
        "default_probability": probability.tolist(),
        "decision": ["refer" if p >= 0.25 else "grant" for p in probability],
    }
