"""Gives NumPy's functions another bit generator: `KIND` says which, and `SEED` its seed, if it is not empty."""

import os

import numpy as np


def init():
    seed = os.environ["SEED"]
    np.random.set_bit_generator(getattr(np.random, os.environ["KIND"])(int(seed) if seed else None))
    np.random.randn()


def run(data):
    return [np.random.randn(), np.random.rand()]
