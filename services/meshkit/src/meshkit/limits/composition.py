"""What a service composes for its rate limits: buckets of its own, or shared with its replicas."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from meshkit.clock import Clock, monotonic
from meshkit.limits.exchange import Exchange
from meshkit.limits.fallback import Fallback
from meshkit.limits.gcra import RateLimiter
from meshkit.limits.lender import Lender
from meshkit.limits.peers import Peers
from meshkit.limits.shared import SharedLimiter
from meshkit.limits.signing import KEY_BYTES
from meshkit.settings import PREFIX, MeshSettings, key_in
from meshkit.tasks import end

log = structlog.get_logger()


@dataclass(slots=True)
class Sharing:
    """The limiter of a replica among others, and its part for them. Without a `key` there is no
    lending, and every limit is divided by the number of replicas."""

    limiter: SharedLimiter
    lender: Lender
    key: bytes | None
    peers: Peers
    clock: Clock = monotonic

    def members(self, found: Mapping[str, str]) -> None:
        """Take in who the replicas are, by identity, with the addresses of their admin ports."""
        self.peers.listed(found, self.clock())
        log.info("limit_members", members=sorted(found))
        if self.key is None and self.peers.count > 1:
            log.warning("limits_divided", members=self.peers.count, needed=f"{PREFIX}PEER_KEY")

    def state(self) -> str:
        """Return how limits hold over the replicas just now, in a few words."""
        count = self.peers.count
        if count == 1:
            return "one replica"
        if self.key is None:
            return f"divided by {count} replicas: {PREFIX}PEER_KEY is not set"
        if self.peers.isolated:
            return f"cut off from most of {count} replicas"
        away = ", ".join(self.peers.away)
        return f"shared by {count} replicas" + (f"; do not answer: {away}" if away else "")


def peer_key(settings: MeshSettings) -> bytes | None:
    """Return the key of the replicas, None where there is none. Raises SettingsError."""
    if settings.peer_key is None:
        return None
    return key_in(settings.peer_key, "PEER_KEY", KEY_BYTES)


@asynccontextmanager
async def sharing(settings: MeshSettings, identity: str) -> AsyncIterator[Sharing]:
    """Share limits with the replicas that `Sharing.members` is told of, for as long as the block
    lasts. Raises SettingsError."""
    key = peer_key(settings)
    peers, buckets = Peers(identity), RateLimiter()
    lender = Lender(buckets, peers)
    async with AsyncExitStack() as stack:
        exchange = None
        # Nothing but this replica's share is left to decide by.
        mode = settings.rate_limit_fallback
        if key is None:
            mode = "divide"
        else:
            # Only who has others to ask loads the client.
            from meshkit.limits.transport import HttpWire

            exchange = Exchange(peers, await stack.enter_async_context(HttpWire(key)))
            stack.push_async_callback(exchange.close)
        fallback = Fallback(mode, begins_full=key is None)
        limiter = SharedLimiter(buckets, peers, lender, fallback, exchange)
        works = [limiter.keep_tidy()] + ([exchange.keep_in_touch()] if exchange else [])
        keeping = [asyncio.create_task(work) for work in works]
        try:
            yield Sharing(limiter, lender, key, peers)
        finally:
            await end(*keeping)


__all__ = ["Sharing", "peer_key", "sharing"]
