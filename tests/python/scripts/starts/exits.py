import os


def init():
    os._exit(4)


def run(raw_data):
    return raw_data
