"""Replicas that share limits over a simulated network, and what they admitted, measured."""

import asyncio
import random
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from builders import make_context, make_limit
from meshkit.limits.exchange import Exchange, PeerAway
from meshkit.limits.fallback import Fallback, FallbackDecision, FallbackMode
from meshkit.limits.gcra import Decision, RateLimiter
from meshkit.limits.lender import Lender
from meshkit.limits.messages import LeaseReply, LeaseRequest, decode_reply, decode_request, encode
from meshkit.limits.peers import Peers
from meshkit.limits.shared import SharedLimiter
from meshkit.tenancy.policy import ResolvedRateLimit

TENANT = make_context()
TIMEOUT_SECONDS = 0.5


@dataclass(frozen=True)
class Measured:
    """How a run compares with one ideal bucket. `excess` is the most that passed over the envelope
    in any window, `ratio` what passed against what the ideal bucket admits of the same requests."""

    excess: float
    ratio: float
    admitted: int
    fallbacks: int


@dataclass
class Tally:
    """Every request of a run: when, and how many of how many tokens passed."""

    requests: list[tuple[float, int, int]] = field(default_factory=list)
    fallbacks: int = 0

    def add(self, at: float, cost: int, admitted: int) -> None:
        """Count one request."""
        self.requests.append((at, cost, admitted))

    def between(self, begin: float, end: float) -> int:
        """How many passed within a span."""
        return sum(n for at, _, n in self.requests if begin <= at < end)

    def measured(self, limit: ResolvedRateLimit, since: float = 0.0) -> Measured:
        """Compare with an ideal bucket that saw the same requests."""
        seen = sorted(request for request in self.requests if request[0] >= since)
        moments = iter(seen)
        now = [0.0]
        ideal = RateLimiter(lambda: now[0])
        could = 0
        for at, cost, _ in moments:
            now[0] = at
            could += ideal.take(TENANT, limit, cost).admitted
        passed = sum(admitted for _, _, admitted in seen)
        excess = worst_excess(((at, n) for at, _, n in seen), limit)
        return Measured(excess, passed / max(could, 1), passed, self.fallbacks)


def worst_excess(admitted: Iterable[tuple[float, int]], limit: ResolvedRateLimit) -> float:
    """The most that passed over `burst + W * rate` in any window of W seconds, in tokens."""
    rate = limit.requests / limit.window_seconds
    total, lowest, worst = 0, float("inf"), 0.0
    for at, count in admitted:
        lowest = min(lowest, total - rate * at)
        total += count
        worst = max(worst, total - rate * at - lowest - limit.burst)
    return worst


