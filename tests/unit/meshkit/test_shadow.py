"""What shadow mode counts: per tenant and limit, bounded."""

from builders import make_context
from meshkit.web.shadow import ShadowCounts

A, B = make_context("tenant-a"), make_context("tenant-b")


def test_counts_are_a_tenants_own() -> None:
    counts = ShadowCounts()
    counts.count(A, "users.write")
    counts.count(A, "users.write", 7)
    counts.count(A, "eventsPerDay")
    assert counts.counted(A, "users.write") == 8
    assert counts.counted(A, "eventsPerDay") == 1
    assert counts.counted(B, "users.write") == 0


def test_those_not_over_a_limit_for_longest_are_forgotten_first() -> None:
    counts = ShadowCounts(kept_most=2)
    for name in ("first", "second", "first", "third"):
        counts.count(A, name)
    assert [counts.counted(A, name) for name in ("first", "second", "third")] == [2, 0, 1]
