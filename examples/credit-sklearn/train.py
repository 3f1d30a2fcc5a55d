"""Trains the classifier of this example and writes what the script and the tests read.

    pip install scikit-learn==1.9.1 numpy==2.4.6 pandas
    python train.py

The data is synthetic: scikit-learn carries none about credit. Applicants are drawn from a random generator with a fixed
seed, and each of them defaults with a probability that a formula gives, which is written below. So the model is real,
the people are not, and it says nothing about anybody's credit.

Writes model/credit.joblib, request.json (three applicants that the model was not trained on) and expected.json (the
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
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

HERE = Path(__file__).parent
APPLICANTS = 4000
TEST_ROWS = 1000

NUMBERS = ["age", "income", "amount", "months", "late_payments"]
CATEGORIES = ["housing", "purpose", "employment"]


def applicants(rng: np.random.Generator, count: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Draws applicants, and whether each of them defaults."""
    data = pd.DataFrame(
        {
            "age": rng.integers(19, 75, count),
            "income": np.round(rng.lognormal(10.4, 0.45, count), -2),
            "amount": np.round(rng.lognormal(8.6, 0.8, count), -2),
            "months": rng.choice([12, 24, 36, 48, 60], count),
            "late_payments": rng.poisson(0.6, count),
            "housing": rng.choice(["own", "rent", "free"], count, p=[0.45, 0.45, 0.1]),
            "purpose": rng.choice(["car", "furniture", "education", "business"], count),
            "employment": rng.choice(
                ["permanent", "temporary", "self-employed", "none"], count, p=[0.6, 0.2, 0.15, 0.05]
            ),
        }
    )
    burden = 12 * data["amount"] / data["months"] / data["income"]
    logit = (
        -3.2
        + 6.0 * burden
        + 0.7 * data["late_payments"]
        - 0.015 * (data["age"] - 40)
        + data["housing"].map({"own": -0.5, "rent": 0.2, "free": 0.0})
        + data["purpose"].map({"car": 0.0, "furniture": 0.1, "education": -0.2, "business": 0.5})
        + data["employment"].map({"permanent": -0.4, "temporary": 0.4, "self-employed": 0.3, "none": 1.2})
    )
    return data, (rng.random(count) < 1 / (1 + np.exp(-logit))).to_numpy()


def main() -> None:
    data, defaults = applicants(np.random.default_rng(7), APPLICANTS)
    model = make_pipeline(
        ColumnTransformer(
            [
                ("numbers", StandardScaler(), NUMBERS),
                ("categories", OneHotEncoder(handle_unknown="ignore"), CATEGORIES),
            ]
        ),
        GradientBoostingClassifier(n_estimators=120, max_depth=3, subsample=0.8, random_state=0),
    )
    model.fit(data[TEST_ROWS:], defaults[TEST_ROWS:])
    auc = roc_auc_score(defaults[:TEST_ROWS], model.predict_proba(data[:TEST_ROWS])[:, 1])
    print(f"trained on {APPLICANTS - TEST_ROWS} applicants; on {TEST_ROWS} others: area under the curve {auc:.3f}")

    (HERE / "model").mkdir(exist_ok=True)
    joblib.dump(model, HERE / "model" / "credit.joblib", compress=3)
    request = json.dumps({"data": data[:3].to_dict("records")}, indent=2)
    (HERE / "request.json").write_text(request + "\n")

    os.environ["AZUREML_MODEL_DIR"] = str(HERE / "model")
    sys.path.insert(0, str(HERE))
    import score

    score.init()
    (HERE / "expected.json").write_text(json.dumps(score.run(request), indent=2) + "\n")


if __name__ == "__main__":
    main()
