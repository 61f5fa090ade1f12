"""Request bodies: bounded while they arrive, then decoded with the field's path in errors."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

import msgspec

from meshkit.errors import (
    BodyTooLarge,
    FieldProblem,
    InvalidRequest,
    MalformedBody,
    MeshError,
    UnsupportedMediaType,
)
from meshkit.web.call import RawHeaders, header

T = TypeVar("T")
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_AT_PATH = re.compile(r"^(?P<message>.*?)(?: - at `(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"contains unknown field `(?P<name>.*)`")
_MISSING = re.compile(r"missing required field `(?P<name>.*)`")


class ClientDisconnected(Exception):
    """The client went away before its body was whole: there is nobody to answer."""


def content_type(headers: RawHeaders, accepted: tuple[str, ...]) -> str:
    """Return the media type of the body, which has to be one of `accepted`.

    Raises UnsupportedMediaType.
    """
    media_type = (header(headers, b"content-type") or "").partition(";")[0].strip().lower()
    if media_type not in accepted:
        raise UnsupportedMediaType(f"Content-Type has to be {' or '.join(accepted)}")
    return media_type


async def read_body(receive: Receive, headers: RawHeaders, limit: int) -> bytes:
    """Return the whole body of at most `limit` bytes. Raises BodyTooLarge, ClientDisconnected."""
    declared = header(headers, b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge(f"the body has {declared} bytes, {limit} are allowed")
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False) and message["type"] == "http.request":
        _within(len(body), limit)
        return body
    chunks = [body]
    size = len(body)
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        _within(size, limit)
        if not message.get("more_body", False):
            return b"".join(chunks)
        message = await receive()
        chunk = message.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)


def _within(size: int, limit: int) -> None:
    if size > limit:
        raise BodyTooLarge(f"the body has more than the {limit} bytes allowed")


def decode_json(decode: Callable[[bytes], T], body: bytes) -> T:
    """Decode one JSON document. Raises MalformedBody, or InvalidRequest with the field's path."""
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise invalid_field(str(error)) from None
    except msgspec.DecodeError as error:
        raise MalformedBody(f"the body is not well-formed JSON: {error}") from None
    except RecursionError:
        raise MalformedBody("the body is nested too deeply") from None
    except UnicodeDecodeError:
        raise MalformedBody("the body is not UTF-8") from None


def invalid_field(message: str) -> MeshError:
    """Turn msgspec's message ("Expected `str`, got `int` - at `$.name`") into a refusal."""
    match = _AT_PATH.match(message)
    text, path = (match["message"], match["path"] or "$") if match else (message, "$")
    path = path.removeprefix("$").removeprefix(".")
    for pattern in (_UNKNOWN, _MISSING):
        if found := pattern.search(text):
            path = f"{path}.{found['name']}" if path else found["name"]
    return InvalidRequest(
        f"{path}: {text}" if path else text, fields=[FieldProblem(path or "body", text)]
    )


__all__ = [
    "ClientDisconnected",
    "Receive",
    "content_type",
    "decode_json",
    "invalid_field",
    "read_body",
]
