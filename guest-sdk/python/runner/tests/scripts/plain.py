import asyncio
import datetime
import json
import logging
import random
import socket
import subprocess
import sys
import threading
import uuid

import flask

print("import", 1, sep="-")
UNSEEDED = random.Random()
SEEDED = random.Random(1)


def init():
    sys.stdout.write("begun")


def talk():
    print("plain")
    print("a", 1, None, sep=",", end="!!")
    print()
    print("two\nlines")
    print("to stderr", file=sys.stderr)
    sys.stdout.write("one\ntw")
    sys.stdout.flush()
    sys.stdout.write("o\nthree")
    sys.stdout.buffer.write(b"\xff\r\n")
    logging.getLogger("azmlinfsrv.mine").warning("with %s", "arguments")
    logging.getLogger("azmlinfsrv").debug("hidden")
    logging.getLogger("other").info("lost")
    logging.getLogger("other").warning("shown")


async def later():
    await asyncio.sleep(0)
    return "later"


def circle():
    value = []
    value.append(value)
    return value


class Silent(Exception):
    def __str__(self):
        raise ValueError


def after():
    @flask.after_this_request
    def add(response):
        response.headers["X-After"] = "1"
        return response

    return [1]


def chunks():
    yield "a"
    yield b""
    yield "b"
    raise ValueError("midway")


def closing(body, end=lambda: print("closed")):
    response = flask.Response(body)
    response.call_on_close(end)
    return response


def stop(error):
    raise error


class Exit(SystemExit):
    pass


OPERATIONS = {
    "talk": talk,
    "none": lambda: None,
    "text": lambda: "é",
    "nan": lambda: [float("nan"), 1e16, -0.0],
    "tuple": lambda: ({"a": 1}, 201),
    "bytes": lambda: b"x",
    "date": lambda: datetime.datetime(2024, 1, 2),
    "circle": circle,
    "exit": lambda: sys.exit("bye"),
    "timeout": lambda: stop(TimeoutError("mine")),
    "silent": lambda: stop(Silent()),
    "interrupt": lambda: stop(KeyboardInterrupt()),
    "own exit": lambda: stop(Exit()),
    "cancelled": lambda: stop(asyncio.CancelledError()),
    "group": lambda: stop(BaseExceptionGroup("both", [KeyboardInterrupt()])),
    "recursion": lambda: OPERATIONS["recursion"](),
    "chained": lambda: stop(ValueError("h\ud800é")),
    "g": lambda: [flask.g.request_id, flask.g.client_request_id, flask.request.endpoint, flask.request.args["a"]],
    "jsonify": lambda: flask.jsonify({"b": 1}),
    "after": after,
    "redirect": lambda: flask.redirect("/é"),
    "stream": lambda: flask.Response(flask.stream_with_context(chunks())),
    "whole": lambda: flask.Response(iter(["a", "b"])),
    "closing": lambda: closing("ab"),
    "closing stream": lambda: closing(iter(["a", "b"])),
    "closing broken": lambda: closing(chunks()),
    "closing fails": lambda: closing(iter(["a", "b"]), lambda: stop(ValueError("closed"))),
    "empty": lambda: flask.Response("x", 204),
    "asyncio": lambda: asyncio.run(later()),
    "socket": lambda: socket.create_connection(("localhost", 1)),
    "process": lambda: subprocess.run(["ls"]),
    "thread": lambda: threading.Thread(target=talk).start(),
    "random": lambda: [random.random(), UNSEEDED.random(), SEEDED.random(), uuid.uuid1().hex],
}


def run(data):
    return OPERATIONS[data]() if data in OPERATIONS else json.loads(data)
