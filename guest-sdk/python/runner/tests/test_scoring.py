"""Requests, from head and body to the answer."""

import json
import unittest

from .support import deploy, failure, host, score


class Plain(unittest.TestCase):
    def setUp(self):
        self.assertEqual(deploy(self, "plain.py"), "")

    def test_values(self):
        for body, expected in (
            (b"none", b"{}"),
            (b"text", b'"\\u00e9"'),
            (b"nan", b"[NaN, 1e+16, -0.0]"),
            (b"tuple", b'[{"a": 1}, 201]'),
            (b'{"b": 1, "a": 2}', b'{"b": 1, "a": 2}'),
        ):
            head = ["response 200", "Content-Type: application/json", "x-ms-run-function-failed: False"]
            self.assertEqual(score(body), (head, expected))

    def test_what_is_no_json(self):
        for body, kind in ((b"bytes", "TypeError"), (b"date", "TypeError"), (b"circle", "ValueError")):
            head, answer = score(body)
            self.assertEqual((head, failure(answer)["kind"]), (["unencodable"], kind))

    def test_exceptions(self):
        for body, head, kind, message in (
            (b"exit", "failed", "SystemExit", "bye"),
            (b"interrupt", "failed", "KeyboardInterrupt", ""),
            (b"timeout", "timed-out", "TimeoutError", "mine"),
            (b"silent", "failed", "Silent", "<Silent without a readable message>"),
            (b"chained", "failed", "ValueError", "h\ud800é"),
        ):
            lines, answer = score(body)
            error = failure(answer)
            self.assertEqual((lines, error["kind"], error["message"]), ([head], kind, message))
        lines, answer = score(b"recursion")
        self.assertEqual((lines, failure(answer)["kind"]), (["failed"], "RecursionError"))

    def test_flask_without_a_request_of_its_own(self):
        head, body = score(b"g", query="?a=1%202", request_id="r", client_id="c")
        self.assertEqual(json.loads(body), ["r", "c", "main.handle_score", "1 2"])
        head, body = score(b"jsonify")
        self.assertEqual((head, body), (["response 200", "Content-Type: application/json", "Content-Length: 8"], b'{"b":1}\n'))
        self.assertIn((0, 1, "azmlinfsrv", "run() output is HTTP Response"), host.log())
        head, body = score(b"after")
        self.assertIn("X-After: 1", head)
        self.assertEqual(body, b"[1]")
        self.assertIn("Location: /%C3%A9", score(b"redirect")[0])
        self.assertEqual(score(b"empty")[1], b"")

    def test_streams(self):
        self.assertEqual(score(b"whole"), (["streamed"], b""))
        self.assertEqual(host.of_kind(b"H"), [b"response 200\nContent-Type: text/html; charset=utf-8"])
        self.assertEqual(host.of_kind(b"C"), [b"a", b"b"])
        head, body = score(b"stream")
        self.assertEqual((head, failure(body)["message"]), (["broken"], "midway"))
        self.assertEqual(host.of_kind(b"C"), [b"a", b"b"])

    def test_stream_to_a_client_that_goes(self):
        host.chunks_until_gone = 1
        self.assertEqual(score(b"stream"), (["streamed"], b""))
        self.assertEqual(host.of_kind(b"C"), [b"a"])

    def test_what_waits_for_the_end_of_a_response_is_called_once(self):
        for body, kind in ((b"closing", "response 200"), (b"closing stream", "streamed"), (b"closing broken", "broken")):
            self.assertEqual(score(body)[0][0], kind)
            self.assertEqual([text for _, _, _, text in host.log() if "closed" in text], ["closed"], kind)

    def test_an_error_after_the_response_is_in_the_log_only(self):
        self.assertEqual(score(b"closing fails"), (["streamed"], b""))
        self.assertEqual(host.of_kind(b"C"), [b"a", b"b"])
        [text] = [text for _, level, _, text in host.log() if level == 3]
        self.assertTrue(text.startswith("Error after the response\nTraceback") and text.endswith("ValueError: closed"), text)

    def test_restrictions(self):
        for body, kind, message in (
            (b"socket", "gaierror", "no network"),
            (b"process", "OSError", "cannot start processes"),
            (b"thread", "RuntimeError", "can't start new thread"),
        ):
            head, answer = score(body)
            error = failure(answer)
            self.assertEqual((head, error["kind"]), (["failed"], kind))
            self.assertIn(message, error["message"])
        self.assertEqual(score(b"asyncio")[1], b'"later"')


