"""The way out of the sandbox: messages to the host.

Every message is one call of the runtime's `_host.call`, which hands bytes to the host and returns its answer. The first
byte says what the message is: `L` a log record, `H` the head of a streamed response, `C` a piece of its body, `I` a list of
objects that are to be immortal. Only `I` has an answer that is not empty.
"""

from array import array

from _host import call

LOGGER = 0
"""Stream of records that were written with `logging`."""

STDOUT = 1
"""Stream of lines that were written to `sys.stdout`."""

STDERR = 2
"""Stream of lines that were written to `sys.stderr`."""

DEBUG, INFO, WARNING, ERROR, CRITICAL = range(5)
"""Levels of records, in the host's numbers."""


def log(stream: int, level: int, logger: str, text: str) -> None:
    """Writes one record to the host's log.

    `stream` is one of `LOGGER`, `STDOUT`, `STDERR`, `level` one of `DEBUG` to `CRITICAL`, `logger` the name of the Python
    logger (empty for the other streams). `text` may have several lines. Never fails: there is nobody to tell.
    """
    name = logger.replace("\0", "").encode("utf-8", "backslashreplace")
    message = text.encode("utf-8", "backslashreplace")
    try:
        call(b"L%d%d%b\0%b" % (stream, level, name, message))
    except OSError:
        pass


def start_response(head: bytes) -> None:
    """Starts a streamed response; `head` has the form of `responses.head`.

    Raises `OSError` when the client is gone.
    """
    call(b"H" + head)


def send(chunk: bytes) -> None:
    """Sends a piece of a streamed response's body; returns when the host has taken it.

    Raises `OSError` when the client is gone.
    """
    call(b"C" + chunk)


MORTAL = 0
"""Number of a type whose objects are to be left as they are."""

UNKNOWN = 255
"""Number of a type of which nothing is known."""


def make_immortal(objects: list[object], numbers: dict[int, int]) -> bytes:
    """Makes objects immortal: they are never freed, and their reference counts never written.

    `numbers` has a number for the address of each type that is known. Answers with a number for each object: that of its
    type where it is immortal now; `MORTAL` where nothing was done, also because it was immortal before; `UNKNOWN` where its
    type is not known, and nothing was done. The answer is empty outside of the sandbox.
    """
    # An object's id is its address, and an unsigned long is as wide as one.
    addresses = array("L", (id(objects), *numbers))
    return call(b"I%b%b" % (addresses.tobytes(), bytes(numbers.values())))
