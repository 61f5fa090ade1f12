"""How many events to store at once: as many as take some milliseconds.

A larger batch costs less for each event and makes whoever comes next wait longer for its end. So
the size follows what the store shows it can do: it grows while full batches are quick, and shrinks
when two in a row were slow. One slow batch alone is a pause of the machine, no pace of the store;
and between quick and slow there is room, so that the size comes to rest.

How long a batch may take depends on who waits for its end. Where nobody but those with a backlog
has come for half a minute (a reindexing, an import), the only one that could wait is the next one
who sends little, once: then batches are longer, what every one of them costs anew is shared by more
events, and the next batch is on its way while the store is at work on one. From then on they are
short, and one at a time.
"""

from dataclasses import dataclass

from meshkit.clock import Clock

BATCH_LEAST, BATCH_MOST = 16, 256
_START = 64
HURRY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a batch may take: under `quick_seconds` it may grow, over `slow_seconds` shrink."""

    quick_seconds: float
    slow_seconds: float
    batch_most: int = BATCH_MOST
    at_once: int = 1
    """How many batches may be on their way to the store at the same time."""


HURRIED = Pace(0.01, 0.018)
AT_EASE = Pace(0.05, 0.08, batch_most=768, at_once=2)


class BatchSize:
    """The size of the next batch at one pace."""

    def __init__(self, pace: Pace = HURRIED) -> None:
        self.now = _START
        self._pace = pace
        self._was_slow = False

    @property
    def at_once(self) -> int:
        """How many batches may be on their way to the store at the same time."""
        return self._pace.at_once

    def took(self, count: int, seconds: float) -> None:
        """Learn from a batch of `count` events that took `seconds` to store."""
        slow = seconds > self._pace.slow_seconds
        if slow and self._was_slow:
            self.now = max(BATCH_LEAST, self.now * 3 // 4)
        elif count >= self.now and seconds < self._pace.quick_seconds:
            self.now = min(self._pace.batch_most, self.now + self.now // 4)
        self._was_slow = slow and not self._was_slow


class BatchSizes:
    """One size for each pace, and which of them is the one for now."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hurried = BatchSize(HURRIED)
        self._at_ease = BatchSize(AT_EASE)
        self._hurry_until = clock()

    @property
    def current(self) -> BatchSize:
        """The size that the next batch is to have, and that is to learn from it."""
        return self._hurried if self._clock() < self._hurry_until else self._at_ease

    def somebody_light(self) -> None:
        """Somebody without a backlog has come: it, and others like it, may come again."""
        self._hurry_until = self._clock() + HURRY_SECONDS
