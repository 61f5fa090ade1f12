"""The routes of ai-gateway about users: search them, look one up."""

from typing import Any

import msgspec

from ai_gateway import examples
from ai_gateway.schemas import FoundUser, SearchResults, UserDetails
from ai_gateway.search import UserSearch
from meshkit.errors import (
    FieldProblem,
    InvalidPosition,
    InvalidRequest,
    SearchUnavailable,
    UserNotFound,
)
from meshkit.events.position import PositionSealer
from meshkit.web.call import Call, Reply
from meshkit.web.operation import Operation, Parameter
from meshkit.web.query import whole_number
from meshkit.web.user_ids import USER_ID_PARAMETER, checked_user_id

SEARCH_LIMIT = "users.search"
QUERY_MOST = 512
RESULTS_MOST = 100
RESULTS_DEFAULT = 10

_encode = msgspec.json.Encoder().encode

_TENANT_PARAMETER = Parameter(
    "tenant_id",
    "query",
    "The tenant whose users are searched; has to agree with X-Tenant-Id where both are given.",
    {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"},
    example="tenant-a",
)


def user_operations(search: UserSearch, sealer: PositionSealer) -> tuple[Operation, ...]:
    """Return the routes that find users."""

    async def search_users(call: Call) -> Reply:
        text = _query_text(call)
        limit = whole_number(call.query, "limit", RESULTS_DEFAULT, 1, RESULTS_MOST)
        token = call.query.get("after")
        after = sealer.open(call.tenant, token) if token is not None else None
        outcome = await search.search(call.tenant, text, limit, after)
        found = [
            FoundUser(r.user.user_id, r.user.email, r.user.name, r.score, dict(r.user.attributes))
            for r in outcome.results
        ]
        body = SearchResults(call.tenant.tenant_id, text, found, outcome.up_to_date)
        return Reply(200, _encode(body))

    async def get_user(call: Call) -> Reply:
        user = await search.user(call.tenant, checked_user_id(call.path["userId"]))
        if user is None:
            raise UserNotFound("the tenant has no searchable user with this id")
        body = UserDetails(
            call.tenant.tenant_id, user.user_id, user.email, user.name, dict(user.attributes)
        )
        return Reply(200, _encode(body))

    return _table(search_users, get_user)


def _query_text(call: Call) -> str:
    text = call.query.get("query", "").strip()
    message = None
    if not text:
        message = "must be given: what to search for"
    elif len(text) > QUERY_MOST:
        message = f"must not be longer than {QUERY_MOST} characters"
    if message is not None:
        raise InvalidRequest(f"query {message}", fields=[FieldProblem("query", message)])
    return text


def _table(search_users: Any, get_user: Any) -> tuple[Operation, ...]:
    return (
        Operation(
            method="GET",
            path="/ai/users/search",
            name="searchUsers",
            summary="Search users",
            description="Finds users of the tenant by name, e-mail or attributes: with typos, in"
            " parts, in any order of words. With `after` it sees the write of that position.",
            tag="users",
            handler=search_users,
            status=200,
            response=SearchResults,
            response_example=examples.RESULTS,
            limit=SEARCH_LIMIT,
            parameters=(
                _TENANT_PARAMETER,
                Parameter(
                    "query",
                    "query",
                    "What to search for.",
                    {"type": "string", "minLength": 1, "maxLength": QUERY_MOST},
                    required=True,
                    example="alice",
                ),
                Parameter(
                    "limit",
                    "query",
                    "At most so many users.",
                    {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": RESULTS_MOST,
                        "default": RESULTS_DEFAULT,
                    },
                ),
                Parameter(
                    "after",
                    "query",
                    "The `position` of an accepted write that the search has to see; it waits for"
                    " it, and says `upToDate: false` where that took too long.",
                    {"type": "string"},
                ),
            ),
            errors=(InvalidRequest, InvalidPosition, SearchUnavailable),
        ),
        Operation(
            method="GET",
            path="/ai/users/{userId}",
            name="getUser",
            summary="Get a user",
            description="The user as searches see it now. A user with the id `search` is at"
            " `/ai/users/%73earch`.",
            tag="users",
            handler=get_user,
            status=200,
            response=UserDetails,
            response_example=examples.USER,
            limit=SEARCH_LIMIT,
            parameters=(
                USER_ID_PARAMETER,
                _TENANT_PARAMETER,
            ),
            errors=(InvalidRequest, UserNotFound, SearchUnavailable),
        ),
    )
