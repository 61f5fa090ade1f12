"""The vector store in a Qdrant server.

Searches and changes go to the collection that was opened, whose id the indexer's progress belongs
to. A watch looks at the alias now and then: where it has moved this follows within seconds, and a
collection that is gone or not ours shows.
"""

import asyncio
from collections.abc import Sequence
from typing import Self

import orjson
import structlog
from msgspec.structs import replace

from ai_gateway.vector_store import qdrant_erasure
from ai_gateway.vector_store import qdrant_wire as wire
from ai_gateway.vector_store.checks import belongs, mismatch
from ai_gateway.vector_store.port import (
    PARTITIONS_ADDED,
    Change,
    Hit,
    StoreMismatch,
    StoreRefused,
    StoreUnavailable,
    User,
    UserKey,
    point_text,
)
from ai_gateway.vector_store.qdrant_counting import count_points
from ai_gateway.vector_store.qdrant_guard import older_than_all, older_than_each
from ai_gateway.vector_store.qdrant_http import QdrantHttp
from ai_gateway.vector_store.qdrant_layout import ALIAS, LAYOUT, Collection, QdrantLayout
from ai_gateway.vector_store.qdrant_markers import markers
from ai_gateway.vectors import Query
from meshkit.clock import unix_ms
from meshkit.events.log import Position
from meshkit.tasks import end
from meshkit.tenancy.identity import TenantContext

log = structlog.get_logger()

# 0.9 MB of a request: from 1 MiB on, aiohttp warns that sending it holds up the event loop.
CHUNK = 256
_WATCH_SECONDS = 2.0
_MARKER_RETENTION_MS = 24 * 3600 * 1000
_SWEEP_EVERY_SECONDS = 3600.0
# Not at once: an indexer that has just started notices within moments that markers are to be kept.
_FIRST_SWEEP_SECONDS = 60.0

Changes = Sequence[tuple[str, Change]]
"""Changes of different points, each with the id of its point."""


