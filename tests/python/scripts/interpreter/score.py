"""Says what the interpreter makes of numbers, and where its modules come from."""

import io
import json
import pickle
import struct

import flask
import scorebox_runner.door


def init():
    pass


def bits(number):
    """A float as the number that its bits are."""
    return struct.unpack("<Q", struct.pack("<d", number))[0]


def fails(function, *arguments):
    try:
        return repr(function(*arguments))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def run(data):
    asked = json.loads(data)
    return {
        # JSON has no integers of 64 bits that everybody reads.
        "json": [str(bits(json.loads(text))) for text in asked["floats"]],
        "float": [str(bits(float(text))) for text in asked["floats"]],
        "others": [fails(float, text) for text in asked["others"]],
        "pickle": fails(pickle.load, io.BytesIO(b"F1e400\n.")),
        "complex": repr(complex("1.5e3-2.5j")),
        "files": [flask.__file__, scorebox_runner.door.__file__],
        "line": scorebox_runner.door.log.__code__.co_filename,
    }
