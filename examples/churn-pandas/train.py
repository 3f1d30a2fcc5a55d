"""Trains the classifier of this example and writes what the script and the tests read.

    pip install scikit-learn==1.9.1 numpy==2.4.6 pandas inference-schema[numpy-support,pandas-support]
    python train.py

The data is synthetic: scikit-learn carries none about customers. They are drawn from a random generator with a fixed
seed, and each of them leaves with a probability that a formula gives, which is written below.

Writes model/churn.joblib, request.json (three customers that the model was not trained on) and expected.json (the
answer to it, by the script in this folder).
"""

import json
import os
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

HERE = Path(__file__).parent
CUSTOMERS = 5000
TEST_ROWS = 1000

NUMBERS = ["tenure_months", "monthly_charge", "support_calls", "paid"]
CATEGORIES = ["contract", "payment"]


def customers(rng: np.random.Generator, count: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Draws customers, and whether each of them leaves."""
    data = pd.DataFrame(
        {
            "tenure_months": rng.integers(1, 73, count),
            "monthly_charge": np.round(rng.uniform(20, 120, count), 2),
            "support_calls": rng.poisson(1.1, count),
            "contract": rng.choice(["monthly", "yearly", "two years"], count, p=[0.55, 0.25, 0.2]),
            "payment": rng.choice(["card", "transfer", "invoice"], count),
            "paperless": rng.random(count) < 0.6,
        }
    )
    logit = (
        -1.1
        - 0.04 * data["tenure_months"]
        + 0.018 * data["monthly_charge"]
        + 0.45 * data["support_calls"]
        + data["contract"].map({"monthly": 0.6, "yearly": -0.5, "two years": -1.4})
        + data["payment"].map({"card": -0.2, "transfer": -0.1, "invoice": 0.4})
        + 0.2 * data["paperless"]
    )
    return data, (rng.random(count) < 1 / (1 + np.exp(-logit))).to_numpy()


def main() -> None:
    data, left = customers(np.random.default_rng(11), CUSTOMERS)
    features = data.assign(paid=data["tenure_months"] * data["monthly_charge"])
    model = make_pipeline(
        ColumnTransformer(
            [
                ("numbers", StandardScaler(), NUMBERS),
                ("categories", OneHotEncoder(drop="first"), CATEGORIES),
                ("flags", "passthrough", ["paperless"]),
            ]
        ),
        LogisticRegression(max_iter=1000),
    )
    model.fit(features[TEST_ROWS:], left[TEST_ROWS:])
    auc = roc_auc_score(left[:TEST_ROWS], model.predict_proba(features[:TEST_ROWS])[:, 1])
    print(f"trained on {CUSTOMERS - TEST_ROWS} customers; on {TEST_ROWS} others: area under the curve {auc:.3f}")

    (HERE / "model").mkdir(exist_ok=True)
    joblib.dump(model, HERE / "model" / "churn.joblib", compress=3)
    request = {"customers": data[:3].to_dict("records")}
    (HERE / "request.json").write_text(json.dumps(request, indent=2) + "\n")

    os.environ["AZUREML_MODEL_DIR"] = str(HERE / "model")
    sys.path.insert(0, str(HERE))
    import score

    score.init()
    (HERE / "expected.json").write_text(json.dumps(score.run(**request), indent=2) + "\n")


if __name__ == "__main__":
    main()
