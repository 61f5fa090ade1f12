"""The port of the vector store: points of users, each bound to one tenant.

The tenant is the first argument of every call and the first member of every change; an adapter
builds the tenant filter itself from it and checks each hit again on the way out. Callers hand in
vectors and ids, never a filter, so none can be forgotten or overridden.

A point's id is a UUIDv5 of tenant uid and user id. Its `revision` is the position of the event that
it came from; `Position.is_after` says which of two is newer. An older revision never overwrites a
newer one, whatever the order and however often changes arrive; a deletion leaves a marker with its
revision, so that a late older upsert loses too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, NamedTuple, Protocol
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec

from ai_gateway.vectors import DenseVector, Query, SparseVector
from meshkit.errors import StartError
from meshkit.events.log import Position
from meshkit.tenancy.identity import TenantContext

DENSE = "dense"
LEXICAL = "lexical"
PARTITIONS_ADDED = "partitions were added to the topic"
REVISION_FIELDS = ("partition", "offset", "at")
"""The members of a stored `revision`: a Position, `at` in milliseconds since 1970."""

_POINT_NAMESPACE = uuid5(NAMESPACE_URL, "https://mesh.distributedai.io/points")
_POINT_NAMESPACE_BYTES = _POINT_NAMESPACE.bytes
_VARIANTS = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


def point_id(tenant: TenantContext, user_id: str) -> UUID:
    """Return the id of a user's point: the same for the same incarnation of a tenant and user."""
    return uuid5(_POINT_NAMESPACE, f"{tenant.tenant_uid}/{user_id}")


def point_text(tenant: TenantContext, user_id: str) -> str:
    """Return `str(point_id(…))` in a third of the time: it is made for every event (RFC 9562, 5.5:
    SHA-1 of namespace and name, version 5, variant 10)."""
    name = f"{tenant.tenant_uid}/{user_id}".encode()
    digest = sha1(_POINT_NAMESPACE_BYTES + name, usedforsecurity=False).hexdigest()
    head, variant = digest[:8], _VARIANTS[digest[16]]
    return f"{head}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


class User(msgspec.Struct, frozen=True, gc=False):
    """A user as stored and as found."""

    user_id: str
    email: str
    name: str
    attributes: Mapping[str, Any]


class Upsert(msgspec.Struct, frozen=True, gc=False):
    """Make the user's point this one, unless the store holds a newer revision."""

    tenant: TenantContext
    user: User
    revision: Position
    dense: DenseVector
    lexical: SparseVector


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Replace the user's point by a deletion marker, unless the store holds a newer revision."""

    tenant: TenantContext
    user_id: str
    revision: Position


Change = Upsert | Delete


class UserKey(NamedTuple):
    """One user of one tenant."""

    tenant: TenantContext
    user_id: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A user found, with the similarity in each space (None where that space did not rank it)."""

    user: User
    dense: float | None
    lexical: float | None


class StoreUnavailable(Exception):
    """The store cannot answer now; the same call may work later. Nothing is known to be wrong
    with the data or the request."""


class StoreRefused(Exception):
    """The store finds the request itself wrong: the same call would not work later either. The
    message says what it answered."""


class StoreMismatch(StartError):
    """The stored collection is not one that this process may use (other embedder, other layout,
    other log). The message says the way out."""


class VectorStore(Protocol):
    """Points of users in a dense and a lexical space."""

    @property
    def collection_id(self) -> str:
        """The identity of the stored data. Another one means that nothing applied before is
        there any more, so that everything has to be applied again."""

    async def check(self) -> str | None:
        """Return why the store cannot be used now, None while it can, for `/readyz`."""

    async def apply(self, changes: Sequence[Change]) -> None:
        """Apply changes in their order; once this returns they are searchable and survive the
        death of the store's process. One older than what is stored changes nothing.

        Raises StoreUnavailable; then any prefix of the changes may have been applied.
        """

    async def flush(self) -> None:
        """Return once everything applied so far would survive a crash of the machine."""

    async def keep_markers(self, reason: str) -> None:
        """Keep all deletion markers from now on, in this collection and in those that `mesh
        reindex` makes after it; `reason` is for the log. Durable on return.

        Without it a marker is removed after a day: an index that is made again finds the deletion
        in the log. Called where the log may have older records of a user than the deletion ends.
        A store that is never filled from such a log does nothing. Raises StoreUnavailable.
        """

    async def note_partitions(self, partitions: int) -> None:
        """Note how many partitions the log has. Where it has more by now than when this was noted
        first, markers are kept as by `keep_markers`. Raises StoreUnavailable."""

    async def search(self, tenant: TenantContext, query: Query, limit: int) -> Sequence[Hit]:
        """Return the tenant's users nearest in either space: up to `limit` from each, unordered.

        Raises StoreUnavailable.
        """

    async def get(self, tenant: TenantContext, user_id: str) -> User | None:
        """Return one user of the tenant, or None. Raises StoreUnavailable."""

    async def revisions(self, users: Sequence[UserKey]) -> Sequence[Position | None]:
        """Return the stored revision of each user, also of one that is deleted; None where
        nothing was ever stored of it. Raises StoreUnavailable."""

    async def count(self, tenant: TenantContext) -> int:
        """Return how many users of the tenant are stored. Raises StoreUnavailable."""

    async def footprint(self, tenant: TenantContext) -> int:
        """Return how many points hold anything of the tenant, deletion markers included, in any
        collection that the store can reach: what `delete_tenant` has to bring to 0.

        Raises StoreUnavailable.
        """

    async def delete_tenant(self, tenant: TenantContext) -> None:
        """Remove every point and marker of the tenant, from every collection that the store can
        reach. Raises StoreUnavailable."""

    async def close(self) -> None:
        """Flush and release the store."""


class Rebuild(Protocol):
    """The next collection of a store, while it is being filled."""

    @property
    def store(self) -> VectorStore:
        """The collection to fill."""

    @property
    def handover_seconds(self) -> float:
        """How long the processes in service take to notice the switch; 0 where there are none."""

    async def copy_markers(self) -> int:
        """Take over the deletion markers of the collection in use, and that it keeps them; return
        how many. The second time only those that were made since. Raises StoreUnavailable."""

    async def switch(self) -> str:
        """Let searches see the new collection; return what has happened, in a sentence.

        Raises StoreUnavailable.
        """

    async def drop_old(self) -> None:
        """Remove the collection that was switched from. Raises StoreUnavailable."""

    async def close(self) -> None:
        """Release the collection; it is kept as far as it is filled."""
