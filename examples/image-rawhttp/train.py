"""Trains the classifier of this example and writes what the script and the tests read.

    pip install scikit-learn==1.9.1 numpy==2.4.6 pillow
    python train.py

The data: 1,797 handwritten digits of 8 times 8 pixels, as scikit-learn carries them.

Writes model/digits.joblib, digits/0.png to digits/9.png (pictures of 64 times 64 pixels that the model was not trained
on) and expected.json (scikit-learn's answers to them).
"""

import json
from pathlib import Path

import joblib
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

HERE = Path(__file__).parent
TEST_ROWS = 297
SIDE = 64


def main() -> None:
    digits = load_digits()
    # Digits of one hand are next to each other.
    order = np.random.default_rng(0).permutation(len(digits.data))
    inputs, labels, images = digits.data[order], digits.target[order], digits.images[order]
    model = make_pipeline(MinMaxScaler(), MLPClassifier((48,), alpha=0.1, max_iter=1000, random_state=0))
    model.fit(inputs[TEST_ROWS:], labels[TEST_ROWS:])
    accuracy = model.score(inputs[:TEST_ROWS], labels[:TEST_ROWS])
    print(f"trained on {len(inputs) - TEST_ROWS} digits; right about {accuracy:.1%} of {TEST_ROWS} others")

    (HERE / "model").mkdir(exist_ok=True)
    (HERE / "digits").mkdir(exist_ok=True)
    joblib.dump(model, HERE / "model" / "digits.joblib", compress=3)
    expected = {}
    for digit in range(10):
        index = int(np.flatnonzero(labels[:TEST_ROWS] == digit)[0])
        # Shades are rounded to bytes, and so are what the script gets.
        small = np.rint(images[index] / 16 * 255).astype(np.uint8)
        picture = Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.NEAREST)
        picture.save(HERE / "digits" / f"{digit}.png", optimize=True)
        probability = model.predict_proba(small.reshape(1, -1) / 255 * 16)[0]
        expected[f"{digit}.png"] = {
            "digit": int(probability.argmax()),
            "probability": float(probability.max()),
            "picture": {"format": "PNG", "width": SIDE, "height": SIDE},
        }
    (HERE / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


if __name__ == "__main__":
    main()
