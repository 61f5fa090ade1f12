"""Limits over simulated replicas: one bucket for all of them, whatever the traffic and the faults.

The clock and the network are simulated, the rest is what runs. `excess` is in tokens over
`burst + W * rate` in the worst window; `ratio` is against one ideal bucket for the same requests.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import make_context
from limits_rig import TENANT, SimulatedCluster, limit_of, replica_names
from meshkit.limits.fallback import FallbackDecision
from meshkit.limits.gcra import Decision
from virtual_time import run_in_virtual_time

RATE, BURST = 100, 100

Scenario = Callable[[SimulatedCluster], Awaitable[None]]


def simulate(replicas: int, scenario: Scenario, *, burst: int = BURST, seed: int = 1) -> None:
    """Run a scenario on replicas that have known each other for a while."""

    async def run() -> None:
        cluster = SimulatedCluster(limit_of(RATE, burst), seed)
        await cluster.scale(*replica_names(replicas))
        # Who comes to own a bucket begins with an empty one.
        await asyncio.sleep(1 + burst / RATE)
        try:
            await scenario(cluster)
        finally:
            await cluster.close()

    run_in_virtual_time(run())


def spread(cluster: SimulatedCluster, hot: float | None) -> dict[str, float]:
    """Equal shares, or `hot` of all on one that has to borrow where there is one."""
    names = cluster.names
    if hot is None or len(names) == 1:
        return dict.fromkeys(names, 1.0)
    borrower = next(name for name in names if name != cluster.owner)
    rest = (1.0 - hot) / (len(names) - 1)
    return {name: hot if name == borrower else rest for name in names}


@pytest.mark.parametrize("hot", [None, 0.9, 0.99, 1.0], ids=["uniform", "90/10", "99/1", "all"])
@pytest.mark.parametrize("replicas", [1, 2, 4, 8])
def test_any_skew_admits_what_one_bucket_would(replicas: int, hot: float | None) -> None:
    async def scenario(cluster: SimulatedCluster) -> None:
        await cluster.traffic(10, 3 * RATE, spread(cluster, hot))
        measured = cluster.tally.measured(cluster.limit)
        assert measured.excess <= 1
        assert 0.99 <= measured.ratio <= 1.01
        assert measured.fallbacks == 0

    simulate(replicas, scenario)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    replicas=st.integers(2, 8),
    weights=st.lists(st.floats(0.0, 1.0), min_size=8, max_size=8).filter(lambda w: sum(w[:2]) > 0),
    load=st.floats(0.3, 4.0),
    burst=st.integers(20, 300),
    seed=st.integers(0, 10_000),
)
def test_no_traffic_gets_over_the_envelope_or_is_refused_what_there_is(
    replicas: int, weights: list[float], load: float, burst: int, seed: int
) -> None:
    async def scenario(cluster: SimulatedCluster) -> None:
        shares = dict(zip(cluster.names, weights, strict=False))
        await cluster.traffic(3, load * RATE, shares)
        measured = cluster.tally.measured(cluster.limit)
        # A tenth of a second's tokens may be in hand when a window begins.
        assert measured.excess <= 0.1 * RATE
        # And as many may be in the wrong hands; in a run of seconds that is more than a hundredth.
        ideal = measured.admitted / measured.ratio
        assert 0.99 * ideal - 0.1 * RATE <= measured.admitted <= 1.01 * ideal + 0.1 * RATE

    simulate(replicas, scenario, burst=burst, seed=seed)


@pytest.mark.parametrize("burst", [5, 10])
@pytest.mark.parametrize("hot", [None, 1.0], ids=["uniform", "all"])
def test_burst_below_the_rate_admits_what_one_bucket_would(burst: int, hot: float | None) -> None:
    async def scenario(cluster: SimulatedCluster) -> None:
        await cluster.traffic(10, 3 * RATE, spread(cluster, hot))
        measured = cluster.tally.measured(cluster.limit)
        assert measured.excess <= 1
        assert 0.99 <= measured.ratio <= 1.01

    simulate(4, scenario, burst=burst)


def test_traffic_that_moves_every_two_seconds_admits_what_one_bucket_would() -> None:
    async def scenario(cluster: SimulatedCluster) -> None:
        for name in cluster.names:
            await cluster.traffic(2, 1.5 * RATE, {name: 1.0})
        measured = cluster.tally.measured(cluster.limit)
        assert measured.excess <= 1
        assert 0.99 <= measured.ratio <= 1.01

    simulate(8, scenario)


def test_burst_at_all_replicas_at_once_passes_once() -> None:
    async def scenario(cluster: SimulatedCluster) -> None:
        for _ in range(3):
            calls = [cluster.request(name) for name in cluster.names for _ in range(50)]
            await asyncio.gather(*calls)
            await asyncio.sleep(2)
        measured = cluster.tally.measured(cluster.limit)
        assert measured.admitted == 3 * BURST
        assert measured.excess == 0

    simulate(8, scenario)


def test_owner_that_is_killed_costs_no_excess_and_two_seconds_later_all_is_exact() -> None:
    async def scenario(cluster: SimulatedCluster) -> None:
        loop = asyncio.get_running_loop()
        traffic = asyncio.create_task(cluster.traffic(10, 4 * RATE, spread(cluster, None)))
        await asyncio.sleep(4)
        killed_at = loop.time()
        # Nobody says so: its Lease is there to the end.
        await cluster.kill(cluster.owner)
        await traffic
        assert cluster.tally.measured(cluster.limit).excess <= 1
        exact = cluster.tally.between(killed_at + 2, killed_at + 5)
        assert 0.99 * RATE * 3 <= exact <= 1.01 * RATE * 3
        meanwhile = cluster.tally.between(killed_at, killed_at + 2)
        assert meanwhile >= 0.6 * RATE * 2

    simulate(4, scenario)


@pytest.mark.parametrize("owner", [True, False], ids=["owner", "borrower"])
def test_replica_that_is_cut_off_adds_its_share_and_no_more(owner: bool) -> None:
    async def scenario(cluster: SimulatedCluster) -> None:
        loop = asyncio.get_running_loop()
        traffic = asyncio.create_task(cluster.traffic(12, 4 * RATE, spread(cluster, None)))
        await asyncio.sleep(3)
        chosen = next(name for name in cluster.names if (name == cluster.owner) is owner)
        cluster.network.cut_off = {chosen}
        cut_at = loop.time()
        await asyncio.sleep(5)
        cluster.network.cut_off = set()
        healed_at = loop.time()
        await traffic
        # Until it is noticed, both sides may go on; then the one that is cut off has a quarter.
        noticing = cluster.tally.between(cut_at, cut_at + 2)
        assert noticing <= 2 * 2 * RATE
        cut = cluster.tally.between(cut_at + 2, healed_at)
        assert cut <= 1.26 * RATE * 3
        assert 0.98 * RATE * 2 <= cluster.tally.between(healed_at + 2, healed_at + 4) <= 206

    simulate(4, scenario)


def test_scaling_up_and_down_costs_no_more_than_the_members_disagree() -> None:
    async def scenario(cluster: SimulatedCluster) -> None:
        names = replica_names(8)
        traffic = asyncio.create_task(cluster.traffic(12, 4 * RATE, dict.fromkeys(names, 1.0)))
        for count in (8, 2):
            await asyncio.sleep(4)
            await cluster.scale(*names[:count])
        await traffic
        # They hear of each other up to 0.2 s apart: two owners and a fallback for so long, twice.
        assert cluster.tally.measured(cluster.limit).excess <= 2 * 3 * 0.2 * RATE

    simulate(2, scenario)


def test_replica_that_never_had_another_beside_it_asks_nobody() -> None:
    async def scenario(cluster: SimulatedCluster) -> None:
        await cluster.traffic(5, 2 * RATE, {cluster.names[0]: 1.0})
        assert cluster.network.carried == 0
        assert cluster.tally.measured(cluster.limit).ratio == 1.0

    simulate(1, scenario)


def test_many_who_wait_share_one_request() -> None:
    async def scenario(cluster: SimulatedCluster) -> None:
        borrower = next(name for name in cluster.names if name != cluster.owner)
        before = cluster.network.carried
        await asyncio.gather(*(cluster.request(borrower) for _ in range(80)))
        # The first one is for those that had come by then, the second for all the others; the very
        # first request to an owner only learns its life.
        assert cluster.network.carried - before <= 4
        assert sum(admitted for _, _, admitted in cluster.tally.requests) == 80

    simulate(2, scenario)


def test_refused_replica_waits_until_there_is_something_and_then_gets_in() -> None:
    async def scenario(cluster: SimulatedCluster) -> None:
        borrower = cluster.network.replicas[
            next(name for name in cluster.names if name != cluster.owner)
        ]
        while (refused := await borrower.take(cluster.limit)).admitted:
            pass
        assert refused.retry_after is not None
        before = cluster.network.carried
        for _ in range(100):
            assert (await borrower.take(cluster.limit)).admitted == 0
        assert cluster.network.carried == before
        await asyncio.sleep(refused.retry_after)
        assert (await borrower.take(cluster.limit)).admitted == 1

    simulate(4, scenario)


def test_tokens_that_nobody_used_go_back() -> None:
    async def scenario(cluster: SimulatedCluster) -> None:
        borrower = next(name for name in cluster.names if name != cluster.owner)
        await cluster.traffic(3, 0.8 * RATE, {borrower: 1.0})
        await asyncio.sleep(0.3)
        replica = cluster.network.replicas[borrower]
        await replica.limiter.learn(TENANT, [cluster.limit])
        seen = replica.limiter.peek(TENANT, cluster.limit)
        owner = cluster.network.replicas[cluster.owner].limiter.peek(TENANT, cluster.limit)
        assert (seen.remaining, owner.remaining) == (BURST, BURST)

    simulate(2, scenario)


def test_memory_follows_the_tenants_that_call() -> None:
    async def scenario(cluster: SimulatedCluster) -> None:
        limiter = cluster.network.replicas[cluster.names[0]].limiter
        most = 0
        for number in range(20_000):
            taken = limiter.take(make_context(f"t{number}"), cluster.limit)
            decision = taken if isinstance(taken, Decision) else await taken
            assert decision.admitted
            most = max(most, len(limiter))
        assert most < 6_000

    simulate(2, scenario)


def test_batch_takes_what_there_is_over_all_replicas() -> None:
    async def scenario(cluster: SimulatedCluster) -> None:
        first, second = (
            cluster.network.replicas[name] for name in sorted(cluster.names, reverse=True)
        )
        admitted = 0
        for replica in (first, second):
            taken = replica.limiter.take(TENANT, cluster.limit, 70, partial=True)
            decision = taken if isinstance(taken, Decision) else await taken
            admitted += decision.admitted
        assert admitted == BURST
        taken = first.limiter.take(TENANT, cluster.limit, BURST + 1)
        refused = taken if isinstance(taken, Decision) else await taken
        assert (refused.admitted, refused.retry_after) == (0, None)

    simulate(2, scenario)


def test_owner_away_is_told_with_the_rule_that_decides() -> None:
    async def scenario(cluster: SimulatedCluster) -> None:
        borrower = cluster.network.replicas[
            next(name for name in cluster.names if name != cluster.owner)
        ]
        await cluster.kill(cluster.owner)
        decision = await borrower.take(cluster.limit)
        assert isinstance(decision, FallbackDecision)
        assert decision.fallback == "divide"
        assert decision.limit == cluster.limit

    simulate(3, scenario)
