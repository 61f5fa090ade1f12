"""Counting points in a Qdrant server, exactly.

By listing their ids, page by page: the collection's strict mode, which has the server refuse a
vector search that names no tenant, refuses its exact counts as well (Qdrant 1.18), and a count that
is not exact still has, for a while, what was just deleted.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from ai_gateway.vector_store import qdrant_wire as wire
from ai_gateway.vector_store.qdrant_http import QdrantHttp

# 400 kB of answer.
_PAGE = 10_000


async def count_points(http: QdrantHttp, collection: str, where: Mapping[str, Any]) -> int:
    """Return how many points of a collection pass a filter. What changes meanwhile is counted or
    not. Raises StoreUnavailable, StoreRefused."""
    total, start = 0, None
    while True:
        body = {"filter": where, "limit": _PAGE, "with_payload": False, "with_vector": False}
        if start is not None:
            body["offset"] = start
        answer = await http.read(f"/collections/{collection}/points/scroll", orjson.dumps(body))
        found, start = wire.page(answer)
        total += found
        if start is None:
            return total
