"""The head of a request as the host sends it.

Lines of Latin-1 text, separated by newlines: request id, client request id (empty when there is none), method, scheme,
path as sent, query as sent with its `?` (empty when there is none), address of the client, and one line `name: value`
for each header.
"""

_FIXED_LINES = 7


class RequestHead:
    """A request's head; what is not asked for is not parsed."""

    __slots__ = ("client_request_id", "request_id", "_rest")

    def __init__(self, head: bytes) -> None:
        self.request_id, self.client_request_id, self._rest = head.decode("latin-1").split("\n", 2)

    def lines(self) -> list[str]:
        """Method, scheme, path, query and client's address, then the headers."""
        return self._rest.split("\n")

    @property
    def method(self) -> str:
        """`GET`, `POST`, ..."""
        return self._rest.partition("\n")[0]

    def content_type(self) -> str:
        """The `Content-Type`, the last one where there are several; empty where there is none."""
        _, found, rest = self._rest.rpartition("\ncontent-type: ")
        return rest.partition("\n")[0] if found else ""

    def headers(self) -> list[tuple[str, str]]:
        """Name in lower case and value of each header, in the order sent.

        Names with an underscore are left out: in a WSGI environment they cannot be told from those with a hyphen.
        """
        pairs = (line.partition(": ") for line in self.lines()[_FIXED_LINES - 2 :] if line)
        return [(name, value) for name, _, value in pairs if "_" not in name]

    def headers_by_title(self) -> dict[str, str]:
        """What a parameter `request_headers` gets: names in Title-Case, values of repeated headers joined with `,`.

        As in a WSGI environment the last `Content-Type` and `Content-Length` count, and empty ones are left out.
        """
        headers: dict[str, str] = {}
        for name, value in self.headers():
            title = name.title()
            if title in headers and title not in ("Content-Type", "Content-Length"):
                headers[title] += "," + value
            else:
                headers[title] = value
        for title in ("Content-Type", "Content-Length"):
            if headers.get(title) == "":
                del headers[title]
        return headers
