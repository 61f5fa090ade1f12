"""What the source tells of versions and of the server, on a server that does what it is told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from meshkit.kube.objects import KubeUnavailable, Object, Resource, WatchEvent
from meshkit.telemetry import metrics
from meshkit.tenancy.kubernetes import KubernetesTenantSource
from policy_objects import policy, weight
from waiting import eventually


class Server:
    """Lists nothing at version 10, then says what it is told to; away while `away`."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[WatchEvent | None] = asyncio.Queue()
        self.away = False
        self.attempts = 0

    def says(self, kind: str, version: int, document: Object | None = None) -> None:
        found = document or {"metadata": {}}
        found["metadata"]["resourceVersion"] = str(version)
        self.events.put_nowait(WatchEvent(kind, found))

    def goes_away(self) -> None:
        self.away = True
        self.events.put_nowait(None)

    async def list(self, _: Resource) -> tuple[list[Object], str]:
        return [], "10"

    async def watch(
        self, _: Resource, version: str, *, opened: Callable[[], None], labels: str
    ) -> AsyncIterator[WatchEvent]:
        self.attempts += 1
        if self.away:
            raise KubeUnavailable("nobody there")
        opened()
        while (event := await self.events.get()) is not None:
            yield event
        raise KubeUnavailable("it hung up")


class Told:
    """What a follower was told, and what was in force by then."""

    def __init__(self, server: Server, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.changed: list[frozenset[str]] = []
        self.source = KubernetesTenantSource(server, self.changed.append, clock)  # type: ignore[arg-type]
        self.versions: list[tuple[str, int | None, int]] = []
        self.source.follow(self.note)

    def note(self) -> None:
        in_force = weight(self.source, "tenant-a")
        self.versions.append((self.source.applied_version, in_force, len(self.changed)))


async def test_follower_is_told_of_a_version_once_its_policies_are_in_force() -> None:
    server = Server()
    told = Told(server)
    async with told.source:
        server.says("ADDED", 11, policy("tenant-a", 1))
        server.says("MODIFIED", 12, policy("tenant-a", 2))
        server.says("DELETED", 13, policy("tenant-a", 2))
        await eventually(lambda: len(told.versions) == 4)
    # Whoever reacts to changes has done so, too.
    assert told.versions == [("10", None, 0), ("11", 1, 1), ("12", 2, 2), ("13", None, 3)]


@pytest.mark.parametrize("changes", [{}, {"tenantId": "someone"}], ids=["unchanged", "unreadable"])
async def test_event_that_changes_nothing_is_told_too(changes: dict[str, Any]) -> None:
    server = Server()
    told = Told(server)
    async with told.source:
        server.says("ADDED", 11, policy("tenant-a", 1))
        server.says("MODIFIED", 12, policy("tenant-a", 1, **changes))
        await eventually(lambda: len(told.versions) == 3)
    assert told.versions[-1] == ("12", 1, 1)
    assert [problem.name for problem in told.source.problems()] == ["tenant-a"] * len(changes)
    assert metrics.TENANT_PROBLEMS._value.get() == len(changes)


async def test_bookmark_moves_the_version_and_nobody_is_told() -> None:
    server = Server()
    told = Told(server)
    async with told.source:
        server.says("BOOKMARK", 40)
        await eventually(lambda: told.source.applied_version == "40")
    assert [version for version, *_ in told.versions] == ["10"]


async def test_policies_stay_stale_until_the_server_has_agreed_to_be_watched() -> None:
    server, now = Server(), [100.0]
    told = Told(server, clock=lambda: now[0])
    async with told.source:
        await eventually(lambda: server.attempts == 1)
        now[0] = 130.0
        assert (told.source.staleness, told.source.freshness()) == (
            0.0,
            "watched, last heard 30 s ago",
        )
        server.goes_away()
        await eventually(lambda: server.attempts >= 3)
        assert told.source.staleness == 30.0
        assert told.source.freshness() == "last heard 30 s ago; not watched: nobody there"
        assert metrics.POLICIES_STALENESS.collect()
        server.away = False
        await eventually(lambda: told.source.staleness == 0.0)
        assert told.source.freshness() == "watched, last heard 0 s ago"
