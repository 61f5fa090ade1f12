"""The embedded vector store: Qdrant's engine in a child process that is kept alive.

A child that dies is started again; what it had acknowledged is in its files. Reads wait a moment
for the new one, so that a restart is a pause and not an error. Hits are checked against the tenant
once more here, on the way out: a foreign one is dropped, logged and counted, and never served.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import msgspec
import structlog
from msgspec.structs import astuple

from ai_gateway.vector_store import wire
from ai_gateway.vector_store.checks import belongs
from ai_gateway.vector_store.edge_child import EngineChild
from ai_gateway.vector_store.port import (
    Change,
    Hit,
    StoreMismatch,
    StoreUnavailable,
    Upsert,
    User,
    UserKey,
    point_id,
)
from ai_gateway.vectors import Query
from meshkit.clock import unix_ms
from meshkit.events.log import Position
from meshkit.tasks import end
from meshkit.tenancy.identity import TenantContext

log = structlog.get_logger()

_BACKOFF_LEAST, _BACKOFF_MOST = 0.05, 2.0
_READ_PATIENCE_SECONDS = 3.0
_MARKER_RETENTION_MS = 24 * 3600 * 1000
_SWEEP_EVERY_SECONDS = 3600.0


class EdgeVectorStore:
    """A VectorStore in a folder. Made by `open`, ended by `close`."""

    def __init__(self, folder: Path, arguments: tuple[str, ...]) -> None:
        self._folder = folder
        self._arguments = arguments
        self._child: EngineChild | None = None
        self._collection_id = ""
        self._alive = asyncio.Event()
        self._died = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, folder: Path, *, embedder_name: str, dimension: int, log_id: str) -> Self:
        """Open or make the collection in `folder`. Raises StoreMismatch, StoreUnavailable."""
        store = cls(folder, (embedder_name, str(dimension), log_id))
        await store._start()
        store._tasks = [
            asyncio.create_task(store._keep_alive(), name="engine-keeper"),
            asyncio.create_task(store._sweep_now_and_then(), name="marker-sweep"),
        ]
        return store

    @property
    def collection_id(self) -> str:
        """The identity of the stored points."""
        return self._collection_id

    @property
    def engine_pid(self) -> int | None:
        """The process id of the living engine process."""
        return self._child.pid if self._child is not None and self._alive.is_set() else None

    async def check(self) -> str | None:
        """Return why the store cannot be used now, None while it can."""
        return None if self._alive.is_set() else "the engine process is starting"

    async def apply(self, changes: Sequence[Change]) -> None:
        """Apply changes. Raises StoreUnavailable."""
        if changes:
            messages = [_message(change) for change in changes]
            await self._living().call(wire.Apply(messages, unix_ms()))

    async def flush(self) -> None:
        """Return once everything applied is on the disk. Raises StoreUnavailable."""
        await self._living().call(wire.Flush())

    async def keep_markers(self, reason: str) -> None:
        """Nothing to do: the embedded log is compacted by key, whatever the partitions."""

    async def note_partitions(self, partitions: int) -> None:
        """Nothing to do, for the same reason."""

    async def search(self, tenant: TenantContext, query: Query, limit: int) -> Sequence[Hit]:
        """Return the tenant's users nearest in either space. Raises StoreUnavailable."""
        command = wire.Search(
            tenant.tenant_uid,
            query.dense.tobytes(),
            query.lexical.indices.tobytes(),
            query.lexical.values.tobytes(),
            limit,
        )
        found = msgspec.convert(await self._read(command), list[wire.Found])
        return [Hit(_user(one), one.dense, one.lexical) for one in found if belongs(one, tenant)]

    async def get(self, tenant: TenantContext, user_id: str) -> User | None:
        """Return one user of the tenant, or None. Raises StoreUnavailable."""
        command = wire.Get(tenant.tenant_uid, point_id(tenant, user_id).bytes)
        found = msgspec.convert(await self._read(command), wire.Found | None)
        return _user(found) if found is not None and belongs(found, tenant) else None

    async def revisions(self, users: Sequence[UserKey]) -> Sequence[Position | None]:
        """Return the stored revision of each user. Raises StoreUnavailable."""
        command = wire.Revisions([point_id(*user).bytes for user in users])
        stored: list[wire.Revision | None] = await self._read(command)
        return [None if revision is None else Position(*revision) for revision in stored]

    async def count(self, tenant: TenantContext) -> int:
        """Return how many users of the tenant are stored. Raises StoreUnavailable."""
        count: int = await self._read(wire.Count(tenant.tenant_uid))
        return count

    async def footprint(self, tenant: TenantContext) -> int:
        """Return how many points and markers the tenant has. Raises StoreUnavailable."""
        points: int = await self._read(wire.Footprint(tenant.tenant_uid))
        return points

    async def delete_tenant(self, tenant: TenantContext) -> None:
        """Remove every point and marker of the tenant. Raises StoreUnavailable."""
        await self._living().call(wire.DeleteTenant(tenant.tenant_uid))

    async def close(self) -> None:
        """Flush and release the store."""
        await end(*self._tasks)
        self._alive.clear()
        if self._child is not None:
            await self._child.stop()

    def _living(self) -> EngineChild:
        if self._child is None or not self._alive.is_set():
            raise StoreUnavailable("the engine process is starting")
        return self._child

    async def _read(self, command: wire.Command) -> Any:
        """Return the answer to a read; if the engine dies under it, that of the next engine."""
        try:
            async with asyncio.timeout(_READ_PATIENCE_SECONDS):
                while True:
                    await self._alive.wait()
                    try:
                        return await self._living().call(command)
                    except StoreUnavailable:
                        await asyncio.sleep(_BACKOFF_LEAST)
        except TimeoutError:
            raise StoreUnavailable("the engine process does not answer") from None

    async def _start(self) -> None:
        self._died.clear()
        self._child = await EngineChild.start(self._folder, self._arguments, self._on_death)
        if self._child.created and self._collection_id:
            log.error("collection_replaced", folder=str(self._folder), reason="files were broken")
        self._collection_id = self._child.collection_id
        self._alive.set()

    def _on_death(self) -> None:
        self._alive.clear()
        self._died.set()

    async def _keep_alive(self) -> None:
        while True:
            await self._died.wait()
            log.error("engine_died", folder=str(self._folder))
            backoff = _BACKOFF_LEAST
            while not self._alive.is_set():
                try:
                    await self._start()
                except (StoreUnavailable, StoreMismatch) as error:
                    log.error("engine_restart_failed", reason=str(error), retry_in_seconds=backoff)
                    await asyncio.sleep(backoff)
                    backoff = min(backoff * 2, _BACKOFF_MOST)
            log.info("engine_restarted", collection=self._collection_id)

    async def _sweep_now_and_then(self) -> None:
        while True:
            with suppress(StoreUnavailable):
                await self._living().call(wire.Sweep(unix_ms() - _MARKER_RETENTION_MS))
            await asyncio.sleep(_SWEEP_EVERY_SECONDS)


def _message(change: Change) -> wire.UpsertMessage | wire.DeleteMessage:
    tenant = change.tenant
    if isinstance(change, Upsert):
        user = change.user
        return wire.UpsertMessage(
            point_id(tenant, user.user_id).bytes,
            astuple(change.revision),
            tenant.tenant_id,
            tenant.tenant_uid,
            user.user_id,
            user.email,
            user.name,
            dict(user.attributes),
            change.dense.tobytes(),
            change.lexical.indices.tobytes(),
            change.lexical.values.tobytes(),
        )
    return wire.DeleteMessage(
        point_id(tenant, change.user_id).bytes,
        astuple(change.revision),
        tenant.tenant_id,
        tenant.tenant_uid,
        change.user_id,
    )


def _user(found: wire.Found) -> User:
    return User(found.user_id, found.email, found.name, found.attributes)
