"""Predictions of scikit-learn's models before the snapshot.

The first prediction of a process takes up to twice as long as those that follow: the library looks up what its estimators
can do, imports what it did not need before, and fills caches. Each request is the first one of its instance. So models that
are nobody's but scikit-learn's are asked for a prediction of zeros, of which the script notices nothing: an estimator of the
script's own, or one that has a generator of random numbers or writes a log, is not asked, nor is any that has such a part.
"""

import gc
import random
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_METHODS = ("predict", "predict_proba", "transform")

_TIMES = 2
"""Predictions of each model. More make no difference."""

_LONGEST = 0.5
"""Seconds after which no other model is asked."""

_MOST_FEATURES = 100_000
_MOST_PARTS = 100_000

_PLAIN = (bool, bytes, complex, float, int, str, type(None))
_COLLECTIONS = (frozenset, list, set, tuple)


def warm() -> None:
    """Has each model predict that `init()` has left, but for those that are part of another one."""
    base, numpy = sys.modules.get("sklearn.base"), sys.modules.get("numpy")
    if base is None or numpy is None:
        return
    # Not isinstance: objects that pretend to be of another class may do anything when asked.
    models = [model for model in gc.get_objects() if issubclass(type(model), base.BaseEstimator)]
    parts = {id(model): _estimators(model, base, numpy) for model in models}
    inner = {id(part) for model in models for part in parts[id(model)] if part is not model}
    end = time.monotonic() + _LONGEST
    with _same_random_numbers():
        for model in models:
            if id(model) not in inner and parts[id(model)] and time.monotonic() < end:
                _predict(model, parts[id(model)], numpy)


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Leaves the generators that everybody shares as they are: models without one of their own draw from NumPy's."""
    state, numpy_random = random.getstate(), sys.modules.get("numpy.random")
    numpy_state = numpy_random and numpy_random.get_state(legacy=False)
    try:
        yield
    finally:
        random.setstate(state)
        if numpy_random:
            numpy_random.set_state(numpy_state)


def _estimators(model: Any, base: Any, numpy: Any) -> list[Any]:
    """The estimators that a model consists of, itself among them. None at all if there is anything in it that is not
    scikit-learn's, NumPy's or plain."""
    estimators: list[Any] = []
    seen: set[int] = set()
    left = [model]
    while left:
        value = left.pop()
        kind = type(value)
        if kind in _PLAIN or id(value) in seen:
            continue
        seen.add(id(value))
        if len(seen) > _MOST_PARTS:
            return []
        package = kind.__module__.partition(".")[0]
        if kind in _COLLECTIONS:
            left.extend(value)
        elif kind is dict:
            left.extend(value)
            left.extend(value.values())
        elif kind is numpy.ndarray:
            if value.dtype.hasobject:
                left.extend(value.flat)
        elif package == "sklearn":
            members = getattr(value, "__dict__", {})
            if members.get("verbose"):
                return []
            left.extend(members.values())
            if issubclass(kind, base.BaseEstimator):
                estimators.append(value)
        elif kind is type:
            if value.__module__ not in ("builtins", "numpy"):
                return []
        elif not (kind.__module__.startswith("scipy.sparse") or issubclass(kind, (numpy.generic, numpy.dtype))):
            return []
    return estimators


def _predict(model: Any, estimators: list[Any], numpy: Any) -> None:
    features = getattr(model, "n_features_in_", None)
    if features is None or features > _MOST_FEATURES:
        # It is not fitted, takes no rows of numbers, or too many.
        return
    rows = numpy.zeros((1, features))
    names, pandas = vars(model).get("feature_names_in_"), sys.modules.get("pandas")
    if names is not None and pandas is not None:
        rows = pandas.DataFrame(rows, columns=names)
    before = [(estimator, dict(vars(estimator))) for estimator in estimators]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in _METHODS * _TIMES:
            # Zeros may be nothing that it can take.
            with suppress(Exception):
                getattr(model, name)(rows)
    for estimator, members in before:
        now = vars(estimator)
        if now.keys() != members.keys() or any(now[name] is not member for name, member in members.items()):
            now.clear()
            now.update(members)
