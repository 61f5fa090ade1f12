"""Who else is a replica of the same service: its Leases, watched.

Lists once and watches from there. A Lease that is not renewed ends (`Roster`), but not while
nothing is heard from the API server: nobody can renew then, and that all are gone is not what
silence means. The same holds until each had the time to renew after the server is back. A replica
that may not read Leases says what it lacks, and is not ready: it cannot know whether it is alone.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Self

import structlog

from meshkit.clock import Clock, WallClock, monotonic, utc_now
from meshkit.kube.client import KubeClient
from meshkit.kube.objects import KubeRefused, Object, WatchEvent
from meshkit.kube.reflector import reflect
from meshkit.membership.lease import LEASES, MEMBER_LABEL, Member, Roster, parse_lease
from meshkit.tasks import end

log = structlog.get_logger()

OnMembers = Callable[[Mapping[str, str]], None]
"""Told the members by identity, with the address of each one's admin port."""

_LOOK_SECONDS = 1.0
_PERMISSIONS = "list and watch of leases in coordination.k8s.io"


class Fellows:
    """The live members of one member's service. An asynchronous context manager."""

    def __init__(
        self,
        client: KubeClient,
        member: Member,
        *,
        clock: Clock = monotonic,
        wall_clock: WallClock = utc_now,
    ) -> None:
        self._client = client
        self.member = member
        self._clock = clock
        self._wall_clock = wall_clock
        self._roster = Roster()
        self._members: dict[str, str] | None = None
        self._removed: set[str] = set()
        self._settled_at = 0.0
        self._trouble = "the Leases have not been listed yet"
        self._followers: list[OnMembers] = []
        self._tasks: list[asyncio.Task[None]] = []

    def follow(self, follower: OnMembers) -> None:
        """Call `follower` whenever the members are others."""
        self._followers.append(follower)

    async def check(self) -> str | None:
        """Return why the members are not known yet, None from the first list on."""
        return self._trouble if self._members is None else None

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._keep_up(), name="member-watch"),
            asyncio.create_task(self._keep_looking(), name="member-ends"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(*self._tasks)

    async def _keep_up(self) -> None:
        await reflect(
            self._client,
            LEASES,
            labels=MEMBER_LABEL,
            listed=self._list,
            heard=self._heard,
            opened=lambda: self._note(""),
            troubled=self._troubled,
        )

    async def _keep_looking(self) -> None:
        """Notice Leases that end."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self._look()

    async def _list(self) -> str:
        leases, version = await self._client.list(LEASES, labels=MEMBER_LABEL)
        now, wall = self._clock(), self._wall_clock()
        for lease in leases:
            self._roster.saw(lease, now, wall)
        names = {lease["metadata"]["name"] for lease in leases}
        self._roster.keep_only(names)
        first = self._members is None
        self._note("")
        if first:
            # Nobody was known before, so nobody has to be given time.
            self._settled_at = now
            self._members = {}
        self._removed = {name for name in self._members or {} if name not in _identities(leases)}
        self._look(first=first)
        return version

    def _heard(self, event: WatchEvent) -> None:
        lease = event.object
        if event.type in ("ADDED", "MODIFIED"):
            self._roster.saw(lease, self._clock(), self._wall_clock())
        elif event.type == "DELETED":
            self._roster.gone(lease["metadata"]["name"])
            self._removed |= _identities([lease])
        self._look()

    def _look(self, *, first: bool = False) -> None:
        """Tell the followers where the members are others than before."""
        if self._members is None:
            return
        now = self._clock()
        live = {
            one.identity: one.admin_url
            for one in self._roster.live(now)
            if one.service == self.member.service and one.admin_url
        }
        if self._trouble or now < self._settled_at:
            kept = {n: url for n, url in self._members.items() if n not in self._removed}
            live = kept | live
        self._removed -= live.keys()
        if live != self._members or first:
            self._members = live
            for follower in self._followers:
                follower(live)

    def _troubled(self, error: Exception) -> None:
        needed = {"needed": _PERMISSIONS} if isinstance(error, KubeRefused) else {}
        self._note(str(error) or type(error).__name__, **needed)

    def _note(self, trouble: str, **told: str) -> None:
        if trouble != self._trouble:
            if trouble:
                log.warning("members_not_watched", reason=trouble, **told)
            elif self._members is not None:
                # Whoever is there renews within this time.
                self._settled_at = self._clock() + self.member.lease_seconds
        self._trouble = trouble


def _identities(leases: Iterable[Object]) -> set[str]:
    """Return whose Leases these are."""
    members = (parse_lease(lease) for lease in leases)
    return {member.identity for member in members if member is not None}


__all__ = ["Fellows", "OnMembers"]
