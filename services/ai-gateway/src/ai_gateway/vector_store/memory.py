"""A vector store in memory, for tests: the port's promises by brute force."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from ai_gateway.vector_store.port import (
    PARTITIONS_ADDED,
    Change,
    Hit,
    Upsert,
    User,
    UserKey,
    point_id,
)
from ai_gateway.vectors import Query, SparseVector
from meshkit.events.log import Position
from meshkit.tenancy.identity import TenantContext


@dataclass(frozen=True, slots=True)
class _Stored:
    tenant_uid: str
    revision: Position
    upsert: Upsert | None


class MemoryVectorStore:
    """All points in a dictionary; a deleted one stays as a marker."""

    def __init__(self) -> None:
        self._points: dict[UUID, _Stored] = {}
        self._partitions = 0
        self.keeps_markers_for: str | None = None
        """Why markers are kept from now on; None while nobody has asked for it."""

    @property
    def collection_id(self) -> str:
        """The identity of the stored points."""
        return "memory"

    async def check(self) -> str | None:
        """Return None: it is always there."""
        return None

    async def apply(self, changes: Sequence[Change]) -> None:
        """Apply changes."""
        for change in changes:
            user_id = change.user.user_id if isinstance(change, Upsert) else change.user_id
            point = point_id(change.tenant, user_id)
            known = self._points.get(point)
            if known is None or change.revision.is_after(known.revision):
                upsert = change if isinstance(change, Upsert) else None
                self._points[point] = _Stored(change.tenant.tenant_uid, change.revision, upsert)

    async def flush(self) -> None:
        """Nothing to wait for."""

    async def keep_markers(self, reason: str) -> None:
        """Note that markers are kept; they always are."""
        self.keeps_markers_for = self.keeps_markers_for or reason

    async def note_partitions(self, partitions: int) -> None:
        """Keep markers where there are more partitions than at first."""
        self._partitions = self._partitions or partitions
        if partitions > self._partitions:
            await self.keep_markers(PARTITIONS_ADDED)

    async def search(self, tenant: TenantContext, query: Query, limit: int) -> Sequence[Hit]:
        """Return the tenant's users nearest in either space."""
        users = self._users(tenant)
        dense = {u.user.user_id: float(u.dense @ query.dense) for u in users}
        lexical = {
            u.user.user_id: score for u in users if (score := _dot(u.lexical, query.lexical)) > 0
        }
        best_dense = set(sorted(dense, key=lambda name: -dense[name])[:limit])
        best_lexical = set(sorted(lexical, key=lambda name: -lexical[name])[:limit])
        return [
            Hit(
                u.user,
                float(np.clip(dense[name], 0, 1)) if name in best_dense else None,
                min(1.0, lexical[name]) if name in best_lexical else None,
            )
            for u in users
            if (name := u.user.user_id) in best_dense | best_lexical
        ]

    async def get(self, tenant: TenantContext, user_id: str) -> User | None:
        """Return one user of the tenant, or None."""
        stored = self._points.get(point_id(tenant, user_id))
        return stored.upsert.user if stored is not None and stored.upsert is not None else None

    async def revisions(self, users: Sequence[UserKey]) -> Sequence[Position | None]:
        """Return the stored revision of each user."""
        stored = [self._points.get(point_id(*user)) for user in users]
        return [None if point is None else point.revision for point in stored]

    async def count(self, tenant: TenantContext) -> int:
        """Return how many users of the tenant are stored."""
        return len(self._users(tenant))

    async def footprint(self, tenant: TenantContext) -> int:
        """Return how many points and markers the tenant has."""
        return sum(one.tenant_uid == tenant.tenant_uid for one in self._points.values())

    async def delete_tenant(self, tenant: TenantContext) -> None:
        """Remove every point and marker of the tenant."""
        self._points = {
            point: stored
            for point, stored in self._points.items()
            if stored.tenant_uid != tenant.tenant_uid
        }

    async def close(self) -> None:
        """Nothing to release."""

    def _users(self, tenant: TenantContext) -> list[Upsert]:
        return [
            stored.upsert
            for stored in self._points.values()
            if stored.tenant_uid == tenant.tenant_uid and stored.upsert is not None
        ]


def _dot(one: SparseVector, other: SparseVector) -> float:
    _, mine, theirs = np.intersect1d(one.indices, other.indices, return_indices=True)
    return float(one.values[mine] @ other.values[theirs])
