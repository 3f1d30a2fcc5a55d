import os


def init():
    load(os.path.join("model", "weights"))


def load(path):
    raise ValueError(f"the weights in {path} are too old")


def run(raw_data):
    return raw_data
