"""Seeded fault schedules for the operator on a real API server (after Sieve, OSDI 2022).

One seed makes one schedule: what people do (`operator_people`), twice. Undisturbed, the operator
has time after each step. Disturbed, meanwhile watch events are lost, doubled, delayed and told in
another order, lists are as they were some time ago, writes are slow or fail before or after they
took effect, and the operator is killed and started again. At each rest faults stop and what was
late arrives; then the operator lists everything once, as it does now and then. After that both runs
must look the same: policies, conditions (status and reason), replicas, finalizers, whose data was
erased, and nothing of Tenants that are gone. Listing once more must make it write nothing.

Two things legitimately depend on history, and nobody else's state does. A Tenant that is not
accepted keeps its last good policy: which one that is depends on whether a good spec in between was
seen before it broke. So it is compared with all that a late operator could have met since the last
rest (`World.may_keep`), and what follows from it in the status is left out. And a Tenant that is
being erased is judged no more: its uid, its state and its progress are compared, not what was last
said of it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from kube_api import KubeApi
from meshkit.kube.client import KubeClient
from meshkit.kube.objects import KubeRefused, KubeUnavailable
from operator_people import REST, People, Step
from operator_rig import own_namespaces, running_operator
from operator_verdict import WatchedErasers, differences
from operator_weather import FaultyCluster, FaultyWatch, Weather
from operator_world import World
from tenant_operator import deletion
from tenant_operator import operator as operating
from tenant_operator.following import Told
from tenant_operator.operator import TenantOperator

STEPS = 12
SETTLE_SECONDS = 15.0
_RUNNING_AT_ONCE = 4
_NAMESPACES_AT_ONCE = 24


@dataclass(slots=True)
class Run:
    """An operator at work in a world; `restart` is a crash."""

    world: World
    weather: Weather
    erasers: WatchedErasers
    cluster: FaultyCluster
    stack: AsyncExitStack
    operator: TenantOperator | None = None
    watches: FaultyWatch | None = None

    @classmethod
    @asynccontextmanager
    async def of(cls, api: KubeApi, namespace: str, seed: int, calm: bool) -> AsyncIterator["Run"]:
        """A run in a namespace of its own."""
        async with KubeClient(api.connection(namespace)) as client:
            world, weather = World(client), Weather(seed)
            weather.calm = calm
            cluster = FaultyCluster(client, weather)
            run = cls(world, weather, WatchedErasers(world), cluster, AsyncExitStack())
            try:
                await run.restart()
                yield run
            finally:
                await run.stack.aclose()

    async def restart(self) -> None:
        """Kill the operator where it stands, and start another one that knows nothing."""
        await self.stack.aclose()

        def through(told: Told) -> Told:
            self.watches = FaultyWatch(told, self.weather)
            return self.watches

        while True:
            with suppress(KubeUnavailable):
                running = running_operator(
                    self.world.client,
                    cluster=self.cluster,
                    erasers=self.erasers,
                    through=through,
                    settle_seconds=0.01,
                    verify_again_seconds=0.01,
                    members_settle_seconds=0.01,
                )
                self.operator = await self.stack.enter_async_context(running)
                return

    async def resync(self) -> None:
        """List everything now."""
        assert self.operator is not None
        with suppress(KubeUnavailable):
            await self.operator.resync()

    async def idle(self) -> None:
        """Wait until the operator has nothing to do."""
        assert self.operator is not None
        async with asyncio.timeout(SETTLE_SECONDS):
            while not self.operator.queue.idle:
                await asyncio.sleep(0.002)

    async def seen(self) -> dict[str, Any]:
        """What there is to compare."""
        return await self.world.seen() | {"erased": self.erasers.erased}

    async def settle(self) -> dict[str, Any]:
        """Let the undisturbed operator come to its end; return what there is then."""
        before: dict[str, Any] = {}
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                while True:
                    await self.resync()
                    await self.idle()
                    await self.world.acknowledge()
                    now = await self.seen()
                    if now == before and not _under_way(now, self.world):
                        return now
                    before = now
                    await asyncio.sleep(0.03)
        except TimeoutError:
            raise AssertionError(f"the undisturbed run does not settle: {before}") from None

    async def rest(self, wanted: dict[str, Any]) -> list[str]:
        """End all faults, list everything once; return how what comes of it is not as wanted."""
        assert self.watches is not None
        self.weather.calm = True
        self.watches.let_through()
        await self.resync()
        wrong: list[str] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                while True:
                    await self.idle()
                    await self.world.acknowledge()
                    seen = await self.seen()
                    wrong = differences(wanted, seen, self.world)
                    if not wrong:
                        break
                    await asyncio.sleep(0.02)
        wrong += self.unsafe
        if not wrong:
            wrong += await self._writes_of_looking_again()
            self.world.rested(await self.seen())
        self.weather.calm = False
        self.cluster.forget()
        return wrong

    @property
    def unsafe(self) -> list[str]:
        """What happened that must not happen on the way either."""
        return self.erasers.robbed + self.cluster.wrong

    async def _writes_of_looking_again(self) -> list[str]:
        assert self.operator is not None
        before: dict[str, str] = {}
        while (now := await self.world.versions()) != before:
            before = now
            # Statuses follow replicas after a while.
            await asyncio.sleep(0.03)
            await self.idle()
        writes, was = self.cluster.writes, await self.seen()
        await self.resync()
        for name in self.operator.observed.tenants.names():
            self.operator.queue.add(name)
        await self.idle()
        after = await self.world.versions()
        changed = {key for key in before.keys() | after if before.get(key) != after.get(key)}
        wrong = [f"{key} was written by listing again" for key in sorted(changed)]
        if wrong:
            wrong.append(f"from {was} to {await self.seen()}")
        if not wrong and self.cluster.writes != writes:
            wrong.append("looking again wrote what was there")
        return wrong


def _under_way(seen: dict[str, Any], world: World) -> bool:
    """Whether something is going on that comes to an end by itself."""
    # Else every replica obeys sooner or later.
    for_ever = not world.replicas or not all(world.replicas.values())
    for key, one in seen.items():
        if key.startswith("tenant "):
            waits = for_ever and one["conditions"].get("Deleting", ("", ""))[1] == "Fencing"
            if not one["upToDate"] or (one["leaving"] and not waits):
                return True
    return False


async def diverges(api: KubeApi, namespaces: tuple[str, str], seed: int, steps: int) -> list[str]:
    """Run a schedule; return how the disturbed run went elsewhere, nothing where it did not."""
    async with (
        Run.of(api, namespaces[0], seed, calm=True) as calm,
        Run.of(api, namespaces[1], seed, calm=False) as run,
    ):
        for number, step in enumerate(People(seed).steps(steps)):
            if step.what == REST:
                wanted = await calm.settle()
                wrong = await run.rest(wanted)
                wrong += [f"undisturbed: {one}" for one in calm.unsafe]
                if wrong:
                    return [f"seed {seed}, step {number}: {one}" for one in wrong]
                continue
            await asyncio.gather(_undisturbed(calm, step), run.world.do(step))
            if run.weather.rng.random() < 0.15:
                await run.restart()
            if run.weather.rng.random() < 0.15:
                await run.resync()
    return []


async def _undisturbed(calm: Run, step: Step) -> None:
    await calm.world.do(step)
    await calm.resync()
    await calm.idle()


@contextmanager
def hurried() -> Iterator[None]:
    """Waits of the operator that are made for people and machines in hundredths of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operating, "_BACKOFF_LEAST", 0.01)
        patch.setattr(operating, "_BACKOFF_MOST", 0.05)
        for name in ("_LOOK_AGAIN_SECONDS", "_DRAIN_SECONDS", "_BACKOFF_MOST"):
            patch.setattr(deletion, name, 0.02)
        yield


async def run_schedules(
    api: KubeApi, seeds: Sequence[int], *, steps: int = STEPS, until_found: bool = False
) -> list[str]:
    """Run a schedule for each seed, some at once; return every divergence. `until_found` stops at
    the first."""
    left = list(seeds)
    namespaces: list[str] = []
    found: list[str] = []

    async def work() -> None:
        while left and not (until_found and found):
            if len(namespaces) < 2:
                namespaces.extend(own_namespaces(api, min(2 * len(left), _NAMESPACES_AT_ONCE)))
            seed, pair = left.pop(0), (namespaces.pop(), namespaces.pop())
            try:
                found.extend(await diverges(api, pair, seed, steps))
            except (KubeRefused, KubeUnavailable, TimeoutError, AssertionError) as error:
                found.append(f"seed {seed}: the schedule itself failed: {error!r}")

    with hurried():
        await asyncio.gather(*(work() for _ in range(_RUNNING_AT_ONCE)))
    return found
