import json

from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier


def init():
    global model
    iris = load_iris()
    model = RandomForestClassifier(n_estimators=50, random_state=0).fit(iris.data, iris.target)


def run(data):
    return {"prediction": model.predict(json.loads(data)["data"]).tolist()}
