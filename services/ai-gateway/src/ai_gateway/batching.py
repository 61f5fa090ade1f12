"""How many events to store at once: as many as take some milliseconds.

A larger batch costs less for each event and makes whoever comes next wait longer for its end. So
the size follows what the store shows it can do: it grows while full batches are quick, and shrinks
when two in a row were slow. One slow batch alone is a pause of the machine, no pace of the store;
and between quick and slow there is room, so that the size comes to rest.
"""

BATCH_LEAST, BATCH_MOST = 16, 256
_QUICK_SECONDS, _SLOW_SECONDS = 0.01, 0.018
_START = 64


class BatchSize:
    """The size of the next batch."""

    def __init__(self) -> None:
        self.now = _START
        self._was_slow = False

    def took(self, count: int, seconds: float) -> None:
        """Learn from a batch of `count` events that took `seconds` to store."""
        slow = seconds > _SLOW_SECONDS
        if slow and self._was_slow:
            self.now = max(BATCH_LEAST, self.now * 3 // 4)
        elif count >= self.now and seconds < _QUICK_SECONDS:
            self.now = min(BATCH_MOST, self.now + self.now // 4)
        self._was_slow = slow and not self._was_slow
