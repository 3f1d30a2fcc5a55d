"""What `scorebox check` says of state that is changed in `run()`."""

import unittest

from . import support  # noqa: F401  (the runner needs its door)

from scorebox_runner.global_state import find

SCRIPT = """\
import json
count = 0
cache = {}
model = None

def init():
    global model
    model = json.loads("{}")

def remember(key):
    cache[key] = 1

def run(data):
    global count
    count += 1
    model.last = data
    cache.update(a=1)
    remember(data)
    local = {}
    local["a"] = 1
    local.update(b=2)
    return json.loads(data)
"""


class FindTest(unittest.TestCase):
    def test_each_change_is_found_with_its_line_and_nothing_else(self) -> None:
        found = [(finding.line, finding.what) for finding in find(SCRIPT)]
        self.assertEqual(
            found,
            [
                (11, "changes `cache[key]`, part of the global `cache`"),
                (15, "assigns the global `count`"),
                (16, "changes `model.last`, part of the global `model`"),
                (17, "calls `cache.update()`, which changes the global `cache`"),
            ],
        )

    def test_a_local_of_the_same_name_is_no_global(self) -> None:
        self.assertEqual(find("x = []\ndef run(x):\n    x.append(1)\n"), [])
        self.assertEqual(find("x = []\ndef run(d):\n    x = []\n    x.append(1)\n"), [])

    def test_a_script_without_run_has_no_findings(self) -> None:
        self.assertEqual(find("a = 1\n"), [])
        self.assertRaises(SyntaxError, find, "def")


if __name__ == "__main__":
    unittest.main()
