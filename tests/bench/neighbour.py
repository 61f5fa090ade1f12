"""TARGETS row 11 through HTTP, indexing and search: what a tenant that sends 10 and 100 times its
limit costs another one.

The real services, each a process, over a real Kafka and a Qdrant endpoint. The victim creates and
searches users well within its limits, at moments that do not depend on each other nor on anybody's
clock: how long until the 202, from then until a search returns the user, and how long a search
takes. The noisy one sends creates and searches from a process of its own (`bench.noise`), and the
rounds take turns with those without it.

Two more kinds of rounds say where a difference comes from. In one the neighbour sends just what its
limit allows, so that nothing is refused: that much work of others was agreed to. In the other it
sends a hundred times its limit to replicas of the services that the victim does not use: they share
two cores, the log and the store with it, and what is beyond that is what the services let happen.

What is measured has to be what is claimed, or this fails: the victim is never refused, the noisy
one gets its limit, no more and no less, and 429 for everything else.

The limit is so low that a hundred times of it can be sent, and refused, on two cores that also do
everything else.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from bench.engines import lacking
from bench.freshness import users
from bench.harness import Figure, Result, console, cpu_seconds, percentile, ratios, report
from bench.load import Connections, closed_loop, get, open_loop, poisson, post
from bench.noise import NICE, Told
from bench.noise import TENANT as NOISY
from builders import tenant_document
from engine_mesh import START_SECONDS, EngineMesh
from ledger import TENANTS
from mesh_process import healthy, write_tenant
from processes import Process, free_ports, installed
from qdrant_server import server_name

# A second, and at once, of creates and of searches alike.
LIMIT = 10
VICTIM = "victim"
VICTIM_RATE = 20.0
# Its limit; the burst is what it has at the start, in one batch.
_VICTIM_LIMIT, _VICTIM_USERS = 200, 1000
_WARM_SECONDS = 2.0
# After which a bucket is full again.
_REST_SECONDS = 1.5
_SERVICES = ("user-service", "ai-gateway", "indexer-0")

# What costs are told of: a tenant that nothing holds back, and one that has used up its limit.
FREE, SPENT = TENANTS[2], "spent"
_USER = b'{"name":"Alice Doe","email":"alice.doe@example.com","userId":"alice"}'
_ASKED = 4_000
_SEARCH = "/ai/users/search?query=alice&limit=5"


def limited(name: str, requests: int, burst: int, window: int = 1) -> dict[str, Any]:
    """The document of a tenant with these rate limits, and no quotas."""
    rates = [
        {"name": limit, "requests": requests, "windowSeconds": window, "burst": burst}
        for limit in ("users.write", "users.search")
    ]
    quotas = [{"name": quota, "unlimited": True} for quota in ("storedUsers", "eventsPerDay")]
    return tenant_document(name, rateLimits=rates, quotas=quotas)


def within_limit(admitted: int, rate: float, burst: int, least: float, most: float) -> bool:
    """Whether so many may have been admitted of one that always wanted more: within `most` seconds
    its rate and a burst at most, within `least` seconds its rate less a burst at least."""
    return rate * least - burst <= admitted <= rate * most + burst


@dataclass(frozen=True, slots=True)
class Round:
    """What a victim met within a round: 99th percentiles in seconds; and the CPU that each process
    took, in seconds for each second. `told` is of the noisy one, None where there was none."""

    accept: float
    fresh: float
    search: float
    cpu: Mapping[str, float]
    told: Told | None = None

    def __str__(self) -> str:
        times = f"{self.accept * 1e3:.1f}, {self.fresh * 1e3:.1f}, {self.search * 1e3:.1f} ms"
        shares = ", ".join(f"{name} {share:.0%}" for name, share in self.cpu.items())
        return f"victim's p99 of accept, fresh, search {times}; CPU {shares}"


class Victim:
    """A tenant within its limits."""

    def __init__(self, users_port: int, gateway_port: int) -> None:
        self._writes = Connections(users_port)
        self._reads = Connections(gateway_port)
        self._made = 0
        self._seeds = count()

    async def move_in(self) -> None:
        """Have users that searches find."""
        answer = await self._writes.request(post("/users:batch", users(0, _VICTIM_USERS), VICTIM))
        assert answer[:3] == b"202", answer
        position = json.loads(answer[3:])["results"][-1]["position"]
        path = f"/ai/users/search?query=person&limit=1&after={position}"
        while not json.loads((await self._reads.request(get(path, VICTIM)))[3:])["upToDate"]:
            pass

    async def live(self, seconds: float) -> tuple[list[tuple[float, float]], list[float]]:
        """Return how long each create took until its 202 and from then until it was found, and how
        long each search took."""
        creates, searches = (
            poisson(VICTIM_RATE, seconds, seed) for seed in (next(self._seeds), next(self._seeds))
        )
        return await asyncio.gather(
            open_loop(creates, self._create), open_loop(searches, self._search)
        )

    async def _create(self, _: int, due: float) -> tuple[float, float]:
        self._made += 1
        # The same users again and again, each time with another name.
        token, user_id = f"probe{self._made:06d}", f"p{self._made % _VICTIM_USERS}"
        body = json.dumps({"name": token, "email": f"{token}@example.com", "userId": user_id})
        answer = await self._writes.request(post("/users/create", body.encode(), VICTIM))
        accepted = time.perf_counter()
        assert answer[:3] == b"202", answer
        position = json.loads(answer[3:])["position"]
        path = f"/ai/users/search?query={token}&limit=1&after={position}"
        while True:
            answer = await self._reads.request(get(path, VICTIM))
            assert answer[:3] == b"200", answer
            found = json.loads(answer[3:])
            if found["upToDate"]:
                assert found["results"][0]["name"] == token, found
                return accepted - due, time.perf_counter() - accepted

    async def _search(self, number: int, due: float) -> float:
        path = f"/ai/users/search?query=person.{number}%40example.com&limit=5"
        answer = await self._reads.request(get(path, VICTIM))
        assert answer[:3] == b"200", answer
        assert json.loads(answer[3:])["results"], answer
        return time.perf_counter() - due


class Noise:
    """A noisy tenant at work; `told` once it has ended."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.pid = process.pid
        self.told: Told | None = None


