"""One request on its way through an operation, and the answer to it."""

from collections.abc import Mapping, Sequence
from typing import Any

from meshkit.limits.gcra import Decision
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.policy import TenantPolicy

Header = tuple[bytes, bytes]
RawHeaders = Sequence[Header]

JSON = b"application/json"
PROBLEM_JSON = b"application/problem+json"
HTML = b"text/html; charset=utf-8"


def header(headers: RawHeaders, name: bytes) -> str | None:
    """Return the first value of a header (name in lower case), None where it is absent."""
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None


def header_values(headers: RawHeaders, name: bytes) -> list[str]:
    """Return every value of a header, for those that must not be given twice."""
    return [value.decode("latin-1") for key, value in headers if key == name]


class Call:
    """A request whose tenant is known. `body` is decoded, `query` and `path` are checked text.

    `decision` is what the rate limit said, for the headers of the answer; it is replaced by
    routes that charge by item.
    """

    __slots__ = ("body", "decision", "headers", "path", "policy", "query", "request_id", "tenant")

    tenant: TenantContext
    policy: TenantPolicy

    def __init__(self, headers: RawHeaders, path: Mapping[str, str], request_id: str) -> None:
        self.headers = headers
        self.path = path
        self.request_id = request_id
        self.query: Mapping[str, str] = {}
        self.body: Any = None
        self.decision: Decision | None = None

    @property
    def knows_tenant(self) -> bool:
        """Whether it has come as far as to know its tenant, who may be refused all the same."""
        return hasattr(self, "policy")

    def header(self, name: bytes) -> str | None:
        """Return the first value of a header (name in lower case), None where it is absent."""
        return header(self.headers, name)


class Reply:
    """A whole answer: status, body and the headers that are its own."""

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(
        self,
        status: int,
        body: bytes,
        content_type: bytes = JSON,
        headers: Sequence[Header] = (),
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers


__all__ = [
    "HTML",
    "JSON",
    "PROBLEM_JSON",
    "Call",
    "Header",
    "RawHeaders",
    "Reply",
    "header",
    "header_values",
]
