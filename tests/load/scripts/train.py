"""Trains the pipeline of pipeline.py on what scikit-learn carries, the same on each machine: python train.py FOLDER"""

import pickle
import sys
from pathlib import Path

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

iris = load_iris()
pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, random_state=0)).fit(iris.data, iris.target)
(Path(sys.argv[1]) / "pipeline.pkl").write_bytes(pickle.dumps(pipeline, protocol=4))
