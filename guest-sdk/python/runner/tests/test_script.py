"""How a script is found, checked and called."""

import datetime
import itertools
import json
import types
import unittest
from unittest import mock

from .support import SCRIPTS, deploy, failure, host, runner, score

from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema

from scorebox_runner import schema_fixes, schemas
from scorebox_runner.errors import BadInput, UserScriptError
from scorebox_runner.head import RequestHead
from scorebox_runner.script import Mode, Script


def script_of(run, **members):
    module = types.ModuleType("entry_module")
    vars(module).update({"init": lambda: None, "run": run, **members})
    return Script(module, "/app/score.py")


class Signatures(unittest.TestCase):
    def refused(self, run, message):
        with self.assertRaises(UserScriptError) as raised:
            script_of(run)
        self.assertEqual(str(raised.exception), message)

    def test_what_run_must_not_look_like(self):
        variadic = "run() cannot accept positional-only arguments, *args, or **kwargs."
        self.refused(lambda *data: 0, variadic)
        self.refused(lambda data, **more: 0, variadic)
        self.refused(lambda data, /: 0, variadic)
        self.refused(lambda: 0, "run() needs to accept an argument for input data.")
        self.refused(
            lambda request_headers: 0, 'run() needs to accept an argument other than "request_headers".'
        )
        self.refused(5, "run in the user script at /app/score.py is not a function.")

    def test_missing_functions(self):
        for name in ("init", "run"):
            module = types.ModuleType("entry_module")
            vars(module).update({"init": print, "run": lambda data: 0})
            delattr(module, name)
            with self.assertRaisesRegex(UserScriptError, rf"^User script at x does not have a {name}\(\) function defined\.$"):
                Script(module, "x")

    def test_what_can_be_run(self):
        class Callable:
            def __call__(self, data):
                return data

        def keyword(*, data, color="red"):
            return data

        head = RequestHead(b"id\n\nPOST\nhttp\n/score\n\n127.0.0.1\nx-a: 1")
        for run in (lambda data: data, Callable(), keyword, lambda request_headers, data: data):
            script = script_of(run)
            self.assertEqual(script.mode, Mode.PLAIN)
            self.assertEqual(script.invoke_run(script.arguments(head, "é".encode())), "é")

    def test_a_driver_is_a_module_with_a_run(self):
        def own(data):
            return data

        driver = types.ModuleType("driver")
        for no_driver in (None, "driver", driver, types.SimpleNamespace(run=print)):
            self.assertIs(script_of(own, driver_module=no_driver).run, own)
        driver.run = lambda other: other
        self.assertIs(script_of(own, driver_module=driver).run, driver.run)

    def test_raw_and_schema_exclude_each_other(self):
        with (
            mock.patch("scorebox_runner.script.is_decorated", return_value=True),
            mock.patch("azureml_inference_server_http.api.aml_request.is_raw_http", return_value=True),
        ):
            self.refused(lambda data: 0, "run() cannot be decorated with both @rawhttp and @input_schema")


class Members(unittest.TestCase):
    def setUp(self):
        with mock.patch("scorebox_runner.script.is_decorated", return_value=True):
            self.script = script_of(lambda a, request_headers, b=2: [a, b])

    def test_values_and_defaults(self):
        head = mock.Mock(headers_by_title=dict)
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
            arguments = self.script.arguments(head, '{"a": 1, "a": "é", "c": 3}'.encode(encoding))
            self.assertEqual(arguments, {"a": "é", "b": 2, "request_headers": {}})

    def test_bad_input(self):
        decoding = "POST body could not be decoded as JSON: "
        quotes = "Expecting property name enclosed in double quotes"
        for body, message in (
            (b"", "POST body is empty. Expecting a JSON dictionary."),
            (b"{", f"{decoding}{quotes}: line 1 column 2 (char 1)"),
            (b'{"a": 1, }', f"{decoding}{quotes}: line 1 column 10 (char 9)"),
            (b"[1,\n ]", f"{decoding}Expecting value: line 2 column 2 (char 5)"),
            (b"{} x", f"{decoding}Extra data: line 1 column 4 (char 3)"),
            (b"[1]", "POST body should be a JSON dictionary."),
            (b'{"b": 1}', "A value is not provided for the 'a' parameter."),
        ):
            with self.assertRaises(BadInput) as raised:
                self.script.arguments(mock.Mock(), body)
            self.assertEqual(str(raised.exception), message)
        with self.assertRaises(UnicodeDecodeError):
            self.script.arguments(mock.Mock(), b'{"a": "\xff"}')


class SchemaTypes(unittest.TestCase):
    def test_samples_take_what_their_schema_says(self):
        schema_fixes.install()
        self.assertEqual(StandardPythonParameterType(bytearray(b"a")).deserialize_input("AQI="), bytearray(b"\1\2"))
        with self.assertRaises(AttributeError):
            StandardPythonParameterType(bytearray(b"a")).deserialize_input([1])

    @unittest.skipUnless(hasattr(datetime.date, "strptime"), "needs Python 3.14")
    def test_dates(self):
        sample = StandardPythonParameterType(datetime.date(2020, 1, 2))
        self.assertEqual(sample.deserialize_input("2021-03-04"), datetime.date(2021, 3, 4))