class Raw(unittest.TestCase):
    def setUp(self):
        self.assertEqual(deploy(self, "raw.py"), "")

    def test_request(self):
        headers = [("host", "a:1"), ("x-q", "1"), ("x-q", "2"), ("x-forwarded-proto", "https"), ("x-forwarded-for", "9.9.9.9")]
        _, body = score(b"\xc3\xa9", path="/sc%6fre", query="?a=1&a=%202", headers=headers)
        self.assertEqual(
            json.loads(body),
            {
                "method": "POST",
                "url": "https://a:1/score?a=1&a=%202",
                "args": {"a": ["1", " 2"]},
                "form": {},
                "files": {},
                "data": "é",
                "headers": [["X-Q", "1,2"], ["X-Forwarded-Proto", "https"], ["X-Forwarded-For", "9.9.9.9"]],
                "route": ["/score", "main.handle_score", "main"],
                "is": [True, False],
                "remote": ["127.0.0.1", ["9.9.9.9"]],
            },
        )

    def test_forms(self):
        _, body = score(b"a=1&b=2", headers=[("content-type", "application/x-www-form-urlencoded")])
        answer = json.loads(body)
        self.assertEqual((answer["form"], answer["data"]), ({"a": "1", "b": "2"}, ""))
        part = b'--X\r\nContent-Disposition: form-data; name="f"; filename="n"\r\n\r\ntext\r\n--X--\r\n'
        _, body = score(part, headers=[("content-type", "multipart/form-data; boundary=X"), ("transfer-encoding", "chunked")])
        self.assertEqual(json.loads(body)["files"], {"f": "text"})

    def test_responses(self):
        head, body = score(query="?json")
        self.assertEqual(body, b'{"a": 1}')
        self.assertEqual(
            head,
            [
                "response 201",
                "Content-Type: application/json",
                "Content-Length: 8",
                "x-ms-run-function-failed: False",
                "X-A: 1",
                "X-A: 2",
                "Content-Type: a/b",
            ],
        )
        head, body = score(query="?type")
        self.assertEqual((head[:2], body), (["response 503", "Content-Type: a/b"], b"\xff"))
        self.assertEqual(score(query="?type", method="HEAD")[1], b"")
        self.assertEqual(score(query="?broken")[0], ["failed"])


class Output(unittest.TestCase):
    def test_init(self):
        deploy(self, "plain.py")
        self.assertIn((0, 1, "azmlinfsrv.print", "import-1"), host.log())
        self.assertEqual(host.log()[-1], (1, 1, "", "begun"))

    def test_lines(self):
        deploy(self, "plain.py")
        score(b"talk")
        logger = [record[1:] for record in host.log() if record[0] == 0]
        self.assertEqual(
            logger,
            [
                (1, "azmlinfsrv.print", "plain"),
                (1, "azmlinfsrv.print", "a,1,None"),
                (1, "azmlinfsrv.print", ""),
                (1, "azmlinfsrv.print", "two\nlines"),
                (2, "azmlinfsrv.mine", "with arguments"),
            ],
        )
        self.assertEqual([text for stream, _, _, text in host.log() if stream == 1], ["one", "two", "three\\xff"])
        self.assertEqual([text for stream, _, _, text in host.log() if stream == 2], ["to stderr", "shown"])


if __name__ == "__main__":
    unittest.main()
