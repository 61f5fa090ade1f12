"""The indexer as a background task that is looked after.

It runs for as long as its block lasts and starts again after an unforeseen fault, from the last
committed offsets: an indexer that died silently would be an index that silently grows old.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import structlog

from ai_gateway.applying import Work
from ai_gateway.embedding.vectorizer import Vectorizer
from ai_gateway.indexer import Indexer
from ai_gateway.vector_store.port import VectorStore
from ai_gateway.weights import Weights
from meshkit.errors import LogUnavailable
from meshkit.events.log import EventLog
from meshkit.events.reading import ResolveTenant, ResolveUid
from meshkit.tasks import end
from meshkit.tenancy.identity import TenantContext, TenantId
from meshkit.tenancy.policy import TenantPolicy
from meshkit.tenancy.source import TenantSource
from meshkit.tenancy.terminating import TerminatingTenants

log = structlog.get_logger()

_RESTART_SECONDS = 1.0


class IndexingHealth:
    """Why the index is not being kept up, None while it is."""

    def __init__(self) -> None:
        self.indexer: Indexer | None = None
        self.counting_problem: Callable[[], str | None] = lambda: None
        self.fault: str | None = "the indexer has not started yet"

    async def check(self) -> str | None:
        """Return the problem, for `/readyz`."""
        return self.fault or (self.indexer.problem if self.indexer is not None else None)

    async def check_counting(self) -> str | None:
        """Return why stored users are not being counted, for `/readyz`."""
        return self.counting_problem()

    def busy_with(self, tenant_uid: str) -> bool:
        """Return whether an event of this tenant is on its way to the store. One that has just
        failed counts until the next indexer is there."""
        return self.indexer is not None and self.indexer.busy_with(tenant_uid)


def create_indexer(
    event_log: EventLog,
    store: VectorStore,
    vectorizer: Vectorizer,
    tenants: TenantSource,
    on_stored: Callable[[Sequence[Work]], None] = lambda _: None,
) -> Indexer:
    """Return an indexer that knows the tenants, their weights, and which are being deleted."""
    return Indexer(
        event_log,
        store,
        vectorizer,
        resolver(tenants),
        Weights(tenants),
        resolve_uid=uid_resolver(tenants),
        fenced=TerminatingTenants(tenants),
        on_stored=on_stored,
    )


def resolver(tenants: TenantSource) -> ResolveTenant:
    """Return what looks a tenant up by its id, for events that do not name its uid."""

    def resolve_tenant(tenant_id: TenantId) -> TenantContext | None:
        policy = tenants.get(tenant_id)
        return policy.context if policy is not None else None

    return resolve_tenant


def uid_resolver(tenants: TenantSource) -> ResolveUid:
    """Return a function that looks up a tenant by its uid, for tombstones that name nothing else.

    Suspended and terminating tenants are found too: the backlog and the fence decide about them.
    """
    policies: Mapping[str, TenantPolicy] = {}
    by_uid: dict[str, TenantContext] = {}

    def resolve_uid(tenant_uid: str) -> TenantContext | None:
        nonlocal policies, by_uid
        if (current := tenants.policies()) is not policies:
            policies = current
            by_uid = {policy.tenant_uid: policy.context for policy in current.values()}
        return by_uid.get(tenant_uid)

    return resolve_uid


@asynccontextmanager
async def indexing(
    make_indexer: Callable[[], Indexer], health: IndexingHealth | None = None
) -> AsyncIterator[IndexingHealth]:
    """Run an indexer in the background until the block ends, then let it commit."""
    health = health or IndexingHealth()
    task = asyncio.create_task(_run_for_ever(make_indexer, health), name="indexer")
    try:
        yield health
    finally:
        await end(task)


async def _run_for_ever(make_indexer: Callable[[], Indexer], health: IndexingHealth) -> None:
    while True:
        try:
            health.indexer = make_indexer()
            health.fault = None
            await health.indexer.run()
        except LogUnavailable as error:
            health.fault = error.detail
            log.warning("log_unavailable", reason=error.detail)
        except Exception as error:
            # A loop that must survive: whatever it was, reading on from the commit is safe.
            health.fault = f"indexer restarting after {type(error).__name__}"
            log.exception("indexer_failed", restart_in_seconds=_RESTART_SECONDS)
        await asyncio.sleep(_RESTART_SECONDS)
