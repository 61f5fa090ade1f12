"""A bucket that another replica runs, as a borrower knows it.

Tokens in hand are decided on without a word to anybody. They are few and short-lived: what has not
been used after LEASE_SECONDS goes back. What the owner's bucket owed when it last spoke tells how
long there is nothing to ask for (`again_at`), and what is left, for the headers. Pure: `now` is
monotonic seconds, given.
"""

import math
from asyncio import Future

from meshkit.limits.gcra import BucketKey, Decision
from meshkit.limits.messages import Ask, Grant
from meshkit.tenancy.policy import ResolvedRateLimit

LEASE_SECONDS = 0.1
# With nothing to be had, the owner is asked again after at least so long; its bucket fills
# meanwhile, and loses nothing.
_GAP_SECONDS = 0.01
_EPSILON = 1e-9


class Borrowing:
    """Tokens in hand, and what is known of the bucket that they are from."""

    __slots__ = (
        "again_at",
        "answer",
        "asked_at",
        "back",
        "debt",
        "demand",
        "disowned_until",
        "epoch",
        "hand",
        "heard_at",
        "interval",
        "key",
        "least",
        "limit",
        "low",
        "need",
        "offered",
        "owner",
        "sent",
        "until",
    )

    def __init__(self, key: BucketKey, limit: ResolvedRateLimit, owner: str, epoch: int) -> None:
        self.key = key
        self.limit = limit
        self.interval = limit.window_seconds / limit.requests
        self.owner = owner
        self.epoch = epoch
        self.hand = 0
        self.until = 0.0
        self.low = -1
        self.back = 0
        self.debt = 0.0
        self.heard_at = -math.inf
        self.again_at = -math.inf
        self.need = 0
        self.least = 0
        self.offered = 0
        self.asked_at = -math.inf
        self.demand = 0.0
        self.disowned_until = -math.inf
        self.answer: Future[None] | None = None
        self.sent = False

    def decide(self, cost: int, partial: bool, now: float) -> Decision | None:
        """Take `cost` tokens of those in hand, or as many as there are where `partial`, or refuse
        where the owner has none either; None where the owner has to be asked."""
        if cost > self.hand or now >= self.until:
            if cost and now >= self.again_at:
                return None
            return self.settle(cost, partial, now)
        self.offered += cost
        self.hand -= cost
        return self._decision(cost, 0.0, now)

    def settle(self, cost: int, partial: bool, now: float) -> Decision:
        """Take as `decide` does, without asking anybody: what is not in hand is refused."""
        hand = self.hand if now < self.until else 0
        self.offered += cost
        admitted = cost if cost <= hand else hand if partial else 0
        if admitted:
            self.hand -= admitted
        retry_after: float | None = 0.0
        if admitted < cost:
            wanted = 1 if partial else cost
            over = self._owed(now) - (self.limit.burst - wanted + self.hand) * self.interval
            retry_after = max(over, self.again_at - now, 0.0)
            if wanted > self.limit.burst:
                retry_after = None
        return self._decision(admitted, retry_after, now)

    def wait(self, cost: int, partial: bool) -> None:
        """Somebody waits for tokens: the next ask is for them, too."""
        least = 1 if partial else max(cost - self.hand, 1)
        self.least = min(self.least, least) if self.need else least
        self.need += cost

    def ask(self, now: float) -> Ask:
        """Return what to ask of the owner, for all who wait and for what comes next."""
        self.expire(now)
        elapsed = max(now - self.asked_at, 0.001)
        rate = self.offered / elapsed
        # A first ask knows no rate; a rate from long ago says nothing.
        self.demand = rate if elapsed > 1.0 else (self.demand + rate) / 2
        need = max(self.need - self.hand, 0)
        more = 0
        if self.offered or need:
            spare = max(self.hand - self.need, 0)
            more = max(math.ceil(self.demand * LEASE_SECONDS) - spare, 0)
        self.asked_at, self.offered = now, 0
        ask = Ask(
            *self.key,
            self.limit.requests,
            self.limit.window_seconds,
            self.limit.burst,
            need=min(need, self.limit.burst),
            least=max(self.least, 1),
            more=min(more, self.limit.burst),
            back=self.back,
        )
        self.need = self.least = self.back = 0
        self.sent = True
        return ask

    def granted(self, ask: Ask, grant: Grant, now: float) -> None:
        """Take in what the owner has answered to `ask`."""
        self.hand += grant.tokens
        self.until = now + LEASE_SECONDS
        self.debt, self.heard_at = grant.debt, now
        # Asking ahead pays where more than a token or two is used up within a lease.
        self.low = self.hand // 3 if ask.more > 2 and grant.tokens > ask.need else -1
        if grant.tokens < ask.need or not grant.tokens:
            over = grant.debt - (self.limit.burst - 1) * self.interval
            self.again_at = now + max(over, _GAP_SECONDS)

    def expire(self, now: float) -> bool:
        """Put aside what has been in hand for too long; return whether anything has to go back."""
        if self.hand and now >= self.until:
            self.back += self.hand
            self.hand = 0
        return self.back > 0

    def forget(self) -> None:
        """Drop everything that was borrowed: there is nobody to give it back to."""
        self.hand = self.back = 0
        self.low = -1
        self.heard_at = self.again_at = -math.inf

    def retire(self) -> None:
        """Ask for nothing more under this limit: it has changed. What is in hand goes back."""
        self.offered = 0
        self.until = -math.inf

    def _owed(self, now: float) -> float:
        return max(self.debt - (now - self.heard_at), 0.0)

    def _decision(self, admitted: int, retry_after: float | None, now: float) -> Decision:
        owed = self.debt - now + self.heard_at
        if owed < 0.0:
            owed = 0.0
        left = max(int(self.limit.burst - owed / self.interval + _EPSILON), 0)
        remaining = min(left + self.hand, self.limit.burst)
        return Decision(self.limit, admitted, remaining, owed, retry_after)


__all__ = ["LEASE_SECONDS", "Borrowing"]
