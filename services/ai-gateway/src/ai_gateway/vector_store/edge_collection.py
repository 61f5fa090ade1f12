"""One collection in the embedded engine: its layout, its filters, its revision guard.

Runs in the engine process only, one call at a time, which makes "look at the stored revision, then
write" atomic. Layout: a named vector `dense` (cosine) and a sparse one `lexical`; no global graph
(m = 0), one per large tenant (payload_m); `tenantUid` indexed as the tenant key, `deletedAt` for
sweeping, with no graph of its own because payload_m would build one for every indexed field.
No modifier on the sparse vector: inverse document frequencies would be counted over all tenants.
"""

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import qdrant_edge as engine

from ai_gateway.vector_store.port import DENSE, LEXICAL, REVISION_FIELDS
from ai_gateway.vector_store.wire import DeleteMessage, Found, Revision, UpsertMessage, is_newer

# A read that comes meanwhile waits for one chunk, 1 ms; smaller or larger, a point costs the same.
CHUNK = 16
_PAYLOAD = ["tenantUid", "userId", "email", "name", "attributes", "deleted"]

Message = UpsertMessage | DeleteMessage


class EdgeCollection:
    """The shard in one folder."""

    def __init__(self, shard: engine.EdgeShard) -> None:
        self._shard = shard

    @classmethod
    def create(cls, folder: Path, dimension: int) -> "EdgeCollection":
        """Make an empty collection in an empty folder."""
        shard = engine.EdgeShard.create(str(folder), _config(dimension))
        update = engine.UpdateOperation
        tenant_index = engine.KeywordIndexParams(is_tenant=True)
        shard.update(update.create_field_index("tenantUid", tenant_index))
        sweep_index = engine.IntegerIndexParams(lookup=False, range=True, enable_hnsw=False)
        shard.update(update.create_field_index("deletedAt", sweep_index))
        shard.flush()
        return cls(shard)

    @classmethod
    def load(cls, folder: Path) -> "EdgeCollection":
        """Open the collection in a folder; the engine replays its own log first."""
        return cls(engine.EdgeShard.load(str(folder)))

    def apply(self, changes: Sequence[Message], now_ms: int) -> Iterator[int]:
        """Apply changes by chunks; yields after each how many were newer than what was stored."""
        newest = _newest_by_point(changes)
        for start in range(0, len(newest), CHUNK):
            yield self._apply_chunk(newest[start : start + CHUNK], now_ms)

    def _apply_chunk(self, changes: Sequence[tuple[UUID, Message]], now_ms: int) -> int:
        stored = self._revisions([point for point, _ in changes])
        newer = [
            (point, change)
            for point, change in changes
            if (known := stored.get(point)) is None or is_newer(change.revision, known)
        ]
        markers = [point for point, change in newer if isinstance(change, DeleteMessage)]
        if existing := [point for point in markers if point in stored]:
            # In an optimised segment an upsert keeps the vectors that it leaves out. First, so that
            # whatever a crash cuts off here is found by no search, and is done when it comes again.
            self._shard.update(engine.UpdateOperation.delete_vectors([*existing], [DENSE, LEXICAL]))
        if newer:
            points = [_point(point, change, now_ms) for point, change in newer]
            self._shard.update(engine.UpdateOperation.upsert_points(points))
        return len(newer)

    def revisions(self, points: Sequence[bytes]) -> list[Revision | None]:
        """Return the stored revision of each point, None where there is none."""
        wanted = [UUID(bytes=point) for point in points]
        stored = self._revisions(wanted)
        return [stored.get(point) for point in wanted]

    def _revisions(self, points: list[UUID]) -> dict[UUID, Revision]:
        records = self._shard.retrieve([*points], ["revision"], False)
        return {_uuid(record.id): _revision(record.payload) for record in records}

    def search(
        self, tenant_uid: str, dense: bytes, indices: bytes, values: bytes, limit: int
    ) -> list[Found]:
        """Return the tenant's users nearest in either space, up to `limit` from each."""
        mine = _tenant_filter(tenant_uid)
        lexical = _sparse(indices, values)
        requests = [
            _nearest(_floats(dense), DENSE, mine, limit),
            _nearest(lexical, LEXICAL, mine, limit),
        ]
        by_dense, by_lexical = self._shard.query_batch(engine.QueryBatchRequest(requests))
        found: dict[UUID, Found] = {}
        for hit in _living(by_dense):
            found[_uuid(hit.id)] = _found(hit.payload, dense=_clipped(hit.score), lexical=None)
        for hit in _living(by_lexical):
            known = found.get(_uuid(hit.id))
            if known is None:
                found[_uuid(hit.id)] = _found(hit.payload, dense=None, lexical=_clipped(hit.score))
            else:
                known.lexical = _clipped(hit.score)
        return list(found.values())

    def get(self, tenant_uid: str, point: bytes) -> Found | None:
        """Return a user of the tenant; a deletion marker is nobody."""
        for record in self._shard.retrieve([UUID(bytes=point)], True, False):
            payload = record.payload or {}
            if payload.get("tenantUid") == tenant_uid and not payload.get("deleted"):
                return _found(payload, dense=None, lexical=None)
        return None

    def count(self, tenant_uid: str) -> int:
        """Return how many users the tenant has; markers have no vector and are not counted."""
        living = _tenant_filter(tenant_uid, engine.HasVectorCondition(DENSE))
        return self._shard.count(engine.CountRequest(filter=living, exact=True))

    def footprint(self, tenant_uid: str) -> int:
        """Return how many points the tenant has, markers included."""
        mine = _tenant_filter(tenant_uid)
        return self._shard.count(engine.CountRequest(filter=mine, exact=True))

    def delete_tenant(self, tenant_uid: str) -> None:
        """Remove all points and markers of the tenant."""
        mine = _tenant_filter(tenant_uid)
        self._shard.update(engine.UpdateOperation.delete_points_by_filter(mine))

    def sweep(self, before_ms: int) -> None:
        """Remove the deletion markers that are older."""
        old = engine.FieldCondition("deletedAt", range=engine.RangeFloat(lt=before_ms))
        self._shard.update(
            engine.UpdateOperation.delete_points_by_filter(engine.Filter(must=[old]))
        )

    def flush(self) -> None:
        """Return once everything applied is on the disk."""
        self._shard.flush()

    def close(self) -> None:
        """Flush and release the files."""
        self._shard.flush()
        self._shard.close()