@asynccontextmanager
async def noise(users_port: int, gateway_port: int, rate: float) -> AsyncIterator[Noise]:
    """Noise for as long as the block lasts."""
    pipe = asyncio.subprocess.PIPE
    words = ("-m", "bench.noise", str(users_port), str(gateway_port), str(rate))
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    made = Noise(process)
    try:
        yield made
    finally:
        process.stdin.close()
        last = await process.stdout.read()
        assert await process.wait() == 0, "the noise broke off"
    made.told = Told(**json.loads(last))


@asynccontextmanager
async def other_replicas(
    mesh: EngineMesh, folder: Path, http: aiohttp.ClientSession
) -> AsyncIterator[tuple[int, int]]:
    """One more of user-service and of ai-gateway; yields their ports."""
    users, gateway, *admins = free_ports(4)
    ports = {"MESH_USER_SERVICE_PORT": str(users), "MESH_AI_GATEWAY_PORT": str(gateway)}
    replicas = [
        Process(
            [installed(name)],
            mesh.services[name].environment | ports | {"MESH_ADMIN_PORT": str(admin)},
            folder / f"other-{name}.log",
        )
        for name, admin in zip(("user-service", "ai-gateway"), admins, strict=True)
    ]
    try:
        for replica in replicas:
            replica.spawn()
        async with asyncio.timeout(START_SECONDS):
            for port in (users, gateway):
                while not await healthy(http, f"http://127.0.0.1:{port}"):
                    await asyncio.sleep(0.05)
        yield users, gateway
    finally:
        for replica in replicas:
            replica.kill()


