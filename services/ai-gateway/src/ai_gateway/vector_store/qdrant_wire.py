"""The bodies of the hot requests to a Qdrant server, straight from numpy.

A point as the official client's models costs several times as much to build and write as this
(`tests/bench/upsert.py`); everything that is not hot goes through that client (`qdrant_layout`).

A deletion marker is a point without vectors. But where the point before it lies in a segment that
the optimizer has closed, an upsert keeps every named vector that it leaves out (Qdrant 1.18.3). So
the same request removes the vectors of all its points that are markers by then; until that is done,
and whatever vectors a marker has, no read takes one for a user.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson
from msgspec.structs import astuple

from ai_gateway.vector_store.port import (
    DENSE,
    LEXICAL,
    REVISION_FIELDS,
    Change,
    Hit,
    Upsert,
    User,
    point_text,
)
from ai_gateway.vectors import Query
from meshkit.events.log import Position
from meshkit.tenancy.identity import TenantContext

_PAYLOAD = ["tenantUid", "userId", "email", "name", "attributes", "deleted"]


IS_MARKER = {"key": "deletedAt", "range": {"gte": 0}}
"""The condition that a point is a deletion marker."""


class Found(msgspec.Struct):
    """What a hit carries. `tenant_uid` is that of the stored point, for the check."""

    id: str
    payload: "FoundPayload"
    score: float = 0.0


class FoundPayload(msgspec.Struct, rename="camel"):
    """The payload of a user's point; a deletion marker has neither e-mail nor name."""

    tenant_uid: str
    user_id: str
    email: str = ""
    name: str = ""
    attributes: dict[str, Any] = {}
    deleted: bool = False


class _Points(msgspec.Struct):
    points: list[Found]


class _Batches(msgspec.Struct):
    result: list[_Points]


class _Retrieved(msgspec.Struct):
    result: list[Found]


class _Nothing(msgspec.Struct):
    """A point of which nothing is looked at."""


class _Page(msgspec.Struct):
    points: list[_Nothing]
    next_page_offset: str | None = None


class _Scrolled(msgspec.Struct):
    result: _Page


class _Stored(msgspec.Struct):
    partition: int
    offset: int
    at: int


class _Revision(msgspec.Struct):
    revision: _Stored


class _Revised(msgspec.Struct):
    id: str
    payload: _Revision


class _Revisions(msgspec.Struct):
    result: list[_Revised]


_decode_batches = msgspec.json.Decoder(_Batches).decode
_decode_retrieved = msgspec.json.Decoder(_Retrieved).decode
_decode_revisions = msgspec.json.Decoder(_Revisions).decode
_decode_page = msgspec.json.Decoder(_Scrolled).decode


def tenant_filter(tenant: TenantContext, *more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the filter that every read and bulk write carries."""
    return {"must": [{"key": "tenantUid", "match": {"value": tenant.tenant_uid}}, *more]}


def newest_by_point(changes: Sequence[Change]) -> dict[str, Change]:
    """Fold several changes of a point: the highest revision stays, wherever it stands."""
    newest: dict[str, Change] = {}
    for change in changes:
        user_id = change.user.user_id if isinstance(change, Upsert) else change.user_id
        point = point_text(change.tenant, user_id)
        known = newest.get(point)
        if known is None or not known.revision.is_after(change.revision):
            newest[point] = change
    return newest


def apply_body(changes: Sequence[tuple[str, Change]], now_ms: int, guard: bytes) -> bytes:
    """Return the body of a batch that applies changes of different points. `guard` is the filter
    that a stored point has to pass to be overwritten (`qdrant_guard`)."""
    upsert = {
        "points": [_point(point, change, now_ms) for point, change in changes],
        "update_filter": orjson.Fragment(guard),
    }
    operations: list[dict[str, Any]] = [{"upsert": upsert}]
    deleted = [point for point, change in changes if not isinstance(change, Upsert)]
    if deleted:
        # By its field: whoever came back since is none. Also where the guard has refused, so that
        # a request that was cut off after its first half is completed when it is sent again.
        markers = {"must": [{"has_id": deleted}, IS_MARKER]}
        operations.append({"delete_vectors": {"filter": markers, "vector": [DENSE, LEXICAL]}})
    return orjson.dumps({"operations": operations}, option=orjson.OPT_SERIALIZE_NUMPY)


def search_body(tenant: TenantContext, query: Query, limit: int) -> bytes:
    """Return the body of a batch of two queries: the nearest in each space."""
    lexical = {"indices": query.lexical.indices, "values": query.lexical.values}
    common = {"filter": tenant_filter(tenant), "limit": limit, "with_payload": _PAYLOAD}
    searches = [
        {"query": query.dense, "using": DENSE, **common},
        {"query": lexical, "using": LEXICAL, **common},
    ]
    return orjson.dumps({"searches": searches}, option=orjson.OPT_SERIALIZE_NUMPY)


def hits(answer: bytes, belongs: Any) -> list[Hit]:
    """Return the users in the answer to `search_body` that `belongs` lets pass."""
    by_dense, by_lexical = _decode_batches(answer).result
    dense = {found.id: found for found in by_dense.points}
    lexical = {found.id: found for found in by_lexical.points}
    merged = []
    for point in dense | lexical:
        found = dense.get(point) or lexical[point]
        if belongs(found.payload) and not found.payload.deleted:
            merged.append(
                Hit(_user(found.payload), _score(dense.get(point)), _score(lexical.get(point)))
            )
    return merged


def retrieved(answer: bytes, belongs: Any) -> User | None:
    """Return the user in the answer to a retrieval of one point; a marker is nobody."""
    for found in _decode_retrieved(answer).result:
        if belongs(found.payload) and not found.payload.deleted:
            return _user(found.payload)
    return None


def revisions(answer: bytes) -> dict[str, Position]:
    """Return the revision by point in the answer to a retrieval of points."""
    return {
        one.id: Position(stored.partition, stored.offset, stored.at)
        for one in _decode_revisions(answer).result
        for stored in (one.payload.revision,)
    }


def page(answer: bytes) -> tuple[int, str | None]:
    """Return how many points a page of a scroll has, and where the next one begins."""
    found = _decode_page(answer).result
    return len(found.points), found.next_page_offset


def _point(point: str, change: Change, now_ms: int) -> dict[str, Any]:
    tenant = change.tenant
    payload: dict[str, Any] = {
        "tenantId": tenant.tenant_id,
        "tenantUid": tenant.tenant_uid,
        "revision": dict(zip(REVISION_FIELDS, astuple(change.revision), strict=True)),
    }
    if not isinstance(change, Upsert):
        payload |= {"userId": change.user_id, "deleted": True, "deletedAt": now_ms}
        return {"id": point, "vector": {}, "payload": payload}
    user = change.user
    payload["userId"] = user.user_id
    payload["email"] = user.email
    payload["name"] = user.name
    payload["attributes"] = dict(user.attributes)
    lexical = {"indices": change.lexical.indices, "values": change.lexical.values}
    vectors = {DENSE: change.dense, LEXICAL: lexical}
    return {"id": point, "vector": vectors, "payload": payload}


def _user(payload: FoundPayload) -> User:
    return User(payload.user_id, payload.email, payload.name, payload.attributes)


def _score(found: Found | None) -> float | None:
    return None if found is None else min(1.0, max(0.0, found.score))
