"""What is drawn in two requests that start from the same memory."""

import json
import os
import random
import unittest
from unittest import mock

import numpy

from .support import deploy, preload, runner, score


def bytes_with_a_one(length, place):
    return bytes(int(at == place) for at in range(length))


def in_a_copy(body):
    """Scores in a copy of this process, as each request does in a copy of the memory; returns the value."""
    read, write = os.pipe()
    state = random.getstate()
    child = os.fork()
    if child == 0:
        try:
            # `random` seeds itself after a fork; a copy of the memory is no fork.
            random.setstate(state)
            os.write(write, score(body)[1])
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return json.loads(answer)


@unittest.skipUnless(hasattr(os, "fork"), "needs copies of this process")
class TwoRequests(unittest.TestCase):
    def test_python(self):
        self.assertEqual(deploy(self, "plain.py"), "")
        first, second = in_a_copy(b"random"), in_a_copy(b"random")
        self.assertEqual([one == other for one, other in zip(first, second)], [False, False, True, False])

    def test_what_was_seeded_stays(self):
        self.assertEqual(deploy(self, "seeded.py"), "")
        self.assertEqual(in_a_copy(b""), in_a_copy(b""))

    def test_what_was_not_seeded_is_fresh(self):
        self.assertEqual(deploy(self, "unseeded.py"), "")
        first, second = in_a_copy(b""), in_a_copy(b"")
        self.assertEqual([one == other for one, other in zip(first, second)], [False] * len(first))

    def test_what_was_made_before_others_go_on_from_there(self):
        self.assertEqual(preload(self, "import numpy, random"), "")
        made = [random.Random(), numpy.random.RandomState(), numpy.random.RandomState(numpy.random.PCG64())]
        made.append(numpy.random.default_rng())
        seeded = [random.Random(1), numpy.random.RandomState(1), numpy.random.default_rng(1)]

        def draw_after(function):
            function()
            return [random.random(), numpy.random.random(), *(generator.random() for generator in made)]

        # Requests find them as they would have otherwise.
        for function, last in ((runner.randomness.begin_anew, False), (runner.randomness.renew, True)):
            if last:
                runner.randomness.settle()
            first, second = draw_after(function), draw_after(function)
            self.assertEqual([one == other for one, other in zip(first, second)], [False] * 6, function)
        again = [random.Random(1), numpy.random.RandomState(1), numpy.random.default_rng(1)]
        self.assertEqual([one.random() for one in seeded], [other.random() for other in again])

    def test_another_bit_generator_of_numpys_functions(self):
        self.addCleanup(numpy.random.set_bit_generator, numpy.random.get_bit_generator())
        for kind in ("MT19937", "PCG64"):
            self.assertEqual(deploy(self, "bit_generator.py", KIND=kind, SEED=""), "")
            first, second = in_a_copy(b""), in_a_copy(b"")
            self.assertEqual([one == other for one, other in zip(first, second)], [False, False], kind)
            self.assertEqual(deploy(self, "bit_generator.py", KIND=kind, SEED="42"), "")
            self.assertEqual(in_a_copy(b""), in_a_copy(b""), kind)

    def test_the_functions_of_python_and_of_numpy_are_seeded_with_all_of_128_bits(self):
        self.assertEqual(deploy(self, "unseeded.py"), "")
        drawn = {random.random: set(), numpy.random.rand: set()}
        for place in range(16):
            with mock.patch("os.urandom", lambda bytes: bytes_with_a_one(bytes, place)):
                runner.randomness.renew()
            for draw, numbers in drawn.items():
                numbers.add(draw())
        self.assertEqual([len(numbers) for numbers in drawn.values()], [16, 16])


if __name__ == "__main__":
    unittest.main()
