"""Time comes in through the signature.

Durations (limits, deadlines, back-off) use `monotonic`, which no clock correction can move.
Timestamps that people or other systems read use `utc_now`. Nothing else in the code base asks
the operating system for the time, so every test can set it.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]
"""Seconds on a monotonic scale with an arbitrary origin."""

WallClock = Callable[[], datetime]
"""The current time, timezone-aware, in UTC."""

monotonic: Clock = time.monotonic


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def unix_ms() -> int:
    """Return the current Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


__all__ = ["Clock", "WallClock", "monotonic", "unix_ms", "utc_now"]
