"""What ai-gateway reads and writes over HTTP about users."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

Score = Annotated[
    float, Meta(ge=0, le=1, description="How close the user is to the query; higher is closer.")
]


class FoundUser(msgspec.Struct, rename="camel", omit_defaults=True):
    """A user that a search found."""

    user_id: str
    email: str
    name: str
    score: Score
    attributes: dict[str, Any] = {}


class SearchResults(msgspec.Struct, rename="camel"):
    """The users of the tenant nearest to the query, the nearest first."""

    tenant_id: str
    query: str
    results: list[FoundUser]
    up_to_date: Annotated[
        bool, Meta(description="False where `after` was not searchable within the time it waited.")
    ]


class UserDetails(msgspec.Struct, rename="camel"):
    """A user as it is searchable now."""

    tenant_id: str
    user_id: str
    email: str
    name: str
    attributes: dict[str, Any]
