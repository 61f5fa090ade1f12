"""The windows of quotas: a budget is for one day in UTC, a stock has no end."""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

STORED_USERS = "storedUsers"
EVENTS_PER_DAY = "eventsPerDay"
LLM_TOKENS_PER_DAY = "llmTokensPerDay"
BUDGETS = frozenset({EVENTS_PER_DAY, LLM_TOKENS_PER_DAY})
"""The quotas that begin anew each day; any other is a stock."""
WARNED_FROM = 0.8
"""The part of a quota from which on people are warned."""


def day_of(now: datetime) -> str:
    """Return the window that a moment is in, as `2026-11-25`; windows sort as days do."""
    return _text(now.date() if now.tzinfo is UTC else now.astimezone(UTC).date())


@lru_cache(maxsize=8)
def _text(day: date) -> str:
    return day.isoformat()


def days_before(day: str, days: int) -> str:
    """Return the window so many days earlier."""
    return (datetime.fromisoformat(day) - timedelta(days=days)).date().isoformat()


def reset_at(quota: str, now: datetime) -> datetime | None:
    """Return when a quota begins anew: at the next midnight in UTC; None for a stock."""
    if quota not in BUDGETS:
        return None
    tomorrow = now.astimezone(UTC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), UTC)


__all__ = [
    "BUDGETS",
    "EVENTS_PER_DAY",
    "LLM_TOKENS_PER_DAY",
    "STORED_USERS",
    "WARNED_FROM",
    "day_of",
    "days_before",
    "reset_at",
]
