"""Trains the classifier of this example and writes what the scorer and the tests read.

    pip install scikit-learn
    python train.py

Writes model/iris.json (parameters) and expected.json (all 150 rows with scikit-learn's answers).
"""

import json
from pathlib import Path

import sklearn
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent


def main() -> None:
    iris = load_iris()
    # The solver's default (lbfgs) minimises the multinomial loss.
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    accuracy = cross_val_score(pipeline, iris.data, iris.target, cv=10).mean()
    pipeline.fit(iris.data, iris.target)
    scaler, classifier = pipeline[0], pipeline[1]
    species = iris.target_names.tolist()

    # json writes a float with as many digits as it takes to read the same float again.
    model = {
        "trained_with": f"scikit-learn {sklearn.__version__}",
        "features": iris.feature_names,
        "species": species,
        "mean": scaler.mean_.tolist(),
        "scale": scaler.scale_.tolist(),
        "coefficients": classifier.coef_.tolist(),
        "intercepts": classifier.intercept_.tolist(),
    }
    (HERE / "model").mkdir(exist_ok=True)
    (HERE / "model" / "iris.json").write_text(json.dumps(model, indent=2) + "\n")

    expected = {
        "data": iris.data.tolist(),
        "prediction": [species[index] for index in pipeline.predict(iris.data)],
        "probability": pipeline.predict_proba(iris.data).tolist(),
    }
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    print(f"trained on {len(iris.data)} rows, accuracy {accuracy:.3f} (10-fold cross-validation)")


if __name__ == "__main__":
    main()
