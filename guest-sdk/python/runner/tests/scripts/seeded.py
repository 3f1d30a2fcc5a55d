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
    global sequences
    parent = np.random.SeedSequence(42)
    sequences = [parent, *parent.spawn(1)]


def run(data):
    drawn = [random.random(), np.random.rand(), *(generator.normal() for generator in generators)]
    drawn += [int(sequence.spawn(1)[0].generate_state(1)[0]) for sequence in sequences]
    return drawn + [generator.random() for generator in plain]
