"""The replicas as the operator sees them: who is live, and from which version on each obeys.

Policies that not every live replica obeys yet are kept in the order of their versions, so that an
acknowledgement looks only at those that it may have completed, not at ten thousand tenants. A Lease
that is told late, or listed before and taken in after, never takes the picture back.
"""

import heapq
from collections.abc import Sequence

from meshkit.clock import Clock, WallClock
from meshkit.kube.objects import Object
from meshkit.membership.lease import Member, Roster
from tenant_operator.observed import Kept, Objects, name_of


class Membership:
    """Live replicas and the tenants that wait for them. `clock` gives monotonic seconds."""

    def __init__(self, clock: Clock, wall_clock: WallClock) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._leases = Objects()
        self._roster = Roster()
        self._waiting: list[tuple[int, str]] = []
        self._live: Sequence[Member] = ()

    @property
    def live(self) -> Sequence[Member]:
        """The replicas whose Leases had not ended when last looked at, by name."""
        return self._live

    def live_by_now(self) -> Sequence[Member]:
        """Return the replicas whose Leases have not ended by now, by name; `look` is still to say
        whether that is news."""
        return self._roster.live(self._clock())

    def of(self, *services: str) -> Sequence[Member]:
        """Return the live replicas of some services."""
        return [member for member in self._live if member.service in services]

    def saw(self, lease: Object) -> None:
        """Take in a Lease as it was at its version; an older one than the known is no news."""
        if self._leases.saw(lease):
            self._roster.saw(lease, self._clock(), self._wall_clock())

    def removed(self, lease: Object) -> None:
        """Take in that a Lease was removed, as it was then."""
        if self._leases.removed(lease):
            self._roster.gone(name_of(lease))

    def listed(self, leases: Sequence[Kept], version: int) -> None:
        """Take in all Leases that there were at a version."""
        for name in self._leases.listed(leases, version):
            lease = self._leases.get(name)
            if lease is None:
                self._roster.gone(name)
            else:
                self._roster.saw(lease, self._clock(), self._wall_clock())

    def look(self) -> bool:
        """Look who is live now; return whether replicas came or went, stumble over a policy, or
        obey an older version than before: then it is another process under the same name."""
        before, applied = self._signature(), {one.name: one.applied_version for one in self._live}
        self._live = self.live_by_now()
        fell_back = any(one.applied_version < applied.get(one.name, 0) for one in self._live)
        return fell_back or self._signature() != before

    def next_end(self) -> float | None:
        """Return in how many seconds a Lease ends if it is not renewed."""
        return self._roster.next_end(self._clock())

    def ended(self, for_seconds: float) -> Sequence[str]:
        """Return the names of the Leases that nobody will renew any more."""
        return self._roster.ended(self._clock(), for_seconds)

    def wait_for(self, tenant: str, version: int) -> None:
        """Remember that a tenant waits for the replicas to obey its policy of this version."""
        heapq.heappush(self._waiting, (version, tenant))

    def acknowledged(self) -> Sequence[str]:
        """Return the tenants whose policies some replica may have come to obey since last asked;
        those that wait on are to say so again (`wait_for`)."""
        most = max((member.applied_version for member in self._live), default=0)
        ready = []
        while self._waiting and self._waiting[0][0] <= most:
            ready.append(heapq.heappop(self._waiting)[1])
        return ready

    def _signature(self) -> list[tuple[str, frozenset[str]]]:
        return [(member.name, member.not_applied) for member in self._live]