class Versions(unittest.TestCase):
    def versions(self, number, *decorators):
        def run(data):
            return data

        # inference_schema knows functions by their names.
        run.__name__ = f"with_versions_{number}"
        for decorator in decorators:
            run = decorator(run)
        return json.loads(schemas.describe(script_of(run)))["versions"]

    def test_versions_may_have_either_of_their_names_and_others_are_none(self):
        class Named(StandardPythonParameterType):
            def supported_versions(self):
                return self.names

        def named(*names):
            sample = Named(1)
            sample.names = list(names)
            return sample

        for number, (names, versions) in enumerate(
            (
                (["2", "3"], ["v2", "v3"]),
                (["2.0", "3.0"], ["v2", "v3"]),
                (["3.1", "4", "three"], ["v3-1"]),
                (["2", "2.0"], ["v2"]),
                (["2", "3", "3.1"], []),
            )
        ):
            self.assertEqual(self.versions(number, input_schema("data", named(*names))), versions, names)
        both = input_schema("data", named("2.0", "3")), output_schema(named("2", "3"))
        self.assertEqual(self.versions("both", *both), ["v3"])


class Deployments(unittest.TestCase):
    def test_driver(self):
        self.assertEqual(deploy(self, "driver.py"), "")
        self.assertEqual(score(b"x"), (score()[0], b'["x", ["init"], "entry_module"]'))

    def test_members(self):
        self.assertEqual(deploy(self, "members.py"), "")
        description = json.loads(runner.schema())
        self.assertEqual((description["mode"], description["versions"]), ("json", ["v3", "v3-1"]))
        self.assertEqual(json.loads(description["input"])["example"], {"number": 1, "data": "YWJj", "request_headers": ""})
        self.assertEqual(json.loads(description["output"])["type"], "array")
        headers = [("x-a", "1"), ("x_b", "2"), ("X-A".lower(), "3"), ("content-type", "")]
        head, body = score(b'{"number": 2, "data": "AQI="}', headers=headers)
        self.assertEqual((head[0], body), ("response 200", b'[2, [1, 2], {"X-A": "1,3"}]'))
        self.assertEqual(score(b"{}"), (["bad-input"], b"A value is not provided for the 'number' parameter."))
        self.assertEqual(score(b'{"number": "2"}')[0], ["failed"])
        self.assertEqual(score(b'{"number": "\xff"}')[0], ["unencodable"])

    def test_undecorated(self):
        self.assertEqual(deploy(self, "plain.py"), "")
        self.assertEqual(json.loads(runner.schema()), {"mode": "plain", "input": None, "output": None, "versions": []})

    def test_failures(self):
        error = deploy(self, "failing.py", AZUREML_MODEL_DIR=SCRIPTS)
        self.assertEqual(error, "ValueError: no model")
        texts = [text for _, _, _, text in host.log()]
        self.assertIn("User's init function failed", texts)
        self.assertTrue(any(text.startswith("Encountered Exception Traceback (most recent call last):") for text in texts))
        self.assertTrue(any(text.startswith("Model Directory Contents:\nscripts/\n    ") for text in texts))
        error = deploy(self, "failing.py", FAIL="import")
        self.assertIn("No module named 'xgboost'\nThe script needs xgboost, and xgboost is native code", error)
        self.assertIn("\nThe model needs xgboost.sklearn.XGBClassifier, and xgboost", deploy(self, "failing.py", FAIL="pickle"))
        self.assertEqual(deploy(self, "failing.py", FAIL="exit"), "SystemExit: 4")
        self.assertEqual(deploy(self, "failing.py", FAIL="cycle"), "ValueError: no model")
        self.assertIn("Working outside of application context", deploy(self, "failing.py", FAIL="unbound"))
        self.assertIn("FileNotFoundError", deploy(self, "absent.py"))
        self.assertIn((0, 3, "azmlinfsrv", "No such file or directory."), host.log())

    def test_traceback_is_chained(self):
        deploy(self, "plain.py")
        _, body = score(b"silent")
        error = failure(body)
        self.assertEqual(error["kind"], "Silent")
        self.assertTrue(error["traceback"].startswith("Traceback (most recent call last):\n"))
        self.assertIn("The above exception was the direct cause", error["traceback"])
        self.assertIn("UserScriptException: Caught an unhandled exception from the user script", error["traceback"])


class WarmUp(unittest.TestCase):
    def calls(self):
        return json.loads(score(b"x")[1])

    def test_run_is_called_before_the_snapshot_with_the_request_that_is_named(self):
        self.assertEqual(deploy(self, "counts.py"), "")
        self.assertEqual(self.calls(), {"calls": 1, "data": "x", "g": 3})
        self.assertEqual(deploy(self, "counts.py", SCOREBOX_WARM_UP="request.txt"), "")
        self.assertEqual(runner._script.run.__globals__["calls"], 32)
        self.assertEqual(self.calls(), {"calls": 33, "data": "x", "g": 3})

    def test_no_more_requests_are_made_once_ten_seconds_are_over(self):
        # Each takes three, and the fourth is over after twelve; the one below is the fifth.
        clock = mock.Mock(monotonic=mock.Mock(side_effect=itertools.count(0, 3)))
        with mock.patch.object(runner, "time", clock):
            self.assertEqual(deploy(self, "counts.py", SCOREBOX_WARM_UP="request.txt"), "")
        self.assertEqual(self.calls()["calls"], 5)

    def test_what_cannot_warm_up_is_refused(self):
        answer = deploy(self, "counts.py", SCOREBOX_WARM_UP="nothing.txt")
        self.assertEqual(
            answer, f"SCOREBOX_WARM_UP names {SCRIPTS}/nothing.txt, which cannot be read: No such file or directory"
        )
        answer = deploy(self, "counts.py", SCOREBOX_WARM_UP="fail.txt")
        self.assertEqual(
            answer, f"run() fails with {SCRIPTS}/fail.txt, which SCOREBOX_WARM_UP names: ValueError: call 1"
        )


if __name__ == "__main__":
    unittest.main()
