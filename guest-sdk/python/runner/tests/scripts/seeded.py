import copy
import random

import numpy as np


def init():
    global generators
    random.seed(42)
    np.random.seed(seed=42)
    other = np.random.RandomState(np.random.PCG64(42))
    generators = [np.random.default_rng(42), np.random.RandomState(42), other]
    global plain
    original = random.Random(42)
    plain = [original, copy.deepcopy(original)]


def run(data):
    drawn = [random.random(), np.random.rand(), *(generator.normal() for generator in generators)]
    return drawn + [generator.random() for generator in plain]