class Network:
    """Carries requests between replicas in a millisecond or three, or not."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.replicas: dict[str, SimulatedReplica] = {}
        self.cut_off: set[str] = set()
        self.carried = 0

    def joined(self, sender: str, receiver: str) -> bool:
        """Whether a message arrives."""
        return (sender in self.cut_off) == (receiver in self.cut_off)

    async def carry(self, sender: str, receiver: str, request: LeaseRequest) -> LeaseReply:
        """Send a request; return what is answered. Raises PeerAway."""
        self.carried += 1
        await asyncio.sleep(self.random.uniform(0.0005, 0.0015))
        if not self.joined(sender, receiver):
            await asyncio.sleep(TIMEOUT_SECONDS)
            raise PeerAway("silent")
        replica = self.replicas.get(receiver)
        if replica is None:
            raise PeerAway("refused", refused=True)
        reply = encode(replica.lender.lend(decode_request(encode(request))))
        await asyncio.sleep(self.random.uniform(0.0005, 0.0015))
        if not self.joined(sender, receiver):
            await asyncio.sleep(TIMEOUT_SECONDS)
            raise PeerAway("silent")
        return decode_reply(reply)


@dataclass
class _Wire:
    network: Network
    sender: str

    async def lease(self, url: str, request: LeaseRequest) -> LeaseReply:
        return await self.network.carry(self.sender, url, request)


class SimulatedReplica:
    """One replica: what a process has, on the clock of the loop."""

    def __init__(self, name: str, network: Network, mode: FallbackMode = "divide") -> None:
        clock = asyncio.get_running_loop().time
        self.name = name
        self.peers = Peers(name)
        buckets = RateLimiter(clock)
        self.lender = Lender(buckets, self.peers)
        exchange = Exchange(self.peers, _Wire(network, name), clock)
        self.limiter = SharedLimiter(
            buckets, self.peers, self.lender, Fallback(mode, clock), exchange, clock
        )
        self._exchange = exchange
        self._keeping = [
            asyncio.create_task(self.limiter.keep_tidy()),
            asyncio.create_task(exchange.keep_in_touch()),
        ]

    async def take(self, limit: ResolvedRateLimit, cost: int = 1) -> Decision:
        """Take tokens, however long it takes."""
        taken = self.limiter.take(TENANT, limit, cost)
        return taken if isinstance(taken, Decision) else await taken

    async def close(self) -> None:
        """End what runs in the background."""
        for task in self._keeping:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self._exchange.close()


class SimulatedCluster:
    """Replicas that hear of each other as they would from their Leases: not all at once."""

    def __init__(self, limit: ResolvedRateLimit, seed: int = 1) -> None:
        self.limit = limit
        self.network = Network(seed)
        self.random = random.Random(seed)
        self.tally = Tally()
        self.listed: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def names(self) -> list[str]:
        """Who runs."""
        return sorted(self.network.replicas)

    @property
    def owner(self) -> str:
        """Who runs the bucket, as those who are there see it."""
        replica = self.network.replicas[self.names[0]]
        return replica.peers.owner((TENANT.tenant_uid, self.limit.name))

    async def scale(self, *names: str) -> None:
        """Have exactly these, each hearing of it within a fifth of a second."""
        for name in [n for n in self.names if n not in names]:
            await self.kill(name)
        for name in names:
            if name not in self.network.replicas:
                self.network.replicas[name] = SimulatedReplica(name, self.network)
        self.listed = set(names)
        self.tell()

    def tell(self) -> None:
        """Let everybody hear of the members that are listed now."""
        members = {name: name for name in self.listed}
        for name in self.names:
            self._start(self._hear(self.network.replicas[name], members))

    async def kill(self, name: str) -> None:
        """kill -9: its Lease stays until somebody calls `tell`."""
        await self.network.replicas.pop(name).close()

    async def close(self) -> None:
        """End everything."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for name in self.names:
            await self.kill(name)

    async def traffic(self, seconds: float, rate: float, weights: dict[str, float]) -> None:
        """Send requests at random times for so long, spread by weight; wait for the answers."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        names, shares = list(weights), list(weights.values())
        while True:
            await asyncio.sleep(self.random.expovariate(rate))
            if loop.time() >= end:
                break
            name = self.random.choices(names, shares)[0]
            if name in self.network.replicas:
                self._start(self.request(name))
        await asyncio.gather(*self._tasks)

    async def request(self, name: str, cost: int = 1) -> None:
        """One request at one replica, counted."""
        decision = await self.network.replicas[name].take(self.limit, cost)
        self.tally.fallbacks += isinstance(decision, FallbackDecision)
        self.tally.add(asyncio.get_running_loop().time(), cost, decision.admitted)

    async def _hear(self, replica: SimulatedReplica, members: dict[str, str]) -> None:
        await asyncio.sleep(self.random.uniform(0.0, 0.2))
        replica.peers.listed(members, asyncio.get_running_loop().time())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def replica_names(count: int) -> Sequence[str]:
    """So many names."""
    return [f"replica-{number}" for number in range(count)]


def limit_of(requests: int = 100, burst: int = 100) -> ResolvedRateLimit:
    """A limit for each second."""
    return make_limit(requests=requests, burst=burst)