def _config(dimension: int) -> engine.EdgeConfig:
    return engine.EdgeConfig(
        vectors={DENSE: engine.EdgeVectorParams(size=dimension, distance=engine.Distance.Cosine)},
        sparse_vectors={LEXICAL: engine.EdgeSparseVectorParams()},
        hnsw_config=engine.HnswIndexConfig(
            m=0, ef_construct=100, full_scan_threshold=10_000, payload_m=16
        ),
    )


def _tenant_filter(tenant_uid: str, *more: Any) -> engine.Filter:
    """Return the filter that every read and bulk write carries."""
    mine = engine.FieldCondition("tenantUid", match=engine.MatchValue(tenant_uid))
    return engine.Filter(must=[mine, *more])


def _nearest(vector: Any, space: str, mine: engine.Filter, limit: int) -> engine.QueryRequest:
    return engine.QueryRequest(
        query=engine.Query.Nearest(vector, using=space),
        filter=mine,
        limit=limit,
        with_payload=_PAYLOAD,
    )


def _newest_by_point(changes: Sequence[Message]) -> list[tuple[UUID, Message]]:
    """Fold several changes of a point: the highest revision stays, wherever it stands."""
    newest: dict[bytes, Message] = {}
    for change in changes:
        known = newest.get(change.point_id)
        if known is None or not is_newer(known.revision, change.revision):
            newest[change.point_id] = change
    return [(UUID(bytes=point), change) for point, change in newest.items()]


def _point(point: UUID, change: Message, now_ms: int) -> engine.Point:
    payload: dict[str, Any] = {
        "tenantId": change.tenant_id,
        "tenantUid": change.tenant_uid,
        "userId": change.user_id,
        "revision": dict(zip(REVISION_FIELDS, change.revision, strict=True)),
    }
    if isinstance(change, DeleteMessage):
        return engine.Point(point, {}, payload | {"deleted": True, "deletedAt": now_ms})
    payload |= {"email": change.email, "name": change.name, "attributes": change.attributes}
    vectors: dict[str, Any] = {
        DENSE: _floats(change.dense),
        LEXICAL: _sparse(change.indices, change.values),
    }
    return engine.Point(point, vectors, payload)


def _revision(payload: Any) -> Revision:
    partition, offset, at = (payload["revision"][field] for field in REVISION_FIELDS)
    return partition, offset, at


def _floats(raw: bytes) -> list[float]:
    # Any sequence will do for the engine; from this one it takes the numbers twice as fast.
    return cast(list[float], array("f", raw))


def _sparse(indices: bytes, values: bytes) -> engine.SparseVector:
    return engine.SparseVector(cast(list[int], array("I", indices)), _floats(values))


def _found(payload: Any, dense: float | None, lexical: float | None) -> Found:
    return Found(
        payload["tenantUid"],
        payload["userId"],
        payload["email"],
        payload["name"],
        payload["attributes"],
        dense,
        lexical,
    )


def _living(hits: Sequence[Any]) -> Iterator[Any]:
    """Yield the hits that are users; a deletion marker is nobody, whatever vectors it has."""
    return (hit for hit in hits if not hit.payload.get("deleted"))


def _clipped(score: float) -> float:
    return min(1.0, max(0.0, score))


def _uuid(point_id: Any) -> UUID:
    return point_id if isinstance(point_id, UUID) else UUID(str(point_id))
