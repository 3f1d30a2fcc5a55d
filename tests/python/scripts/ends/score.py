"""Ends in each way in which a run can end."""

import gc
import importlib
import json
import os
import signal
import sys
import time

import numpy as np

state = "as after init()"


def init():
    pass


def recurse(depth):
    return recurse(depth + 1) + 1


def allocate():
    blocks = []
    while True:
        blocks.append(bytearray(10_000_000))


def spin():
    while True:
        pass


class Exit(SystemExit):
    pass


def end(error):
    raise error


def finalizer():
    class Finalized:
        def __del__(self):
            raise ValueError("in a finalizer")

    Finalized()
    gc.collect()
    return "finalized"


ENDS = {
    "memory": allocate,
    "array": lambda: np.ones(2**31 - 1, dtype=np.int8).sum() + np.ones(2**31 - 1, dtype=np.int8).sum(),
    "recursion": lambda: recurse(0),
    "deep repr": lambda: repr(deep()),
    "exit": lambda: sys.exit(3),
    "quit": lambda: os._exit(7),
    "abort": lambda: os.abort(),
    "sigabrt": lambda: importlib.import_module("faulthandler")._sigabrt(),
    "segfault": lambda: importlib.import_module("ctypes").string_at(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "interrupt": lambda: (_ for _ in ()).throw(KeyboardInterrupt),
    "own exit": lambda: end(Exit(3)),
    "cancelled": lambda: end(importlib.import_module("asyncio").CancelledError()),
    "spin": spin,
    "c loop": lambda: sum(range(10**12)),
    "sleep": lambda: time.sleep(1000),
    "finalizer": finalizer,
    "timeout": lambda: (_ for _ in ()).throw(TimeoutError("my own")),
}


def deep():
    nested = []
    for _ in range(1_000_000):
        nested = [nested]
    return nested


def run(raw_data):
    global state
    data = json.loads(raw_data)
    if isinstance(data, list):
        return sum(data)
    before, state = state, f"changed before {data['end']}"
    return before if data["end"] == "well" else ENDS[data["end"]]()
