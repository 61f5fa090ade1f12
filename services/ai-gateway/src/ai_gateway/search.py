"""Searching the users of one tenant: wait if asked to, embed, look in both spaces, fuse."""

from collections.abc import Sequence
from dataclasses import dataclass

from ai_gateway.embedding.vectorizer import Vectorizer
from ai_gateway.fusion import Ranked, fuse
from ai_gateway.vector_store.port import StoreUnavailable, User, VectorStore
from ai_gateway.written import WrittenWaiter
from meshkit.clock import Clock, monotonic
from meshkit.errors import SearchUnavailable
from meshkit.events.position import Written
from meshkit.telemetry import metrics
from meshkit.tenancy.identity import TenantContext

_RETRY_AFTER_SECONDS = 1.0
# Each space contributes more than is asked for, so that fusion has something to choose from.
_CANDIDATES_LEAST = 20


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """The users found, and whether the write asked for was searchable by then."""

    results: Sequence[Ranked]
    up_to_date: bool


class UserSearch:
    """Searches over one vector store."""

    def __init__(
        self,
        store: VectorStore,
        vectorizer: Vectorizer,
        *,
        after_timeout: float,
        clock: Clock = monotonic,
    ) -> None:
        self._store = store
        self._vectorizer = vectorizer
        self._written = WrittenWaiter(store)
        self._after_timeout = after_timeout
        self._clock = clock

    async def search(
        self, tenant: TenantContext, text: str, limit: int, after: Written | None
    ) -> SearchOutcome:
        """Return the tenant's users nearest to `text`. Raises SearchUnavailable."""
        started = self._clock()
        up_to_date = True
        if after is not None:
            up_to_date = await self._written.wait_for(tenant, after, self._after_timeout)
        query = await self._vectorizer.query(text)
        try:
            hits = await self._store.search(tenant, query, max(limit, _CANDIDATES_LEAST))
        except StoreUnavailable:
            raise _unavailable() from None
        results = fuse(
            hits,
            limit,
            noise_floor=self._vectorizer.noise_floor,
            dense_weight=self._vectorizer.fusion_weight,
        )
        metrics.SEARCH_SECONDS.observe(self._clock() - started)
        return SearchOutcome(results, up_to_date)

    async def user(self, tenant: TenantContext, user_id: str) -> User | None:
        """Return one user of the tenant, or None. Raises SearchUnavailable."""
        try:
            return await self._store.get(tenant, user_id)
        except StoreUnavailable:
            raise _unavailable() from None

    async def stored_users(self, tenant: TenantContext) -> int:
        """Return how many users of the tenant are searchable. Raises SearchUnavailable."""
        try:
            return await self._store.count(tenant)
        except StoreUnavailable:
            raise _unavailable() from None


def _unavailable() -> SearchUnavailable:
    return SearchUnavailable("the vector store does not answer", retry_after=_RETRY_AFTER_SECONDS)
