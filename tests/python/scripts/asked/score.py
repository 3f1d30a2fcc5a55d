"""Says what it was asked, as Flask has it."""

from flask import request


def init():
    pass


def run(data):
    return {"host": request.host, "url": request.url, "cookies": request.cookies.to_dict()}
