import json


def init():
    pass


def run(data):
    return {"sum": sum(json.loads(data)["data"][0])}
