"""How long replicas may take to obey a policy that was written: before its status says that some do
not, and before people are told. Pure: times come from the clock that is given."""

from meshkit.clock import Clock

SETTLE_SECONDS = 0.5
"""For so long the status waits: mostly every replica obeys by then, and one write says it all."""
OVERDUE_SECONDS = 30.0
"""After so long something is wrong with a replica, and people should notice."""


class Patience:
    """The policies written by this operator that not every replica obeys yet, by tenant."""

    def __init__(self, clock: Clock, settle_seconds: float, overdue_seconds: float) -> None:
        self._clock = clock
        self._settle_seconds = settle_seconds
        self._overdue_seconds = overdue_seconds
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def begin(self, tenant: str) -> None:
        """A policy was written."""
        self._since[tenant] = self._clock()
        self._told.discard(tenant)

    def end(self, tenant: str) -> float | None:
        """Every replica obeys, or nobody needs to any more; return how many seconds that took, None
        where nothing was waited for."""
        self._told.discard(tenant)
        since = self._since.pop(tenant, None)
        return self._clock() - since if since is not None else None

    def until_settled(self, tenant: str) -> float:
        """Return for how many seconds the status is to wait; 0 where it is not."""
        return max(0.0, self._left(tenant, self._settle_seconds))

    def until_overdue(self, tenant: str) -> float | None:
        """Return in how many seconds people are to be told, None where they are not to be, or were.

        0 says now, and that they were told from then on.
        """
        if tenant not in self._since or tenant in self._told:
            return None
        left = self._left(tenant, self._overdue_seconds)
        if left <= 0:
            self._told.add(tenant)
        return max(0.0, left)

    def _left(self, tenant: str, seconds: float) -> float:
        since = self._since.get(tenant)
        return 0.0 if since is None else since + seconds - self._clock()
