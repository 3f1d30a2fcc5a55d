"""Reads and writes files."""

import json
import os
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def read_all():
    return {
        "beside": (HERE / "note.txt").read_text(),
        "model": (Path(os.environ["AZUREML_MODEL_DIR"]) / "weights.txt").read_text(),
    }


def init():
    global read_in_init
    read_in_init = read_all()
    Path("/tmp/from-init").write_text("init() was here")


def fill(size):
    """Writes until there is no more space, and says how much there was."""
    written = 0
    try:
        with open("/tmp/large", "wb", buffering=0) as file:
            while written < size:
                written += file.write(b"x" * 1_000_000)
    except OSError as error:
        return {"written": written, "error": error.strerror}
    return {"written": written, "error": None}


def crowd(most):
    """Makes directories until there is no room for one more, and says how many there were."""
    made = 0
    try:
        while made < most:
            os.mkdir(f"/tmp/{made}")
            made += 1
    except OSError as error:
        return {"made": made, "error": error.strerror}
    return {"made": made, "error": None}


def attempt(action):
    try:
        return str(action())
    except OSError as error:
        return f"{type(error).__name__}: {error.strerror}"


ACTIONS = {
    "read": lambda _: {"in init": read_in_init, "in run": read_all()},
    "temporary": lambda _: sorted(os.listdir("/tmp")),
    "keep": lambda data: Path("/tmp", data["name"]).write_text("kept"),
    "named": lambda _: tempfile.NamedTemporaryFile().write(b"some bytes"),
    "fill": lambda data: fill(data["size"]),
    "crowd": lambda data: crowd(data["most"]),
    "foreign": lambda _: {
        path: attempt(lambda: open(path).read(10))
        for path in ["/etc/passwd", "/proc/self/environ", "/../../etc/passwd", "/root/.ssh/id_rsa"]
    },
    "change": lambda _: {
        "write": attempt(lambda: (HERE / "note.txt").write_text("changed")),
        "create": attempt(lambda: (HERE / "new.txt").write_text("new")),
        "remove": attempt(lambda: (HERE / "note.txt").unlink()),
        "model": attempt(lambda: Path(os.environ["AZUREML_MODEL_DIR"], "new.txt").write_text("new")),
        "library": attempt(lambda: Path("/usr/local/lib/new.py").write_text("new")),
    },
    "environment": lambda _: dict(os.environ),
}


def run(raw_data):
    data = json.loads(raw_data)
    return ACTIONS[data["action"]](data)
