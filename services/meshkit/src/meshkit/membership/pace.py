"""When a member writes its Lease: at once after a quiet time, ever more rarely in a burst.

A change after quiet is written some milliseconds later, with what comes together with it. Each
write that a change was waiting for doubles the gap to the next one, up to two seconds, and each two
seconds that pass halve it again. So whatever comes how fast, half a minute costs some twenty
writes; a change that comes two seconds after the last write never waits; and no change waits for
longer than two seconds. Pure: times are given, in monotonic seconds.
"""

_GATHER_SECONDS = 0.01
_GAP_LEAST, _GAP_MOST = 0.05, 2.0
_RETRY_LEAST = 0.1


class Pace:
    """Told of changes and writes, says when to write next."""

    def __init__(self, renewal_seconds: float) -> None:
        self._renewal = renewal_seconds
        self._pending = False
        self._retry_at: float | None = None
        self._backoff = _RETRY_LEAST
        self._due = float("-inf")
        self._written = float("-inf")
        # How often the gap has doubled by now; it falls by one in every `_GAP_MOST`.
        self._doublings = 0.0

    @property
    def due(self) -> float:
        """When to write next; in the past where that is overdue."""
        if self._retry_at is not None:
            return self._retry_at
        renewal = self._written + self._renewal
        return min(self._due, renewal) if self._pending else renewal

    def changed(self, now: float) -> bool:
        """Take note of a change; return whether `due` may be another one by that."""
        if self._pending:
            return False
        self._pending = True
        gap = min(_GAP_MOST, _GAP_LEAST * 2 ** (self._doublings - 1))
        self._due = max(now + _GATHER_SECONDS, self._written + gap)
        return True

    def begun(self, now: float) -> None:
        """A write begins, which takes along every change until now."""
        fallen = (now - self._written) / _GAP_MOST
        self._doublings = max(0.0, self._doublings - fallen) + self._pending
        self._pending = False
        self._written = now

    def ended(self) -> None:
        """The write that was begun has succeeded."""
        self._retry_at, self._backoff = None, _RETRY_LEAST

    def failed(self, now: float, jitter: float) -> None:
        """The write that was begun has failed; `jitter` stretches the time until the next one."""
        self._retry_at = now + self._backoff * jitter
        self._backoff = min(self._renewal, self._backoff * 2)
        # What it was to take along still waits.
        self._pending, self._due = True, self._retry_at


__all__ = ["Pace"]
