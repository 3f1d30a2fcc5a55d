"""What is wrong with JSON, in the words of the Python versions that Azure ML's inference server runs on (up to 3.12)."""

import json
import re

_SPACE = re.compile(r"[ \t\n\r]*")


def contractual(error: json.JSONDecodeError) -> json.JSONDecodeError:
    """The same error as Python 3.12 would report it.

    Newer versions have a message of their own for a comma before the end of an object or array, and point at the comma;
    older ones say what they miss where the end is.
    """
    if not error.msg.startswith("Illegal trailing comma"):
        return error
    message = "Expecting property name enclosed in double quotes" if "object" in error.msg else "Expecting value"
    end = _SPACE.match(error.doc, error.pos + 1).end()
    return json.JSONDecodeError(message, error.doc, end)
