"""Objects of the Kubernetes API as JSON values, and what its refusals mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

_NOT_FOUND, _CONFLICT, _GONE, _TOO_MANY = 404, 409, 410, 429

Object = dict[str, Any]


class KubeUnavailable(Exception):
    """The API server does not answer, or cannot now."""


class KubeSilent(KubeUnavailable):
    """A watch brought nothing for so long that its connection may be dead."""


class KubeRefused(Exception):
    """The API server understood and said no; the message is its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class NotFound(KubeRefused):
    """There is no such object."""


class Conflict(KubeRefused):
    """The object is another one by now, or a field belongs to somebody else."""


class Expired(KubeRefused):
    """The server has forgotten what happened since this resource version: list anew."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object: `group` is empty for the core API."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """Return the path of the collection, or of one object."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}{scope}/{self.plural}" + (f"/{name}" if name else "")


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """Something that happened to an object; `type` is ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Object


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the objects of a list, and the version of the whole list, from which to watch."""

    objects: Sequence[Object]
    version: str


def refusal(status: int, content: bytes) -> Exception:
    """Return the error that an answer of the server amounts to."""
    try:
        message = str(msgspec.json.decode(content).get("message", ""))
    except (msgspec.DecodeError, AttributeError):
        message = content[:200].decode(errors="replace")
    message = message or f"status {status}"
    if status == _TOO_MANY or status >= 500:
        return KubeUnavailable(message)
    kinds = {_NOT_FOUND: NotFound, _CONFLICT: Conflict, _GONE: Expired}
    return kinds.get(status, KubeRefused)(status, message)


__all__ = [
    "Conflict",
    "Expired",
    "KubeRefused",
    "KubeSilent",
    "KubeUnavailable",
    "NotFound",
    "Object",
    "Page",
    "Resource",
    "WatchEvent",
    "refusal",
]
