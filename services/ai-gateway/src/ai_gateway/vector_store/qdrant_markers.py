"""Reading the deletion markers of a collection in a Qdrant server, to move them into another."""

from collections.abc import AsyncIterator, Sequence

import msgspec
import orjson
import structlog

from ai_gateway.vector_store.port import Delete
from ai_gateway.vector_store.qdrant_http import QdrantHttp
from meshkit.events.log import Position
from meshkit.tenancy.identity import TenantContext, TenantId

log = structlog.get_logger()

_PAGE = 1024


class _Revision(msgspec.Struct):
    partition: int
    offset: int
    at: int


class _Payload(msgspec.Struct, rename="camel"):
    tenant_id: str
    tenant_uid: str
    user_id: str
    revision: _Revision


class _Point(msgspec.Struct):
    payload: msgspec.Raw


class _Page(msgspec.Struct):
    points: list[_Point]
    next_page_offset: msgspec.Raw = msgspec.Raw(b"null")


class _Scrolled(msgspec.Struct):
    result: _Page


_decode = msgspec.json.Decoder(_Scrolled).decode
_decode_payload = msgspec.json.Decoder(_Payload).decode


async def markers(
    http: QdrantHttp, collection: str, since_ms: int
) -> AsyncIterator[Sequence[Delete]]:
    """Yield the deletions, page by page, whose markers a collection has got since a time.

    What is made meanwhile comes or does not. Raises StoreUnavailable, StoreRefused.
    """
    made = {"key": "deletedAt", "range": {"gte": since_ms}}
    body = {
        "filter": {"must": [made]},
        "limit": _PAGE,
        "with_payload": ["tenantId", "tenantUid", "userId", "revision"],
        "with_vector": False,
    }
    while True:
        path = f"/collections/{collection}/points/scroll"
        page = _decode(await http.read(path, orjson.dumps(body))).result
        found = [deletion for point in page.points if (deletion := _deletion(point)) is not None]
        if len(found) < len(page.points):
            # Not ours, or damaged: no reason to leave all others behind.
            unread = len(page.points) - len(found)
            log.warning("markers_not_read", collection=collection, markers=unread)
        yield found
        if bytes(page.next_page_offset) == b"null":
            return
        body["offset"] = orjson.Fragment(bytes(page.next_page_offset))


def _deletion(point: _Point) -> Delete | None:
    try:
        payload = _decode_payload(point.payload)
        tenant = TenantContext(TenantId(payload.tenant_id), payload.tenant_uid)
    except ValueError:
        return None
    revision = payload.revision
    return Delete(
        tenant, payload.user_id, Position(revision.partition, revision.offset, revision.at)
    )
