import random

import numpy as np


def init():
    global generators
    random.seed(42)
    random.seed()
    np.random.seed(42)
    np.random.seed()
    np.random.rand()
    random.gauss(0, 1)
    np.random.randn()
    legacy = np.random.RandomState()
    child = np.random.default_rng().spawn(1)[0]
    generators = [legacy, child, np.random.Generator(np.random.MT19937())]


def run(data):
    return [random.gauss(0, 1), np.random.randn(), *(generator.normal() for generator in generators)]
