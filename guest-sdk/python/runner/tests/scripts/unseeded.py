import copy
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
    other = np.random.RandomState(np.random.PCG64())
    other.randn()
    generators = [legacy, child, np.random.Generator(np.random.MT19937()), other, copy.deepcopy(other)]
    global plain
    original = random.Random()
    plain = [original, copy.copy(original), copy.deepcopy(original)]


def run(data):
    drawn = [random.gauss(0, 1), np.random.randn(), *(generator.normal() for generator in generators)]
    return drawn + [generator.random() for generator in plain]
