"""Collects numbers in a global, and empties it in the end, unless something happens before."""

import json
import time

numbers = []


def init():
    pass


def run(raw_data):
    data = json.loads(raw_data)
    numbers.extend(data["numbers"])
    time.sleep(data["seconds"])
    total = sum(numbers)
    numbers.clear()
    return total
