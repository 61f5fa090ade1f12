"""What user-service reads and writes over HTTP."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from meshkit.user_ids import USER_ID_MAX_LENGTH, USER_ID_PATTERN, USER_ID_RULE

NAME_MOST = 200
EMAIL_MOST = 254
BATCH_MOST = 1000

Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=NAME_MOST,
        description="The person's name in any script, without control or invisible format"
        " characters.",
        examples=["Alice Doe"],
    ),
]
Email = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=EMAIL_MOST,
        description="An e-mail address (RFC 5321, with RFC 6531 for other scripts).",
        examples=["alice@example.com"],
    ),
]
UserId = Annotated[
    str,
    Meta(
        description="Id of the user within the tenant, generated if absent. Percent-encode it in a"
        f" path. It has {USER_ID_RULE}.",
        extra_json_schema={
            "minLength": 1,
            "maxLength": USER_ID_MAX_LENGTH,
            "pattern": USER_ID_PATTERN,
        },
    ),
]
Attributes = Annotated[
    dict[str, Any],
    Meta(
        max_length=64,
        description="Anything else about the user: JSON of at most 64 members, 8 levels and"
        " 16 KiB. String values are searchable.",
    ),
]


class UserInput(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A user as a client describes it."""

    name: Name
    email: Email
    user_id: UserId | msgspec.UnsetType = msgspec.UNSET
    attributes: Attributes = {}


class UserAccepted(msgspec.Struct, rename="camel"):
    """The event is durable in the log; the user is searchable milliseconds later."""

    user_id: str
    tenant_id: str
    event_id: str
    status: str
    position: Annotated[str, Meta(description="Opaque place in the log, for `after` of a search.")]


class ItemAccepted(msgspec.Struct, rename="camel", tag_field="status", tag="accepted"):
    """One user of a batch whose event is durable."""

    index: int
    user_id: str
    event_id: str
    position: str


class ItemRejected(msgspec.Struct, rename="camel", tag_field="status", tag="rejected"):
    """One user of a batch that was refused, with its problem document."""

    index: int
    problem: dict[str, Any]


class BatchResult(msgspec.Struct, rename="camel"):
    """What became of each user of a batch, in the order of the request."""

    tenant_id: str
    accepted: int
    rejected: int
    results: list[ItemAccepted | ItemRejected]
