"""What is in the model directory, for the log of an `init()` that failed: most often a path is wrong."""

import logging
import os
from collections.abc import Iterator
from itertools import islice

_MAX_LINES = 200

_log = logging.getLogger("azmlinfsrv")


def log_contents() -> None:
    """Writes the tree of `AZUREML_MODEL_DIR` to the log, at most 200 lines of it; nothing when there is none."""
    root = os.environ.get("AZUREML_MODEL_DIR")
    if not root or not os.path.isdir(root):
        return
    lines = list(islice(_tree(root, ""), _MAX_LINES + 1))
    if len(lines) > _MAX_LINES:
        lines[_MAX_LINES] = f"Output Truncated. First {_MAX_LINES} lines shown."
    _log.info("\n".join(["Model Directory Contents:", *lines]))


def _tree(folder: str, indent: str) -> Iterator[str]:
    yield f"{indent}{os.path.basename(folder.rstrip('/'))}/"
    indent += "    "
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            yield from _tree(entry.path, indent)
        else:
            yield indent + entry.name