class Street:
    """Where the victim and the noisy one live."""

    def __init__(self, mesh: EngineMesh, others: tuple[int, int], seconds: float) -> None:
        self._mesh = mesh
        self._seconds = seconds
        self.ports = _port(mesh.users_url), _port(mesh.gateway_url)
        self._others = others
        self.victim = Victim(*self.ports)

    async def round(self, times: float, *, elsewhere: bool = False) -> Round:
        """Measure a round beside so many times the limit, at the victim's replicas or others."""
        await asyncio.sleep(_REST_SECONDS)
        if not times:
            return await self._measured(None)
        ports = self._others if elsewhere else self.ports
        async with noise(*ports, times * LIMIT) as made:
            measured = await self._measured(made)
        assert made.told is not None
        _fair(made.told)
        return replace(measured, told=made.told)

    async def _measured(self, made: Noise | None) -> Round:
        await self.victim.live(_WARM_SECONDS)
        mesh = self._mesh
        pids = {name: mesh.services[name].pid for name in _SERVICES}
        pids |= {"Kafka": mesh.broker.pid, "Qdrant endpoint": mesh.store.pid}
        if made is not None:
            pids["the noisy one"] = made.pid
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        began = time.perf_counter()
        creates, searches = await self.victim.live(self._seconds)
        seconds = time.perf_counter() - began
        cpu = {name: (cpu_seconds(pid) - before[name]) / seconds for name, pid in pids.items()}
        accepts, fresh = zip(*creates, strict=True)
        accept, found, search = (percentile(t, 0.99) for t in (accepts, fresh, searches))
        return Round(accept, found, search, cpu)


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def _fair(told: Told) -> None:
    """Assert that the noisy one got what is its due."""
    for answers, admitted in ((told.writes, "202"), (told.searches, "200")):
        assert set(answers) <= {admitted, "429"}, answers
        assert sum(answers.values()) == told.sent, answers
        count = answers[admitted]
        assert within_limit(count, LIMIT, LIMIT, told.seconds, told.answered), told


@dataclass(frozen=True, slots=True)
class Work:
    """A request to a service, again and again."""

    service: str
    port: int
    request: bytes
    status: bytes
    times: int

    async def cost(self, mesh: EngineMesh) -> float:
        """Return the CPU of the service for each, in µs."""
        pid = mesh.services[self.service].pid
        before = cpu_seconds(pid)
        await closed_loop(self.port, lambda: self.request, 16, self.times, self.status)
        return (cpu_seconds(pid) - before) / self.times * 1e6


