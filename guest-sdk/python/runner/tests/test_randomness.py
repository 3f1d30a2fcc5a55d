"""What is drawn in two requests that start from the same memory."""

import json
import os
import random
import unittest

from .support import deploy, score


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


if __name__ == "__main__":
    unittest.main()
