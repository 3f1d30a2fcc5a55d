"""Says what there is of a request, besides its text."""

from flask import request


def init():
    pass


def run(data):
    return {
        "text": data,
        "data": request.get_data().decode(),
        "args": request.args.to_dict(),
        "form": request.form.to_dict(),
        "files": {name: file.read().decode("latin-1") for name, file in request.files.items()},
    }
