"""Trains the classifier of this example and writes what the script and the tests read.

    pip install scikit-learn numpy
    python train.py

The data: Fisher's irises (150 flowers), as scikit-learn carries them.

Writes model/iris.npz (a scaler and a multinomial logistic regression, as arrays), request.json and expected.json (all
150 rows, with scikit-learn's answers).
"""

import json
from pathlib import Path

import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent


def main() -> None:
    irises = load_iris()
    scaler, classifier = StandardScaler(), LogisticRegression(max_iter=1000)
    model = make_pipeline(scaler, classifier).fit(irises.data, irises.target)
    print(f"trained on {len(irises.data)} flowers; right about {model.score(irises.data, irises.target):.1%} of them")

    (HERE / "model").mkdir(exist_ok=True)
    np.savez(
        HERE / "model" / "iris.npz",
        mean=scaler.mean_,
        scale=scaler.scale_,
        weights=classifier.coef_.T,
        bias=classifier.intercept_,
    )
    (HERE / "request.json").write_text(json.dumps({"data": irises.data[:1].tolist()}) + "\n")
    expected = {
        "data": irises.data.tolist(),
        "prediction": irises.target_names[model.predict(irises.data)].tolist(),
        "probability": model.predict_proba(irises.data).tolist(),
    }
    (HERE / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
