import copy
import gc
import random

import numpy as np


class OfTheScript(np.random.PCG64):
    def __init__(self):
        super().__init__()


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
    global sequences
    parent = np.random.SeedSequence()
    sequences = [parent, *parent.spawn(1), np.random.default_rng(parent).bit_generator.seed_seq.spawn(1)[0]]
    generators.append(np.random.Generator(OfTheScript()))
    # What is frozen is found as well.
    gc.freeze()


def run(data):
    drawn = [random.gauss(0, 1), np.random.randn(), *(generator.normal() for generator in generators)]
    drawn += [int(sequence.spawn(1)[0].generate_state(1)[0]) for sequence in sequences]
    return drawn + [generator.random() for generator in plain]
