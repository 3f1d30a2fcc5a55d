"""Looks for what requests before this one have left behind, then leaves something behind itself.

Each request brings a secret: 16 bytes that are the same for the whole run and that nobody else can guess, and the number of
the request. It brings it masked, and nothing here holds its bytes together before everything has been looked through: so
whatever is found is of an earlier request.
"""

import builtins
import functools
import gc
import json
import os
import sys
import tempfile
import threading

import numpy
from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse

MASK = bytes.fromhex("a5a5a5a595e9d15b")
FOLDER = tempfile.gettempdir()

# Places in which `plant` plants a secret.
PLACES = 22

KEPT = []
BY_NAME = {}
LOCAL = threading.local()


class Model:
    """What a user's script may keep its state in."""

    weights = []


@functools.lru_cache
def cached(secret):
    return secret


def with_default(value=None, seen=[]):
    """Keeps what it was called with, as beginners do not expect."""
    seen.append(value)
    return seen


class Needle:
    """The unmasked secret in parts that are never next to each other."""

    def __init__(self, masked):
        bytes_ = [byte ^ MASK[at % 8] for at, byte in enumerate(masked)]
        self.first, self.second = bytes(bytes_[:8]), bytes(bytes_[8:16])
        self.number = bytes(bytes_[16:])
        self.scanned = 0

    def secret(self):
        return self.first + self.second + self.number

    def count(self, data):
        """How many secrets there are in something like bytes, as they are or in hexadecimal digits."""
        self.scanned += len(data)
        return self._count(data, self.first, self.second) + self._count(
            data, self.first.hex().encode(), self.second.hex().encode()
        )

    @staticmethod
    def _count(data, first, second):
        found, at = 0, data.find(first)
        while at >= 0:
            follows = at + len(first)
            found += data[follows : follows + len(second)] == second
            at = data.find(first, at + 1)
        return found

    def count_object(self, value):
        kind = type(value)
        if kind is bytes or kind is bytearray:
            return self.count(value)
        if kind is str:
            return self.count(value.encode("utf-8", "surrogatepass"))
        return 0


def init():
    global INITIAL
    INITIAL = None
    with_default()
    INITIAL = state()


def state():
    """How much there is in each place that has something of its own; after `init` this does not change."""
    return {
        "globals": len(KEPT) + len(BY_NAME) + len(Model.weights) + len(LOCAL.__dict__),
        "cache": cached.cache_info().currsize,
        "default": len(with_default.__defaults__[1]),
        "modules": hasattr(json, "left") + hasattr(builtins, "left") + len(sys.path),
        "environment": len(os.environ),
        "files": len(os.listdir(FOLDER)),
    }


def look(needle):
    found = dict.fromkeys(["objects", "files", "environment", "modules", "freed memory"], 0)
    for container in gc.get_objects():
        for value in gc.get_referents(container):
            found["objects"] += needle.count_object(value)
    for folder, _, names in os.walk(FOLDER):
        for name in names:
            found["files"] += needle.count(name.encode())
            with open(os.path.join(folder, name), "rb") as file:
                found["files"] += needle.count(file.read())
    for name, value in os.environ.items():
        found["environment"] += needle.count_object(name) + needle.count_object(value)
    for module in list(sys.modules.values()):
        for name in ("left", "__doc__"):
            found["modules"] += needle.count_object(getattr(module, name, None))
    # Memory that the allocator gives without clearing it: what was freed before, or is new to the instance.
    blocks = [numpy.empty(bytes_, numpy.uint8) for bytes_ in [64, 256, 512, 4096, 65536, 1 << 20, 4 << 20] for _ in range(4)]
    for block in blocks:
        found["freed memory"] += needle.count(block.tobytes())
    return found


def plant(needle):
    secret = needle.secret()
    text = secret.hex()
    KEPT.append(secret)
    BY_NAME[text] = [bytearray(secret)]
    Model.weights.append(text)
    LOCAL.secret = secret
    cached(secret)
    with_default(secret)
    json.left = builtins.left = text
    sys.path.append(text)
    os.environ["LEFT"] = text
    cycle = [secret]
    cycle.append(cycle)
    for number in range(4):
        with open(os.path.join(FOLDER, f"{number}-{text}"), "wb") as file:
            file.write(secret * (1 << (4 * number)))
    # These are freed at once, and what they held stays where it was.
    numpy.frombuffer(secret * 10000, numpy.uint8).copy()
    return PLACES


def recurse(secret):
    return recurse(secret[1:] + secret[:1])


@rawhttp
def run(request: AMLRequest):
    asked = json.loads(request.get_data())
    needle = Needle(bytes.fromhex(asked["secret"]))
    stale = sum(abs(value - INITIAL[place]) for place, value in state().items())
    found = look(needle)
    planted = plant(needle)
    report = json.dumps({"scanned": needle.scanned, "planted": planted, "stale": stale, "found": found})
    end = asked["end"]
    # Who has found something says so, whatever was asked.
    if end == "answer" or stale or any(found.values()):
        return AMLResponse(report, 200)
    if end == "spin":
        while True:
            pass
    if end == "recurse":
        recurse(needle.secret())
    if end == "exhaust":
        while True:
            KEPT.append(needle.secret() * 100000)
    if end == "stream":
        return AMLResponse(stream(report, needle.secret()), 200)
    raise ValueError(f"as was asked: {end}")


def stream(report, secret):
    """Waits for its client with the secret in hand."""
    yield report
    while secret:
        yield "." * 4096
