"""What parent and engine process say to each other: MessagePack in frames over a socket pair.

A frame is a length (4 bytes, big-endian) and a message. Vectors travel as raw float32 bytes, so
that neither side touches their numbers one by one before the engine does.
"""

import struct
from typing import Any

import msgspec

from meshkit.events.log import Position

LENGTH = struct.Struct(">I")

Revision = tuple[int, int, int]
"""A Position as it travels: partition, offset, time in milliseconds."""


class UpsertMessage(msgspec.Struct, array_like=True, tag="u"):
    """Make this the user's point, unless a newer revision is stored."""

    point_id: bytes
    revision: Revision
    tenant_id: str
    tenant_uid: str
    user_id: str
    email: str
    name: str
    attributes: dict[str, Any]
    dense: bytes
    indices: bytes
    values: bytes


class DeleteMessage(msgspec.Struct, array_like=True, tag="d"):
    """Put a deletion marker in the place of the user's point, unless a newer one is stored."""

    point_id: bytes
    revision: Revision
    tenant_id: str
    tenant_uid: str
    user_id: str


class Apply(msgspec.Struct, array_like=True, tag="apply"):
    """Apply changes; answered with how many were newer than what was stored."""

    changes: list[UpsertMessage | DeleteMessage]
    now_ms: int


class Search(msgspec.Struct, array_like=True, tag="search"):
    """Answered with a list of found users."""

    tenant_uid: str
    dense: bytes
    indices: bytes
    values: bytes
    limit: int


class Get(msgspec.Struct, array_like=True, tag="get"):
    """Answered with a found user or None."""

    tenant_uid: str
    point_id: bytes


class Revisions(msgspec.Struct, array_like=True, tag="revisions"):
    """Answered with the revision of each of the points, None for one that is not there."""

    point_ids: list[bytes]


class Count(msgspec.Struct, array_like=True, tag="count"):
    """Answered with the number of users of the tenant."""

    tenant_uid: str


class Footprint(msgspec.Struct, array_like=True, tag="footprint"):
    """Answered with the number of points and markers of the tenant, after what was asked before."""

    tenant_uid: str


class DeleteTenant(msgspec.Struct, array_like=True, tag="delete-tenant"):
    """Remove all points and markers of the tenant."""

    tenant_uid: str


class Flush(msgspec.Struct, array_like=True, tag="flush"):
    """Answered once everything applied is on the disk."""


class Sweep(msgspec.Struct, array_like=True, tag="sweep"):
    """Remove the deletion markers that are older than this."""

    before_ms: int


Command = Apply | Search | Get | Revisions | Count | Footprint | DeleteTenant | Flush | Sweep


class Request(msgspec.Struct, array_like=True):
    """A command and the number that its answer will carry."""

    number: int
    command: Command


class Found(msgspec.Struct, array_like=True):
    """A user that the engine found. `tenant_uid` is that of the stored point, for the check."""

    tenant_uid: str
    user_id: str
    email: str
    name: str
    attributes: dict[str, Any]
    dense: float | None
    lexical: float | None


class Answer(msgspec.Struct, array_like=True):
    """The answer to a request: a result, or an error's text."""

    number: int
    result: Any
    error: str | None


class Hello(msgspec.Struct, array_like=True):
    """The engine process's first message: it is ready, or why it cannot be."""

    collection_id: str
    created: bool
    problem: str | None


encode = msgspec.msgpack.Encoder().encode
decode_request = msgspec.msgpack.Decoder(Request).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
decode_hello = msgspec.msgpack.Decoder(Hello).decode


def is_newer(one: Revision, other: Revision) -> bool:
    """Return whether a revision is newer than another one."""
    return Position(*one).is_after(Position(*other))


def frame(message: Any) -> bytes:
    """Return a message as a frame."""
    body = encode(message)
    return LENGTH.pack(len(body)) + body
