"""Leaves behind all that a request can leave behind."""

import json
import os
import tempfile

kept = []


def init():
    pass


def run(raw_data):
    before = {"kept": len(kept), "temporary": len(os.listdir("/tmp"))}
    kept.append(bytearray(os.urandom(1)) * 20_000_000)
    with tempfile.NamedTemporaryFile(delete=False) as file:
        for _ in range(20):
            file.write(b"x" * 1_000_000)
    open("/tmp/never-closed", "w").write("text")
    return before
