"""The owner's side: lending tokens of the buckets that this replica runs."""

from meshkit.entropy import random_block
from meshkit.limits.gcra import BucketKey, RateLimiter
from meshkit.limits.messages import Ask, Grant, LeaseReply, LeaseRequest
from meshkit.limits.peers import Peers
from meshkit.tenancy.policy import Provenance, ResolvedRateLimit


class Lender:
    """Answers what other replicas ask of this one's buckets."""

    def __init__(self, buckets: RateLimiter, peers: Peers) -> None:
        self.life = random_block().hex()
        self._buckets = buckets
        self._peers = peers
        self.owned_in: dict[BucketKey, int] = {}
        """The epoch in which a bucket was last found to be this replica's: a memory of look-ups,
        which may be forgotten at any time."""

    def lend(self, request: LeaseRequest) -> LeaseReply:
        """Return a grant for each ask; none where the request is for another run of this process,
        or for another replica."""
        for identity in request.away:
            self._peers.suspect(identity)
        if request.life != self.life or request.receiver != self._peers.me:
            return LeaseReply(self.life, [])
        return LeaseReply(self.life, [self._grant(ask) for ask in request.asks])

    def owns(self, key: BucketKey, limit: ResolvedRateLimit) -> bool:
        """Return whether this replica runs a bucket; one that it has just come to own is empty."""
        epoch = self._peers.epoch
        if self.owned_in.get(key) == epoch:
            return True
        if self._peers.owner(key) != self._peers.me:
            return False
        self._buckets.drain(key, limit, self._peers.owned_since(key))
        if len(self.owned_in) > 2 * len(self._buckets) + 4096:
            self.owned_in.clear()
        self.owned_in[key] = epoch
        return True

    def _grant(self, ask: Ask) -> Grant:
        key = (ask.tenant_uid, ask.name)
        limit = ResolvedRateLimit.model_construct(
            name=ask.name,
            requests=ask.requests,
            window_seconds=ask.window_seconds,
            burst=ask.burst,
            unlimited=False,
            provenance=Provenance.DEFAULT,
        )
        if not self.owns(key, limit):
            return Grant(0, 0.0, owned=False)
        if ask.back:
            self._buckets.refund(key, ask.back)
        # Half of what is there beyond the need, divided: nobody holds what others wait for.
        share = 0.5 / self._peers.count
        return Grant(*self._buckets.lend(key, limit, ask.need, ask.least, share, ask.more))


__all__ = ["Lender"]
