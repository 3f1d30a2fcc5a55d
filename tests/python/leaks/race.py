"""Keeps its input in the model, waits, and works with what the model has then."""

import json
import time


class Doubler:
    number = None

    def double(self):
        # Stands for input and output, or for computing without the interpreter's lock.
        time.sleep(0.01)
        return self.number * 2


def init():
    global model
    model = Doubler()


def run(raw_data):
    model.number = json.loads(raw_data)["number"]
    return model.double()
