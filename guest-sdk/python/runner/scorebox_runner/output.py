"""What a script says: `print`, `logging`, and what it writes to `sys.stdout` and `sys.stderr`.

As in Azure ML's inference server `print` makes a record of the logger `azmlinfsrv.print`, and loggers below `azmlinfsrv`
are shown from level INFO, or from that of `AZUREML_LOG_LEVEL`. Everything else that reaches `sys.stdout` or `sys.stderr`, Python's own logging and warnings
among it, makes one record for each line.
"""

import builtins
import io
import json
import logging
import logging.config
import os
import sys
from typing import Any

from . import door

_print_logger = logging.getLogger("azmlinfsrv.print")


class LineStream(io.RawIOBase):
    """Bytes in, one record of the host's log for each line out. A line that is not ended waits for `finish`."""

    def __init__(self, stream: int, level: int) -> None:
        """`stream` and `level` are those of `door.log`."""
        super().__init__()
        self._stream = stream
        self._level = level
        self._begun = b""

    def writable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """The descriptor of the same stream, for what writes past Python, such as `faulthandler`."""
        return self._stream

    def close(self) -> None:
        """Does nothing: a text stream that lets go of this one must not end it for the others."""

    def write(self, data: Any) -> int:
        """Takes all of `data`; returns its length in bytes."""
        data = bytes(data)
        *lines, self._begun = (self._begun + data).split(b"\n")
        for line in lines:
            self._log(line)
        return len(data)

    def finish(self) -> None:
        """Writes the line that has begun, if there is one."""
        if self._begun:
            line, self._begun = self._begun, b""
            self._log(line)

    def _log(self, line: bytes) -> None:
        door.log(self._stream, self._level, "", line.removesuffix(b"\r").decode("utf-8", "backslashreplace"))


class DoorHandler(logging.Handler):
    """Hands records to the host, which adds time and level."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record, tracebacks included; once, whatever the number of handlers that get it."""
        if getattr(record, "scorebox_written", False):
            return
        record.scorebox_written = True
        try:
            level = min(max(record.levelno // 10 - 1, door.DEBUG), door.CRITICAL)
            door.log(door.LOGGER, level, record.name, self.format(record))
        except Exception:
            self.handleError(record)


_stdout = LineStream(door.STDOUT, door.INFO)
_stderr = LineStream(door.STDERR, door.WARNING)


def install(app_root: str, script: str | None) -> None:
    """Replaces `print`, `sys.stdout` and `sys.stderr`, and configures logging.

    A file `logging.json` in `app_root`, else beside the script, replaces the configuration, as `logging.config.dictConfig`
    takes it; raises `ValueError` when it does not take it. Its levels and filters hold here; its formats are the host's
    to use, which writes the log.
    """
    sys.stdout = sys.__stdout__ = _text(_stdout)
    sys.stderr = sys.__stderr__ = _text(_stderr)
    builtins.print = _print
    server = logging.getLogger("azmlinfsrv")
    folders = [app_root] + ([os.path.dirname(script)] if script else [])
    path = next((path for path in (os.path.join(folder, "logging.json") for folder in folders) if os.path.exists(path)), None)
    if path is None:
        server.handlers[:] = [DoorHandler()]
        server.setLevel(_level())
        server.propagate = False
        return
    with open(path, encoding="utf-8") as file:
        logging.config.dictConfig(json.load(file))
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        # Entries for names above a logger that nobody has asked for are none.
        if isinstance(logger, logging.Logger):
            logger.handlers[:] = [_to_host(handler) for handler in logger.handlers]


def _level() -> int:
    """The level that `AZUREML_LOG_LEVEL` names; INFO where it names none."""
    name = os.environ.get("AZUREML_LOG_LEVEL", "").upper()
    return logging.getLevelNamesMapping().get(name) or logging.INFO


def _to_host(handler: logging.Handler) -> logging.Handler:
    """A handler that hands to the host what another one would write to `sys.stdout` or `sys.stderr`."""
    if not isinstance(handler, logging.StreamHandler) or handler.stream not in (sys.stdout, sys.stderr):
        return handler
    door_handler = DoorHandler(handler.level)
    door_handler.filters = handler.filters
    return door_handler


def finish() -> None:
    """Writes lines that have begun and will not be ended."""
    _stdout.finish()
    _stderr.finish()


def _text(stream: LineStream) -> io.TextIOWrapper:
    return io.TextIOWrapper(stream, encoding="utf-8", errors="backslashreplace", newline="\n", write_through=True)


_original_print = builtins.print


def _print(*objects: object, sep: str | None = " ", end: str | None = "\n", file: Any = None, flush: bool = False) -> None:
    """Prints to the server's log; `end` and `flush` have no meaning there. To a `file` it prints as ever."""
    if file is None or file is sys.stdout:
        _print_logger.info((" " if sep is None else sep).join(map(str, objects)))
    else:
        _original_print(*objects, sep=sep, end=end, file=file, flush=flush)
