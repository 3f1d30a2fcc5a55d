"""What can be wrong with a script or a request."""


class UserScriptError(Exception):
    """The script is not one that can be served; the text says why."""


class UserScriptImportException(UserScriptError):
    """Importing the script raised; the cause has what."""

    def __init__(self) -> None:
        super().__init__("Failed to import user script because it raised an unhandled exception")


class UserScriptException(Exception):
    """A function of the script raised; the cause has what."""

    def __init__(self) -> None:
        super().__init__("Caught an unhandled exception from the user script")


class UserScriptTimeout(Exception):
    """`run()` gave up with a `TimeoutError`, which is the cause."""

    def __init__(self) -> None:
        super().__init__("The user script raised a TimeoutError")


class BadInput(Exception):
    """The request cannot be scored; the text is for the client."""


def operator_text(error: BaseException) -> str:
    """One line that says what an exception says, with its type: `ValueError: no such column`."""
    kind = type(error).__name__
    text = safe_text(error)
    return f"{kind}: {text}" if text else kind


def safe_text(error: BaseException) -> str:
    """`str(error)`, or a note when that fails."""
    try:
        return str(error)
    except Exception:
        return f"<{type(error).__name__} without a readable message>"