class QdrantVectorStore:
    """A VectorStore over a Qdrant server. Made by `open`, ended by `close`."""

    def __init__(
        self, url: str, api_key: str | None, alias: str, embedder: str, dimension: int
    ) -> None:
        self._url = url.rstrip("/")
        self._alias = alias
        self._embedder = embedder
        self._dimension = dimension
        self._log_id: str | None = None
        self._layout = QdrantLayout(self._url, api_key, alias)
        self._http = QdrantHttp(self._url, api_key)
        self._collection: Collection | None = None
        self._problem = "the collection has not been looked at yet"
        self._superseded: str | None = None
        self._kept_in: str | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        api_key: str | None = None,
        alias: str = ALIAS,
        embedder_name: str,
        dimension: int,
        log_id: str | None = None,
    ) -> Self:
        """Open the collection behind the alias. Raises StoreMismatch, StoreUnavailable.

        With `log_id` it is opened to be filled from that log, and made where there is none; without
        it only to be searched, and then it may come later.
        """
        store = cls(url, api_key, alias, embedder_name, dimension)
        store._log_id = log_id
        try:
            await store._look()
        except StoreUnavailable:
            if log_id is not None:
                await store._release()
                raise
        except BaseException:
            await store._release()
            raise
        store._tasks.append(asyncio.create_task(store._watch(), name="alias-watch"))
        if log_id is not None:
            store._tasks.append(asyncio.create_task(store._sweep(), name="marker-sweep"))
        return store

    @classmethod
    def of(
        cls, url: str, api_key: str | None, alias: str, collection: Collection
    ) -> "QdrantVectorStore":
        """Return a store that fills one collection, whatever the alias says."""
        meta = collection.meta
        store = cls(url, api_key, alias, meta.embedder, meta.dimension)
        store._log_id = meta.log_id
        store._collection = collection
        return store

    @property
    def collection_id(self) -> str:
        """The identity of the stored points, empty while there is no collection."""
        return self._collection.meta.collection_id if self._collection is not None else ""

    @property
    def log_id(self) -> str | None:
        """The log that it is filled from, None where it is only searched."""
        return self._log_id

    async def check(self) -> str | None:
        """Return why the collection cannot be used now, None while it can."""
        return self._problem if self._collection is None else None

    async def apply(self, changes: Sequence[Change]) -> None:
        """Apply changes. Raises StoreUnavailable, StoreRefused."""
        name = self._opened().name
        newest = list(wire.newest_by_point(changes).items())
        for start in range(0, len(newest), CHUNK):
            some = newest[start : start + CHUNK]
            await self._write(name, some, older_than_all(some))
            if held_up := await self._held_up(name, some):
                await self._write(name, held_up, older_than_each(held_up))

    async def _write(self, name: str, changes: Changes, guard: bytes) -> None:
        body = wire.apply_body(changes, unix_ms(), guard)
        await self._http.call("POST", f"/collections/{name}/points/batch?wait=true", body)

    async def _held_up(self, name: str, changes: Changes) -> Changes:
        """Return the changes that are newer than what is stored: the first guard held them up.

        A point that is not there has been written, since nothing holds up a new one, and was
        removed since, with its tenant: it must not come back.
        """
        body = orjson.dumps({"ids": [point for point, _ in changes], "with_payload": ["revision"]})
        stored = wire.revisions(await self._http.read(f"/collections/{name}/points", body))
        return [
            (point, change)
            for point, change in changes
            if (known := stored.get(point)) is not None and change.revision.is_after(known)
        ]

    async def flush(self) -> None:
        """Nothing to wait for: what was applied is in the server's write-ahead log."""

    async def keep_markers(self, reason: str) -> None:
        """Keep all deletion markers of the collection. Raises StoreUnavailable."""
        opened = self._opened()
        if not opened.meta.scattered:
            await self._change_meta(opened, scattered=True)
            log.warning("deletion_markers_kept", collection=opened.name, reason=reason)

    async def note_partitions(self, partitions: int) -> None:
        """Note how many partitions the log has. Raises StoreUnavailable."""
        opened = self._opened()
        if not opened.meta.partitions:
            await self._change_meta(opened, partitions=partitions)
        elif partitions > opened.meta.partitions:
            await self.keep_markers(PARTITIONS_ADDED)

    async def copy_markers(self, source: str, since_ms: int) -> int:
        """Apply the deletions whose markers another collection has got since a time; return how
        many. Raises StoreUnavailable."""
        copied = 0
        async for deletions in markers(self._http, source, since_ms):
            await self.apply(deletions)
            copied += len(deletions)
        return copied

    async def search(self, tenant: TenantContext, query: Query, limit: int) -> Sequence[Hit]:
        """Return the tenant's users nearest in either space. Raises StoreUnavailable."""
        body = wire.search_body(tenant, query, limit)
        answer = await self._read("points/query/batch", body)
        return wire.hits(answer, lambda payload: belongs(payload, tenant))

    async def get(self, tenant: TenantContext, user_id: str) -> User | None:
        """Return one user of the tenant, or None. Raises StoreUnavailable."""
        body = orjson.dumps({"ids": [point_text(tenant, user_id)], "with_payload": True})
        answer = await self._read("points", body)
        return wire.retrieved(answer, lambda payload: belongs(payload, tenant))

    async def revisions(self, users: Sequence[UserKey]) -> Sequence[Position | None]:
        """Return the stored revision of each user. Raises StoreUnavailable."""
        points = [point_text(*user) for user in users]
        body = orjson.dumps({"ids": points, "with_payload": ["revision"]})
        stored = wire.revisions(await self._read("points", body))
        return [stored.get(point) for point in points]

    async def count(self, tenant: TenantContext) -> int:
        """Return how many users of the tenant are stored. Raises StoreUnavailable."""
        living = wire.tenant_filter(tenant) | {"must_not": [wire.IS_MARKER]}
        return await count_points(self._http, self._opened().name, living)

    async def footprint(self, tenant: TenantContext) -> int:
        """Return how many points and markers the tenant has. Raises StoreUnavailable."""
        return await qdrant_erasure.footprint(self._http, self._layout, tenant)

    async def delete_tenant(self, tenant: TenantContext) -> None:
        """Remove every point and marker of the tenant. Raises StoreUnavailable."""
        await qdrant_erasure.delete_tenant(self._http, self._layout, tenant)

    async def close(self) -> None:
        """Release the connections."""
        await end(*self._tasks)
        await self._release()

    async def _release(self) -> None:
        await self._http.close()
        await self._layout.close()

    async def _change_meta(self, opened: Collection, **changes: bool | int) -> None:
        await self._layout.change_meta(opened.name, **changes)
        if self._collection is opened:
            self._collection = Collection(opened.name, replace(opened.meta, **changes))

    def _opened(self) -> Collection:
        if self._collection is None:
            raise StoreUnavailable(self._problem)
        return self._collection

    async def _read(self, what: str, body: bytes) -> bytes:
        return await self._http.read(f"/collections/{self._opened().name}/{what}", body)

    async def _look(self) -> None:
        """Find the collection behind the alias, and make it where that is ours to do."""
        try:
            found = await self._layout.current()
            if found is None and self._log_id is not None:
                found = await self._make()
            if found is not None:
                self._check(found)
        except (StoreUnavailable, StoreMismatch) as error:
            self._problem = str(error)
            raise
        if found is None:
            self._problem = "there is no collection yet; the indexer makes it"
        self._collection = found

    async def _make(self) -> Collection:
        assert self._log_id is not None  # noqa: S101 - only called where it is set
        numbers = await self._layout.numbers()
        number = max(numbers, default=1)
        made = await self._layout.create(number, self._embedder, self._dimension, self._log_id)
        await self._layout.point_alias_to(made.name)
        log.info("collection_made", collection=made.name)
        return made

    def _check(self, found: Collection) -> None:
        meta = found.meta
        wanted = (LAYOUT, self._embedder, self._dimension, self._log_id or meta.log_id)
        stored = (meta.layout, meta.embedder, meta.dimension, meta.log_id)
        if (reason := mismatch(found.name, stored, wanted)) is not None:
            raise StoreMismatch(reason)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            before = self.collection_id
            try:
                await self._look()
            except StoreMismatch as error:
                await self._keep_or_refuse(str(error))
            except StoreUnavailable:
                # Only away: what was opened still is what it was.
                continue
            if before and before != self.collection_id:
                log.info("collection_changed", was=before, now=self.collection_id)

    async def _keep_or_refuse(self, reason: str) -> None:
        """Go on with the opened collection where only the alias has moved, to another embedder's:
        this process is to be replaced by one that has it, and serves until then."""
        if self._collection is None:
            return
        try:
            self._check(await self._layout.read(self._collection.name))
        except StoreMismatch:
            self._collection = None
            log.error("collection_refused", reason=reason)
        except StoreUnavailable:
            return
        if self._superseded != reason:
            self._superseded = reason
            log.warning("collection_superseded", reason=reason)

    async def _sweep(self) -> None:
        await asyncio.sleep(_FIRST_SWEEP_SECONDS)
        while True:
            try:
                await self._remove_old_markers()
            except (StoreUnavailable, StoreMismatch, StoreRefused) as error:
                log.warning("markers_not_removed", reason=str(error))
            await asyncio.sleep(_SWEEP_EVERY_SECONDS)

    async def _remove_old_markers(self) -> None:
        """Remove deletion markers that no late event can need any more, unless they are kept."""
        # As the server has it now: another indexer may just have said that they are.
        opened = await self._layout.read(self._opened().name)
        if opened.meta.scattered:
            if self._kept_in != opened.name:
                self._kept_in = opened.name
                log.info("deletion_markers_not_removed", collection=opened.name)
            return
        old = {"key": "deletedAt", "range": {"lt": unix_ms() - _MARKER_RETENTION_MS}}
        path = f"/collections/{opened.name}/points/delete"
        await self._http.call("POST", path, orjson.dumps({"filter": {"must": [old]}}))
