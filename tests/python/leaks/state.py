"""Keeps what it is told in a global, and says what was there before."""

import json

state = {}


def init():
    pass


def run(raw_data):
    before = dict(state)
    state.update(json.loads(raw_data))
    return before.get("tenant")
