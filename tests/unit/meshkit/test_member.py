"""A member beside a server that hangs, refuses or goes away."""

import asyncio
from collections.abc import Callable, Sequence

from meshkit.kube.objects import KubeRefused, Object, Resource
from meshkit.membership.lease import Member, parse_lease
from meshkit.membership.member import Membership
from meshkit.tenancy.source import TenantProblem
from waiting import eventually

MEMBER = Member("user-service", "users-1", lease_seconds=3)


class Source:
    """Policies whose version the test moves."""

    def __init__(self, version: int = 10) -> None:
        self.applied_version = str(version)
        self.unread: list[str] = []
        self._followers: list[Callable[[], None]] = []

    def problems(self) -> Sequence[TenantProblem]:
        return [TenantProblem("kubernetes", name, "spec", "odd") for name in self.unread]

    def follow(self, follower: Callable[[], None]) -> None:
        self._followers.append(follower)

    async def loaded(self) -> None:
        """Everything is there."""

    def hears(self, version: int) -> None:
        self.applied_version = str(version)
        for follower in self._followers:
            follower()


class Leases:
    """The one Lease as the server has it; writes wait while the door is shut."""

    def __init__(self) -> None:
        self.written: list[Member | None] = []
        self.there = False
        self.begun = 0
        self.error: Exception | None = None
        self.door = asyncio.Event()
        self.door.set()

    async def apply(self, _: Resource, document: Object, *, manager: str) -> None:
        self.begun += 1
        await self.door.wait()
        if self.error is not None:
            raise self.error
        self.written.append(parse_lease(document))
        self.there = True

    async def delete(self, _: Resource, name: str) -> None:
        assert name == MEMBER.name
        self.there = False

    def last(self) -> int:
        member = self.written[-1] if self.written else None
        return member.applied_version if member is not None else -1


def member(leases: Leases, source: Source) -> Membership:
    return Membership(leases, source, MEMBER)  # type: ignore[arg-type]


async def test_first_write_says_what_was_listed() -> None:
    leases, source = Leases(), Source(10)
    source.unread = ["odd"]
    async with member(leases, source):
        await eventually(lambda: leases.last() == 10)
    assert leases.written[0] is not None
    assert leases.written[0].not_applied == {"odd"}


async def test_change_that_comes_while_one_is_written_is_written_after_it() -> None:
    leases, source = Leases(), Source(10)
    async with member(leases, source):
        await eventually(lambda: leases.last() == 10)
        leases.door.clear()
        source.hears(11)
        await eventually(lambda: leases.begun == 2)
        source.hears(12)
        leases.door.set()
        await eventually(lambda: leases.last() == 12)
    assert [m.applied_version for m in leases.written if m is not None] == [10, 11, 12]


async def test_bookmark_is_taken_along_by_the_next_renewal() -> None:
    leases, source = Leases(), Source(10)
    async with member(leases, source):
        await eventually(lambda: leases.last() == 10)
        source.applied_version = "50"
        await eventually(lambda: leases.last() == 50)
    assert leases.begun == 2


async def test_write_that_hangs_does_not_keep_the_next_ones_from_being_tried() -> None:
    leases, source = Leases(), Source(10)
    leases.door.clear()
    async with member(leases, source):
        await eventually(lambda: leases.begun == 2)
        leases.door.set()
        await eventually(lambda: leases.last() == 10)


async def test_lease_is_not_brought_back_by_a_write_that_was_under_way_at_the_end() -> None:
    leases, source = Leases(), Source(10)
    membership = member(leases, source)
    async with membership:
        await eventually(lambda: leases.last() == 10)
        leases.door.clear()
        source.hears(11)
        await eventually(lambda: leases.begun == 2)
        leaving = asyncio.create_task(membership.__aexit__())
        await asyncio.sleep(0)
        leases.door.set()
        await leaving
        assert (leases.last(), leases.there) == (11, False)


async def test_unforeseen_fault_does_not_end_the_membership() -> None:
    leases, source = Leases(), Source(10)
    leases.error = ValueError("odd answer")
    async with member(leases, source):
        await eventually(lambda: leases.begun >= 2)
        leases.error = KubeRefused(403, "forbidden")
        await eventually(lambda: leases.begun >= 4)
        leases.error = None
        source.hears(11)
        await eventually(lambda: leases.last() == 11)
