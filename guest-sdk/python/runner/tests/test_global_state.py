"""What `scorebox check` says of state that is changed in `run()`."""

import tempfile
import unittest

from .support import deploy, host

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

    def test_a_script_is_decoded_as_python_does_it(self) -> None:
        script = "# coding: latin-1\né = []\ndef run(data):\n    é.append(data)\n"
        expected = ["calls `é.append()`, which changes the global `é`"]
        self.assertEqual([finding.what for finding in find(script.encode("latin-1"))], expected)
        marked = script.removeprefix("# coding: latin-1").encode("utf-8-sig")
        self.assertEqual([finding.what for finding in find(marked)], expected)

    def test_a_check_takes_a_script_of_any_encoding(self) -> None:
        script = "# coding: latin-1\n# é\nn = 0\ndef init(): pass\ndef run(data):\n    global n\n    n = data\n"
        for content in (script.encode("latin-1"), script.removeprefix("# coding: latin-1").encode("utf-8-sig")):
            with tempfile.NamedTemporaryFile(suffix=".py") as file:
                file.write(content)
                file.flush()
                self.assertEqual(deploy(self, file.name, SCOREBOX_CHECK="1"), "")
                warning = f"{file.name}:7: run() assigns the global `n`; no later request will see it"
                self.assertIn(warning, [text for _, _, _, text in host.log()])

    def test_a_script_without_run_has_no_findings(self) -> None:
        self.assertEqual(find("a = 1\n"), [])
        self.assertRaises(SyntaxError, find, "def")


if __name__ == "__main__":
    unittest.main()
