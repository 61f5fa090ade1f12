"""Asking other replicas, and finding out who is there.

One request at a time goes to each owner, for all buckets that wait for it by then: under load
requests become larger, not more. What an owner answers is only taken in if it is from the run of
its process that the request was for. Beside that, a few neighbours are asked for a sign of life
twice a second when nothing else was heard of them, so that a replica that is cut off finds out.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import structlog

from meshkit.clock import Clock, monotonic
from meshkit.limits.borrowing import Borrowing
from meshkit.limits.messages import ASKS_MOST, Ask, Grant, LeaseReply, LeaseRequest
from meshkit.limits.peers import Peers
from meshkit.telemetry import metrics

log = structlog.get_logger()

_TICK_SECONDS = 0.1
# Two replicas hear of a change of the members within so long of each other, as a rule.
_DISAGREEMENT_SECONDS = 0.05


class PeerAway(Exception):
    """A replica did not answer as one; `refused` where nothing listens at its address."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused


class Wire(Protocol):
    """The way to other replicas."""

    async def lease(self, url: str, request: LeaseRequest) -> LeaseReply:
        """Send a request to the admin port at `url`. Raises PeerAway."""


class Exchange:
    """What is under way between this replica and the others."""

    def __init__(self, peers: Peers, wire: Wire, clock: Clock = monotonic) -> None:
        self._peers = peers
        self._wire = wire
        self._clock = clock
        self._lives: dict[str, str] = {}
        self._queues: dict[str, list[Borrowing]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pumping: set[str] = set()
        self._away: frozenset[str] = frozenset()

    def ask(self, borrowing: Borrowing) -> asyncio.Future[None]:
        """Have the owner of a bucket asked as soon as it can be; return what is done once it has
        answered, or has not. Whoever waits says so before (`Borrowing.wait`)."""
        if borrowing.answer is None:
            borrowing.answer = asyncio.get_running_loop().create_future()
            self._queues.setdefault(borrowing.owner, []).append(borrowing)
            if borrowing.owner not in self._pumping:
                self._pumping.add(borrowing.owner)
                self._start(self._pump(borrowing.owner))
        return borrowing.answer

    async def keep_in_touch(self) -> None:
        """Look for signs of life for ever."""
        while True:
            now = self._clock()
            for identity in self._peers.due(now):
                self._start(self._probe(identity))
            self._peers.look(now)
            self._tell()
            await asyncio.sleep(_TICK_SECONDS)

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pump(self, owner: str) -> None:
        queue = self._queues[owner]
        try:
            while queue:
                batch, queue[:] = queue[:ASKS_MOST], queue[ASKS_MOST:]
                await self._exchange(owner, batch)
        finally:
            self._pumping.discard(owner)
            _settle(queue)
            del self._queues[owner]

    async def _exchange(self, owner: str, batch: Sequence[Borrowing]) -> None:
        began = self._clock()
        asks = [borrowing.ask(began) for borrowing in batch]
        try:
            grants = await self._send(owner, asks)
            for borrowing, ask, grant in zip(batch, asks, grants, strict=True):
                if grant.owned:
                    borrowing.granted(ask, grant, self._clock())
                else:
                    borrowing.disowned_until = self._clock() + _DISAGREEMENT_SECONDS
                    borrowing.forget()
        except PeerAway:
            for borrowing in batch:
                borrowing.forget()
        except Exception:
            # Whoever waits is refused, and asks again.
            log.exception("lease_exchange_failed")
        finally:
            _settle(batch)
        metrics.RATE_LIMIT_LEASE_SECONDS.observe(self._clock() - began)

    async def _probe(self, identity: str) -> None:
        with suppress(PeerAway):
            await self._send(identity, [])

    async def _send(self, owner: str, asks: list[Ask]) -> list[Grant]:
        """Return the grants of the owner as it lives now. Raises PeerAway, which has been noted."""
        url = self._peers.url(owner)
        if url is None:
            raise PeerAway("it is no member any more")
        try:
            # It may have started anew since: what it says of that first time is only its life.
            for _ in range(2):
                life = self._lives.get(owner, "")
                request = LeaseRequest(self._peers.me, owner, life, self._peers.away, asks)
                reply = await self._wire.lease(url, request)
                if reply.life == life and len(reply.grants) == len(asks):
                    self._peers.answered(owner, self._clock())
                    return reply.grants
                self._lives[owner] = reply.life
                for ask in asks:
                    ask.back = 0
            raise PeerAway("it answers as another replica")
        except PeerAway as away:
            self._peers.failed(owner, self._clock(), refused=away.refused)
            self._tell(str(away))
            raise

    def _tell(self, reason: str = "") -> None:
        away = frozenset(self._peers.away)
        if away != self._away:
            metrics.RATE_LIMIT_PEERS_AWAY.set(len(away))
            log.warning(
                "limit_peers_changed",
                away=sorted(away),
                gone=self._peers.gone,
                cut_off=self._peers.isolated,
                reason=reason,
            )
        self._away = away


def _settle(batch: Iterable[Borrowing]) -> None:
    """Wake whoever waits for these."""
    for borrowing in batch:
        answer, borrowing.answer, borrowing.sent = borrowing.answer, None, False
        if answer is not None and not answer.done():
            answer.set_result(None)


__all__ = ["Exchange", "PeerAway", "Wire"]
