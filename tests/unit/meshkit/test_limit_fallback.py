"""Limits whose owner cannot be asked: the declared rule decides, and every answer says so."""

import base64
from pathlib import Path

import pytest

from builders import make_context, make_limit
from meshkit.limits.composition import peer_key, sharing
from meshkit.limits.fallback import Fallback, FallbackDecision, FallbackMode
from meshkit.limits.gcra import Decision, RateLimiter
from meshkit.limits.headers import limit_headers
from meshkit.membership.composition import joining
from meshkit.settings import MeshSettings, SettingsError
from meshkit.web.admin import NO_PART
from meshkit.web.server import bind
from waiting import SetClock

TENANT = make_context()
LIMIT = make_limit(requests=40, burst=80)
KEY = base64.b64encode(bytes(32)).decode()


def take(fallback: Fallback, cost: int = 1, members: int = 4) -> FallbackDecision:
    return fallback.take(TENANT, LIMIT, cost, partial=False, members=members)


def test_divide_begins_empty_and_then_has_its_part_of_the_rate() -> None:
    clock = SetClock()
    fallback = Fallback("divide", clock)
    assert take(fallback).admitted == 0
    passed = 0
    for _ in range(1000):
        clock.now += 0.01
        passed += take(fallback).admitted
    assert passed == 100


def test_divide_that_may_begin_full_has_its_part_of_the_burst() -> None:
    fallback = Fallback("divide", SetClock(), begins_full=True)
    assert sum(take(fallback).admitted for _ in range(100)) == 20


def test_part_of_a_limit_lets_something_pass_also_where_it_is_less_than_one() -> None:
    clock = SetClock()
    fallback = Fallback("divide", clock)
    limit = make_limit(requests=1, burst=1, window_seconds=60)
    passed = 0
    for _ in range(480):
        clock.now += 1
        passed += fallback.take(TENANT, limit, 1, partial=False, members=8).admitted
    assert passed == pytest.approx(1, abs=1)


def test_fallback_that_is_over_begins_anew_the_next_time() -> None:
    clock = SetClock()
    fallback = Fallback("divide", clock)
    take(fallback)
    clock.now += 60
    fallback.over()
    assert take(fallback).admitted == 0


@pytest.mark.parametrize(("mode", "admitted"), [("open", 1), ("closed", 0)])
def test_open_lets_all_pass_and_closed_nothing(mode: FallbackMode, admitted: int) -> None:
    fallback = Fallback(mode, SetClock())
    decisions = [take(fallback) for _ in range(200)]
    assert {decision.admitted for decision in decisions} == {admitted}
    # A client that is refused may come back.
    assert all(decision.retry_after is not None for decision in decisions)


def test_header_names_the_tenants_limit_and_the_rule_that_decides() -> None:
    clock = SetClock()
    headers = dict(limit_headers(take(Fallback("divide", clock))))
    assert headers[b"ratelimit-policy"] == b'"users.write";q=40;w=1;burst=80'
    assert headers[b"ratelimit"].endswith(b";fallback=divide")


@pytest.mark.parametrize("given", ["short", "not base64!", base64.b64encode(bytes(31)).decode()])
def test_key_that_is_none_stops_the_start(given: str) -> None:
    settings = MeshSettings(peer_key=given)
    with pytest.raises(SettingsError, match="MESH_PEER_KEY"):
        peer_key(settings)


async def test_with_tenants_from_a_folder_there_is_nobody_to_share_with(tmp_path: Path) -> None:
    settings = MeshSettings(tenants=str(tmp_path), peer_key=KEY)
    admin = bind("127.0.0.1", 0, "tests")
    async with joining(settings, "user-service", admin) as replica:
        assert isinstance(replica.limiter, RateLimiter)
        assert replica.admin == NO_PART
    admin.close()


async def test_without_a_key_replicas_divide_and_say_why() -> None:
    # Closed would refuse everything for good: there is nobody to come back.
    settings = MeshSettings(rate_limit_fallback="closed")
    async with sharing(settings, "a") as shared:
        alone = [shared.limiter.take(TENANT, LIMIT) for _ in range(81)]
        assert sum(d.admitted for d in alone if isinstance(d, Decision)) >= 80
        assert not any(isinstance(decision, FallbackDecision) for decision in alone)
        shared.members({"a": "http://a", "b": "http://b"})
        decision = shared.limiter.take(make_context("tenant-b"), LIMIT)
        assert isinstance(decision, FallbackDecision)
        assert (decision.admitted, decision.fallback) == (1, "divide")
        assert shared.state() == "divided by 2 replicas: MESH_PEER_KEY is not set"


async def test_replica_alone_has_its_limits_to_itself_also_with_a_key() -> None:
    settings = MeshSettings(peer_key=KEY)
    async with sharing(settings, "a") as shared:
        shared.members({"a": "http://a"})
        taken = [shared.limiter.take(TENANT, LIMIT) for _ in range(80)]
        assert all(isinstance(decision, Decision) and decision.admitted for decision in taken)
        assert shared.state() == "one replica"


async def test_members_that_do_not_answer_are_named() -> None:
    settings = MeshSettings(peer_key=KEY)
    async with sharing(settings, "a") as shared:
        shared.members({"a": "", "b": "http://127.0.0.1:1", "c": "http://127.0.0.1:1"})
        shared.peers.failed("b", 0.0, refused=False)
        assert shared.state() == "shared by 3 replicas; do not answer: b"
