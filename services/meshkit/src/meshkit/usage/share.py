"""One replica's part of one budget: what it has used, and what it holds ready. Pure."""

import asyncio
from dataclasses import dataclass, field

from meshkit.usage.records import Spent, UsageKey

_FIRST_STEP = 8
# The most that one replica holds unused, as a part of the limit, and of what is left for all.
_PART_OF_LIMIT = 100
_PART_OF_ROOM = 4
IDLE_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class Share:
    """`used` for good, `tokens` reserved and unused, `asking` published and not yet read back,
    `wanted` by requests that wait; `ahead` while more is being reserved before it is needed."""

    key: UsageKey
    limit: int
    used: int
    published: Spent | None
    tokens: int = 0
    asking: int = 0
    wanted: int = 0
    ahead: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _step: int = _FIRST_STEP
    _reserved_at: float = 0.0
    _used_at: float = 0.0

    @property
    def value(self) -> Spent:
        """What others have to know of it."""
        return Spent(self.used + self.tokens + self.asking, self.used)

    def room(self, reserved_by_others: int) -> int:
        """Return how much nobody has reserved; below 0 where the limit was lowered."""
        return self.limit - reserved_by_others - self.used - self.tokens

    def use(self, cost: int, now: float) -> None:
        """Count `cost` as used, from the tokens as far as there are any."""
        self.tokens -= min(cost, self.tokens)
        self.used += cost
        self._used_at = now

    def trim(self, room: int) -> None:
        """Let go of tokens that the limit has no room for any more."""
        if room < 0:
            self.tokens = max(0, self.tokens + room)

    def is_low(self) -> bool:
        """Whether less than half of what it is to hold is left, and nobody is asking for more."""
        return self.tokens * 2 < self._step and not self.ahead and not self.lock.locked()

    def is_idle(self, now: float) -> bool:
        """Whether it was not used lately, and nobody waits for it."""
        return now - self._used_at >= IDLE_SECONDS and not self.wanted and not self.lock.locked()

    def to_ask(self, missing: int, room: int, writers: int, now: float) -> int:
        """Return how much to reserve, of `room`: what is missing, or enough to hold some ready.

        To hold: twice as much where the last did not last a second, and less the less is left.
        """
        quick = now - self._reserved_at < IDLE_SECONDS
        self._reserved_at = now
        step = self._step * 2 if quick else _FIRST_STEP
        fair = room // (_PART_OF_ROOM * max(1, writers))
        self._step = max(1, min(step, self.limit // _PART_OF_LIMIT, fair))
        return max(0, min(room, max(missing, self._step - self.tokens)))


__all__ = ["IDLE_SECONDS", "Share"]