def works(users_port: int, gateway_port: int, times: int) -> dict[str, tuple[Work, Work]]:
    """Return what is refused, and the same done."""

    def writing(tenant: str, status: bytes) -> Work:
        request = post("/users/create", _USER, tenant)
        return Work("user-service", users_port, request, status, times)

    def filling(tenant: str, status: bytes) -> Work:
        request = post("/users:batch", users(0, 1000), tenant)
        return Work("user-service", users_port, request, status, times // 20)

    def searching(tenant: str, status: bytes) -> Work:
        request = get(_SEARCH, tenant)
        return Work("ai-gateway", gateway_port, request, status, times // 4)

    return {
        "refusing a user against accepting it": (writing(SPENT, b"429"), writing(FREE, b"202")),
        "refusing a batch of 1,000 users against accepting it": (
            filling(SPENT, b"429"),
            filling(FREE, b"202"),
        ),
        "refusing a search against answering it": (
            searching(SPENT, b"429"),
            searching(FREE, b"200"),
        ),
    }


async def refusals(mesh: EngineMesh, ports: tuple[int, int], rounds: int) -> list[Result]:
    """Return what a refusal costs a service, against doing what was asked for."""
    results = []
    for what, (refused, done) in works(*ports, _ASKED).items():
        # The one token that there is.
        await Connections(refused.port).request(refused.request)
        costs, against = [], []
        for _ in range(rounds):
            costs.append(await refused.cost(mesh))
            against.append(await done.cost(mesh))
        ratio = ratios(costs, against)
        results.append(
            Result(
                "11",
                f"{what}, CPU of {refused.service}",
                "< 1",
                str(ratio),
                ratio.median < 1,
                f"{Figure.of(costs)} against {Figure.of(against)} µs",
            )
        )
    return results


ALONE, WITHIN, TEN, HUNDRED = "alone", "within", "10 times", "100 times"
ELSEWHERE = "100 times elsewhere"
# How many times its limit the noisy one sends, and whether to other replicas.
KINDS = {
    ALONE: (0, False),
    WITHIN: (1, False),
    TEN: (10, False),
    HUNDRED: (100, False),
    ELSEWHERE: (100, True),
}


async def measure(street: Street, rounds: int) -> list[Result]:
    """Run the rounds, in another order each time, and return the rows."""
    kinds = list(KINDS)
    seen: dict[str, list[Round]] = {kind: [] for kind in kinds}
    for number in range(rounds):
        start = number % len(kinds)
        for kind in kinds[start:] + kinds[:start]:
            times, elsewhere = KINDS[kind]
            one = await street.round(times, elsewhere=elsewhere)
            seen[kind].append(one)
            console.print(f"{kind}: {one}")
            if one.told is not None:
                console.print(f"  {one.told}")
    return rows(seen)


def rows(seen: Mapping[str, Sequence[Round]]) -> list[Result]:
    """Return the rows of some rounds by kind."""
    results, beside_elsewhere = [], []
    for name, what, context in (
        ("fresh", "from 202 to searchable", f"; {circumstances(seen)}"),
        ("accept", "until the 202", ""),
        ("search", "of a search", ""),
    ):
        p99 = {kind: [getattr(one, name) for one in rounds] for kind, rounds in seen.items()}
        ten, hundred, within = (ratios(p99[kind], p99[ALONE]) for kind in (TEN, HUNDRED, WITHIN))
        beside_elsewhere.append(ratios(p99[HUNDRED], p99[ELSEWHERE]))
        times = ", ".join(
            f"{kind} {Figure.of([one * 1e3 for one in series])}" for kind, series in p99.items()
        )
        results.append(
            Result(
                "11",
                f"through HTTP, a victim's p99 {what} beside a neighbour at 10 and 100 times its"
                " limit, against alone",
                "≤ 1.25",
                f"{ten} and {hundred}",
                max(ten.median, hundred.median) <= 1.25,
                f"with a neighbour within its limit {within}; ms: {times}{context}",
            )
        )
    results.append(
        Result(
            "11",
            "through HTTP, until searchable, until the 202, and a search: p99 at 100 times, against"
            " the same noise at replicas that the victim does not use",
            "≤ 1.25",
            ", ".join(str(ratio) for ratio in beside_elsewhere),
            max(ratio.median for ratio in beside_elsewhere) <= 1.25,
            "what is left shares the cores, the log and the store, and none of our processes",
        )
    )
    return results


def circumstances(seen: Mapping[str, Sequence[Round]]) -> str:
    """Return over what, what was sent, and who had the machine."""
    sent = [
        Figure.of([one.told.sent / one.told.seconds / LIMIT for one in seen[kind] if one.told])
        for kind in (TEN, HUNDRED)
    ]
    shares = [
        f"{name} {Figure.of([one.cpu[name] * 100 for one in seen[HUNDRED]])}"
        for name in seen[HUNDRED][0].cpu
    ]
    return (
        f"over Kafka and {server_name()}; its limit is {LIMIT} creates and {LIMIT} searches a"
        f" second, it sent {sent[0]} and {sent[1]} times that, on the same cores (nice {NICE});"
        f" % of a core at 100 times: {', '.join(shares)}"
    )


async def through_services(*, quick: bool) -> list[Result]:
    """Run everything and return the rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mesh = EngineMesh(folder, indexers=1)
        for document in (
            limited(VICTIM, _VICTIM_LIMIT, _VICTIM_USERS),
            limited(NOISY, LIMIT, LIMIT),
            limited(SPENT, 1, 1, window=86_400),
        ):
            write_tenant(folder / "tenants", document)
        try:
            async with aiohttp.ClientSession() as http:
                await mesh.start(http)
                async with other_replicas(mesh, folder, http) as others:
                    street = Street(mesh, others, 4.0 if quick else 15.0)
                    await street.victim.move_in()
                    # A 99th percentile of some 300 moves by a third from round to round.
                    results = await measure(street, 2 if quick else 9)
            results += await refusals(mesh, street.ports, 2 if quick else 5)
            await mesh.stop()
            return results
        finally:
            mesh.abandon()


def main(*, quick: bool = False) -> None:
    """Measure and report."""
    if lack := lacking():
        console.print(f"neighbour is left out: {lack}")
        return
    report(uvloop.run(through_services(quick=quick)))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
