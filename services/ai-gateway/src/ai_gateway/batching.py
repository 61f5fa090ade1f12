"""How many events to store at once: as many as take a few milliseconds.

A larger batch costs less for each event and makes whoever comes next wait longer for its end. So
the size follows what the store shows it can do: it grows while full batches are quick, and is
halved when one was slow (additive increase would take too long to find a store's pace, so growth is
multiplicative, too).
"""

BATCH_LEAST, BATCH_MOST = 16, 256
_QUICK_SECONDS, _SLOW_SECONDS = 0.006, 0.02
_START = 64


class BatchSize:
    """The size of the next batch."""

    def __init__(self) -> None:
        self.now = _START

    def took(self, count: int, seconds: float) -> None:
        """Learn from a batch of `count` events that took `seconds` to store."""
        if seconds > _SLOW_SECONDS:
            self.now = max(BATCH_LEAST, self.now // 2)
        elif count >= self.now and seconds < _QUICK_SECONDS:
            self.now = min(BATCH_MOST, self.now + self.now // 2)
