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
            # What is no `Exception` is called as what ends the process, which the host knows.
            (b"own exit", "failed", "SystemExit", ""),
            (b"cancelled", "failed", "SystemExit", ""),
            (b"group", "failed", "SystemExit", "both (1 sub-exception)"),
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


class Inputs(unittest.TestCase):
    def setUp(self):
        self.assertEqual(deploy(self, "input.py"), "")

    def answer(self, body, content_type, method="POST"):
        answer = json.loads(score(body, method, query="?a=1", headers=[("content-type", content_type)])[1])
        self.assertEqual(answer.pop("args"), {"a": "1"})
        return answer

    def test_a_form_has_no_text_and_flask_has_its_members_and_files(self):
        for content_type in ("application/x-www-form-urlencoded", "Application/X-WWW-Form-URLEncoded; charset=utf-8"):
            answer = self.answer(b"a=1&b=%C3%A9", content_type)
            self.assertEqual(answer, {"text": "", "data": "", "form": {"a": "1", "b": "é"}, "files": {}})
            self.assertEqual(self.answer(b"a=\xff", content_type), {"text": "", "data": "", "form": {}, "files": {}})
        part = b'--X\r\nContent-Disposition: form-data; name="f"; filename="n"\r\n\r\n\xff\r\n--X--\r\n'
        answer = self.answer(part, "multipart/form-data; boundary=X")
        self.assertEqual(answer, {"text": "", "data": "", "form": {}, "files": {"f": "ÿ"}})

    def test_what_flask_takes_for_no_form_is_text(self):
        for content_type in ("multipart/form-data", "multipart/form-data; boundary=", "text/form", ""):
            expected = {"text": "a=é", "data": "a=é", "form": {}, "files": {}}
            self.assertEqual(self.answer("a=é", content_type), expected)
        message = b"Input cannot be decoded as UTF-8: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"
        headers = [("content-type", "multipart/form-data; boundary=")]
        self.assertEqual(score(b"\xff", headers=headers), (["bad-input"], message))

    def test_a_form_with_more_than_flask_takes_is_refused(self):
        part = b'--X\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
        headers = [("content-type", "multipart/form-data; boundary=X")]
        head, message = score(part * 1001 + b"--X--\r\n", headers=headers)
        self.assertEqual((head, message), (["bad-input"], b"The data value transmitted exceeds the capacity limit."))

    def test_what_is_made_of_a_query_is_not_data_of_the_request(self):
        expected = {"text": '{"a": 1}', "data": "", "form": {}, "files": {}}
        for content_type in ("", "application/json", "application/x-www-form-urlencoded"):
            self.assertEqual(self.answer('{"a": 1}', content_type, "GET"), expected)


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
        status = ["response 503", "Content-Length: 1", "x-ms-run-function-failed: False"]
        self.assertEqual((head, body), ([*status, "Content-Type: a/b"], b"\xff"))
        head, body = score(query="?several")
        status = ["response 200", "Content-Length: 1", "x-ms-run-function-failed: False"]
        self.assertEqual((head, body), ([*status, "Set-Cookie: a=1", "Set-Cookie: b=2", "content-type: text/plain"], b"x"))
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
