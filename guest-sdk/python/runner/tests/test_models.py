"""Which models predict before the snapshot, and that it does not show."""

import pickle
import random
import unittest
import warnings
from unittest import mock

import numpy
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from scorebox_runner import models

ROWS, CLASSES = [[0.0, 1.0], [1.0, 0.0], [2.0, 3.0], [3.0, 2.0]], [0, 0, 1, 1]


class Mine(TransformerMixin, BaseEstimator):
    """A step of a script."""

    asked = 0

    def fit(self, rows, classes=None):
        self.n_features_in_ = 2
        return self

    def transform(self, rows):
        Mine.asked += 1
        return rows


def fitted(*steps):
    return make_pipeline(*steps).fit(ROWS, CLASSES)


class Warm(unittest.TestCase):
    def asked(self, *those):
        """Which of these are asked."""
        with mock.patch.object(models, "_predict") as predict:
            models.warm()
        asked = [call.args[0] for call in predict.call_args_list]
        return [any(model is one for one in asked) for model in those]

    def test_a_model_is_asked_as_a_whole(self):
        pipeline = fitted(StandardScaler(), LogisticRegression())
        forest = RandomForestClassifier(3, random_state=0).fit(ROWS, CLASSES)
        asked = self.asked(pipeline, pipeline[0], pipeline[1], forest, forest.estimators_[0])
        self.assertEqual(asked, [True, False, False, True, False])

    def test_what_is_not_the_librarys_alone_is_not_asked(self):
        mine = fitted(Mine(), LogisticRegression())
        function = fitted(FunctionTransformer(lambda rows: rows), LogisticRegression())
        random = RandomForestClassifier(3, random_state=numpy.random.RandomState(1)).fit(ROWS, CLASSES)
        talks = fitted(StandardScaler(), LogisticRegression())
        talks[1].verbose = 1
        Mine.asked = 0
        self.assertEqual(self.asked(mine, function, random, talks), [False] * 4)
        models.warm()
        self.assertEqual(Mine.asked, 0)

    def test_it_does_not_show(self):
        model = fitted(StandardScaler(), LogisticRegression())
        before, answer = pickle.dumps(model), model.predict_proba([[1.0, 2.0]])
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            models.warm()
        self.assertEqual((pickle.dumps(model), warned), (before, []))
        self.assertTrue((model.predict_proba([[1.0, 2.0]]) == answer).all())

    def test_generators_that_everybody_shares_stay_as_they_are(self):
        model = DummyClassifier(strategy="stratified").fit(ROWS, CLASSES)
        for seed in (None, 42):
            random.seed(seed)
            numpy.random.seed(seed)
            numpy.random.randn()
            before = random.getstate(), numpy.random.get_state()
            drawn = []

            def predict(self, rows):
                drawn.append((random.random(), numpy.random.rand()))
                return numpy.random.randn()

            with mock.patch.object(type(model), "predict", predict):
                models.warm()
            self.assertEqual(len(drawn), 2)
            models.warm()
            self.assertEqual(random.getstate(), before[0])
            self.assertEqual([str(part) for part in numpy.random.get_state()], [str(part) for part in before[1]])

    def test_what_a_prediction_leaves_in_a_model_is_taken_away(self):
        model = fitted(StandardScaler(), LogisticRegression())

        def predict(self, rows):
            self.kept, self.steps = rows, []

        steps = model.steps
        with mock.patch.object(type(model), "predict", predict):
            models.warm()
        self.assertIs(model.steps, steps)
        self.assertFalse(hasattr(model, "kept"))
