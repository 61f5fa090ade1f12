"""A limit that changes while it is in use: what was used stays used, in tokens.

So a raised limit never makes a tenant wait longer, a lowered one counts at most its own burst, and
replicas that know different limits for a while give nothing away by taking turns.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import make_context, make_limit
from limits_rig import TENANT as SHARED_TENANT
from limits_rig import SimulatedCluster, replica_names
from meshkit.limits.fallback import Fallback
from meshkit.limits.gcra import Decision, RateLimiter
from meshkit.tenancy.policy import ResolvedRateLimit
from virtual_time import run_in_virtual_time
from waiting import SetClock

TENANT = make_context()
HOURLY = make_limit(requests=10, window_seconds=3600, burst=10)
FAST = make_limit(requests=100, window_seconds=1, burst=100)
KEY = (TENANT.tenant_uid, FAST.name)

LIMITS = st.builds(
    make_limit,
    requests=st.integers(1, 200),
    window_seconds=st.integers(1, 3600),
    burst=st.integers(1, 300),
)
STEPS = st.lists(
    st.tuples(st.floats(0, 100), st.integers(0, 300), st.booleans(), st.one_of(st.none(), LIMITS)),
    max_size=40,
)


def rate_of(limit: ResolvedRateLimit) -> float:
    return limit.requests / limit.window_seconds


def is_raise(before: ResolvedRateLimit, after: ResolvedRateLimit) -> bool:
    return rate_of(after) >= rate_of(before) and after.burst >= before.burst


def wait_of(limiter: RateLimiter, limit: ResolvedRateLimit, cost: int) -> float:
    """How long `cost` has to wait; nothing is taken."""
    debt = limiter.peek(TENANT, limit).reset_after
    return max(debt - (limit.burst - cost) / rate_of(limit), 0.0)


def test_raised_limit_frees_the_tenant_at_once() -> None:
    limiter = RateLimiter(SetClock())
    assert limiter.take(TENANT, HOURLY, 10).admitted == 10
    assert limiter.take(TENANT, HOURLY).retry_after == pytest.approx(360)
    assert limiter.peek(TENANT, FAST).remaining == 90
    assert limiter.take(TENANT, FAST, 91).retry_after == pytest.approx(0.01)
    assert limiter.take(TENANT, FAST, 90).admitted == 90


def test_raised_rate_with_the_same_burst_shortens_the_wait() -> None:
    limiter = RateLimiter(SetClock())
    limiter.take(TENANT, HOURLY, 10)
    raised = make_limit(requests=10, window_seconds=1, burst=10)
    refused = limiter.take(TENANT, raised)
    assert (refused.admitted, refused.remaining) == (0, 0)
    assert refused.retry_after == pytest.approx(0.1)


def test_lowered_limit_counts_at_most_its_own_burst() -> None:
    limiter = RateLimiter(SetClock())
    limiter.take(TENANT, FAST, 100)
    refused = limiter.take(TENANT, HOURLY)
    assert refused.admitted == 0
    assert refused.retry_after == pytest.approx(360)
    assert refused.reset_after == pytest.approx(3600)


def test_full_bucket_stays_full_up_to_the_new_burst() -> None:
    clock = SetClock()
    limiter = RateLimiter(clock)
    limiter.take(TENANT, FAST, 100)
    clock.now += 1
    assert limiter.peek(TENANT, HOURLY).remaining == 10
    assert limiter.peek(TENANT, FAST).remaining == 100


def test_change_there_and_back_gives_nothing_away() -> None:
    limiter = RateLimiter(SetClock())
    limiter.take(TENANT, FAST, 100)
    for _ in range(3):
        assert limiter.peek(TENANT, HOURLY).remaining == 0
        assert limiter.peek(TENANT, FAST).remaining == 0


def test_limit_that_was_none_for_a_while_keeps_what_was_used() -> None:
    limiter = RateLimiter(SetClock())
    limiter.take(TENANT, HOURLY, 10)
    assert limiter.take(TENANT, make_limit(unlimited=True)).admitted == 1
    assert limiter.take(TENANT, make_limit(requests=0)).admitted == 0
    assert limiter.peek(TENANT, FAST).remaining == 90


@given(LIMITS, STEPS)
def test_any_changes_keep_the_tokens_and_never_lengthen_the_wait(
    limit: ResolvedRateLimit, steps: list[tuple[float, int, bool, ResolvedRateLimit | None]]
) -> None:
    clock = SetClock()
    limiter = RateLimiter(clock)
    for pause, cost, partial, other in steps:
        clock.now += pause
        if other is not None:
            costs = [c for c in (1, other.burst, limit.burst) if c <= min(limit.burst, other.burst)]
            before = [wait_of(limiter, limit, c) for c in costs]
            raised, limit = is_raise(limit, other), other
            after = [wait_of(limiter, limit, c) for c in costs]
            if raised:
                assert all(b <= a + 1e-6 for a, b in zip(before, after, strict=True))
        decision = limiter.take(TENANT, limit, cost, partial=partial)
        assert 0 <= decision.remaining <= limit.burst
        assert 0 <= decision.reset_after <= limit.burst / rate_of(limit) * (1 + 1e-9) + 1e-6


@given(LIMITS, st.integers(1, 300), st.floats(0, 100), LIMITS)
def test_time_to_admit_is_what_the_new_rate_says(
    limit: ResolvedRateLimit, cost: int, pause: float, other: ResolvedRateLimit
) -> None:
    clock = SetClock()
    limiter = RateLimiter(clock)
    used = limiter.take(TENANT, limit, cost, partial=True).admitted
    clock.now += pause
    debt = min(max(used - pause * rate_of(limit), 0.0), other.burst)
    found = limiter.peek(TENANT, other)
    assert found.reset_after == pytest.approx(debt / rate_of(other), rel=1e-6, abs=1e-6)
    refused = limiter.take(TENANT, other, other.burst)
    assert refused.retry_after is not None
    if refused.retry_after > 1e-3:
        clock.now += refused.retry_after * 0.999
        assert limiter.take(TENANT, other, other.burst).admitted == 0
        clock.now += refused.retry_after * 0.001 + 1e-6
        assert limiter.take(TENANT, other, other.burst).admitted == other.burst


@given(
    LIMITS,
    LIMITS,
    st.lists(st.tuples(st.floats(0, 20), st.integers(0, 300), st.booleans()), max_size=60),
)
def test_limits_that_take_turns_admit_no_more_than_the_larger_of_each(
    one: ResolvedRateLimit, other: ResolvedRateLimit, steps: list[tuple[float, int, bool]]
) -> None:
    clock = SetClock()
    limiter = RateLimiter(clock)
    burst, rate = max(one.burst, other.burst), max(rate_of(one), rate_of(other))
    began, admitted = clock.now, 0
    for pause, cost, first in steps:
        clock.now += pause
        admitted += limiter.take(TENANT, one if first else other, cost, partial=True).admitted
        assert admitted <= burst + rate * (clock.now - began) + 1e-6


def test_tokens_given_back_after_a_change_are_tokens() -> None:
    limiter = RateLimiter(SetClock())
    assert limiter.lend(KEY, HOURLY, 10, 1, 0.0, 0)[0] == 10
    assert limiter.peek(TENANT, FAST).remaining == 90
    limiter.refund(KEY, 4)
    assert limiter.peek(TENANT, FAST).remaining == 94


def test_giving_back_under_an_earlier_limit_changes_no_bucket() -> None:
    limiter = RateLimiter(SetClock())
    limiter.lend(KEY, FAST, 50, 1, 0.0, 0)
    taken, debt = limiter.lend(KEY, HOURLY, 0, 1, 0.5, 0)
    assert taken == 0
    assert debt == pytest.approx(3600)
    assert limiter.take(TENANT, FAST).reset_after == pytest.approx(0.51)


def test_owner_and_borrower_with_different_limits_cannot_drain_more_than_a_burst() -> None:
    limiter = RateLimiter(SetClock())
    passed = 0
    for _ in range(50):
        passed += limiter.lend(KEY, HOURLY, 10, 1, 0.5, 10)[0]
        passed += limiter.take(TENANT, FAST, 100, partial=True).admitted
    assert passed == 100


def test_fallback_keeps_what_was_used_when_the_limit_or_the_members_change() -> None:
    fallback = Fallback("divide", SetClock(), begins_full=True)

    def remaining(limit: ResolvedRateLimit, members: int) -> int:
        return fallback.take(TENANT, limit, 0, partial=False, members=members).remaining

    assert fallback.take(TENANT, HOURLY, 5, partial=True, members=2).admitted == 5
    assert remaining(HOURLY, 2) == 0
    # A part of a hundred: fifty, five of which are used.
    assert remaining(FAST, 2) == 45
    assert remaining(FAST, 4) == 20
    assert remaining(FAST, 2) == 45
    refused = fallback.take(TENANT, HOURLY, 1, partial=False, members=1)
    assert refused.admitted == 1


@pytest.mark.parametrize("at_owner", [True, False], ids=["owner", "borrower"])
def test_raised_limit_frees_the_tenant_on_every_replica(at_owner: bool) -> None:
    async def scenario(cluster: SimulatedCluster) -> None:
        owner = cluster.network.replicas[cluster.owner]
        borrower = next(r for n, r in cluster.network.replicas.items() if n != cluster.owner)
        used, first = (owner, borrower) if at_owner else (borrower, owner)
        passed = 0
        while (decision := await used.take(HOURLY)).admitted:
            passed += 1
        assert passed == 10
        assert decision.retry_after is not None
        assert decision.retry_after > 300
        # The change is heard by one replica first; tokens in hand may still be on their way back.
        decision = await first.take(FAST)
        assert decision.admitted == 1
        await asyncio.sleep(0.5)
        decision = await used.take(FAST)
        assert decision.admitted == 1
        await asyncio.sleep(2)
        await first.limiter.learn(SHARED_TENANT, [FAST])
        assert first.limiter.peek(SHARED_TENANT, FAST).remaining == 100

    in_cluster(scenario)


def test_lowered_limit_holds_on_every_replica_with_tokens_in_hand() -> None:
    async def scenario(cluster: SimulatedCluster) -> None:
        borrower = next(r for n, r in cluster.network.replicas.items() if n != cluster.owner)
        owner = cluster.network.replicas[cluster.owner]
        for _ in range(60):
            assert (await borrower.take(FAST)).admitted
            await asyncio.sleep(0.005)
        lowered = make_limit(requests=5, window_seconds=1, burst=5)
        passed = 0
        began = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < began + 10:
            for replica in (borrower, owner):
                taken: Decision = await replica.take(lowered)
                passed += taken.admitted
            await asyncio.sleep(0.01)
        assert 0.9 * 50 <= passed <= 5 + 50 + 1

    in_cluster(scenario)


def in_cluster(scenario: Callable[[SimulatedCluster], Awaitable[None]]) -> None:
    async def run() -> None:
        cluster = SimulatedCluster(HOURLY)
        await cluster.scale(*replica_names(3))
        # The new owner of a bucket begins with an empty one, which FAST fills within a second.
        await asyncio.sleep(2)
        await cluster.network.replicas[cluster.owner].take(FAST)
        await asyncio.sleep(0.1)
        try:
            await scenario(cluster)
        finally:
            await cluster.close()

    run_in_virtual_time(run())
