"""What a `logging.json` names of Azure ML's inference server."""

import logging
import time


class RootAccessFilter(logging.Filter):
    """Leaves out the lines of health checks in the access log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is none of a health check."""
        return "GET / HTTP/1.1" not in record.getMessage()


class AMLLogFormatter(logging.Formatter):
    """Formats records as that server does, with times in UTC."""

    converter = time.gmtime

    def __init__(
        self,
        fmt: str | None = "%(asctime)s %(levelname).1s [%(process)d] %(name)s - %(message)s",
        datefmt: str | None = None,
        style: str = "%",
    ) -> None:
        """Takes what `logging.Formatter` takes."""
        super().__init__(fmt=fmt, datefmt=datefmt, style=style)
