"""A route of the mesh, said once.

The table of operations drives everything: routing, who may call, which rate limit is charged, how
the body is read, and the OpenAPI document. What is not in the table is not served, and what is
served is documented.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshkit.errors import MeshError
from meshkit.web.call import Call, Reply

Handler = Callable[[Call], Awaitable[Reply]]

BODY_LIMIT = 64 * 1024
"""Bytes of a request body, unless the operation says otherwise."""


@dataclass(frozen=True, slots=True)
class Body:
    """What a route reads: the content types it takes, how many bytes, and the decoder.

    `decode` gets content type and bytes, and raises MalformedBody or InvalidRequest. `type` is
    the msgspec type that documents it.
    """

    type: Any
    decode: Callable[[str, bytes], Any]
    examples: Mapping[str, Any]
    content_types: tuple[str, ...] = ("application/json",)
    limit: int = BODY_LIMIT


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query, path or header parameter, as OpenAPI describes it."""

    name: str
    place: str
    description: str
    schema: Mapping[str, Any]
    required: bool = False
    example: Any = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One route.

    `tenant_scoped` routes have a tenant before their handler runs; `limit` names the rate limit
    that a call takes one token from (`charge` False: the handler charges by item). `errors` are
    the refusals beyond those that every such route has.
    """

    method: str
    path: str
    name: str
    summary: str
    description: str
    tag: str
    handler: Handler
    status: int
    response: Any
    response_example: Any
    tenant_scoped: bool = True
    limit: str | None = None
    charge: bool = True
    body: Body | None = None
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[type[MeshError], ...] = ()
    response_content_type: str = "application/json"
    also: Mapping[int, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()


__all__ = ["BODY_LIMIT", "Body", "Handler", "Operation", "Parameter"]
