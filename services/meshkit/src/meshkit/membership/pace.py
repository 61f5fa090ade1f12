"""When a member writes its Lease: at once after a quiet time, ever more rarely in a burst.

A change is written some milliseconds later, with what comes together with it. A write that takes
many changes along doubles the gap to the next one, up to two seconds; one that takes few widens it
by as much less; and each two seconds that pass halve it again. So ten thousand changes at once, or
within half a minute, cost some twenty writes; changes that come one after the other, up to eight a
second, hardly wait; one that comes two seconds after the last write does not wait at all; and none
waits for longer than two seconds. Pure: times are given, in monotonic seconds.
"""

_GATHER_SECONDS = 0.01
_GAP_LEAST, _GAP_MOST = 0.05, 2.0
# From so many changes on a write doubles the gap. As the gap halves every two seconds, half as many
# in a second are what it takes to keep it from falling.
_CHANGES_MANY = 16
_RETRY_LEAST = 0.1


class Pace:
    """Told of changes and writes, says when to write next."""

    def __init__(self, renewal_seconds: float) -> None:
        self._renewal = renewal_seconds
        self._changes = 0
        self._retry_at: float | None = None
        self._backoff = _RETRY_LEAST
        self._due = float("-inf")
        self._written = float("-inf")
        # How often the gap has doubled by now; it falls by one in every `_GAP_MOST`.
        self._doublings = 0.0

    @property
    def due(self) -> float:
        """When to write next; in the past where that is overdue."""
        latest = self._written + self._renewal if self._retry_at is None else self._retry_at
        return min(self._due, latest) if self._changes else latest

    def changed(self, now: float) -> bool:
        """Take note of a change; return whether `due` may be another one by that."""
        self._changes += 1
        if self._changes > 1:
            return False
        gap = min(_GAP_MOST, _GAP_LEAST * 2 ** (self._doublings - 1))
        self._due = max(now + _GATHER_SECONDS, self._written + gap)
        return True

    def begun(self, now: float) -> None:
        """A write begins, which takes along every change until now."""
        fallen = (now - self._written) / _GAP_MOST
        risen = min(1.0, self._changes / _CHANGES_MANY)
        self._doublings = max(0.0, self._doublings - fallen) + risen
        self._changes = 0
        self._written = now

    def ended(self) -> None:
        """The write that was begun has succeeded."""
        self._retry_at, self._backoff = None, _RETRY_LEAST

    def failed(self, now: float, jitter: float) -> None:
        """The write that was begun has failed; `jitter` stretches the time until the next one.

        Changes that come meanwhile may bring it forward: they show that the server is back.
        """
        self._retry_at = now + self._backoff * jitter
        self._backoff = min(self._renewal, self._backoff * 2)


__all__ = ["Pace"]
