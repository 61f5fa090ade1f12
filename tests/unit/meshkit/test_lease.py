"""Leases of members: written, read back, and judged by how long ago we saw them change."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from meshkit.membership.lease import (
    EVERY_TENANT,
    MEMBER_LABEL,
    Member,
    Roster,
    lease_document,
    lease_name,
    micro_time,
    parse_lease,
)

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
POD = {"apiVersion": "v1", "kind": "Pod", "name": "users-1", "uid": "8d3f"}


def lease(identity: str = "users-1", renewed: datetime = NOW, **member: Any) -> dict[str, Any]:
    return lease_document(Member("user-service", identity, **member), renewed)


def names(roster: Roster, now: float) -> list[str]:
    return [member.identity for member in roster.live(now)]


@given(
    service=NAMES,
    identity=NAMES,
    applied_version=st.integers(0, 2**63),
    not_applied=st.frozensets(NAMES, max_size=20),
    admin_url=st.sampled_from(["", "http://10.0.0.1:9081"]),
    lease_seconds=st.integers(3, 60),
    owner=st.sampled_from([{}, POD]),
)
def test_member_that_is_written_is_read_back(**fields: Any) -> None:
    member = Member(**fields)
    assert parse_lease(lease_document(member, NOW)) == member


@given(identity=st.text(max_size=300))
def test_name_of_a_lease_is_a_dns_subdomain_whatever_the_identity(identity: str) -> None:
    name = lease_name("user-service", identity)
    assert len(name) <= 253
    label = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
    assert re.fullmatch(rf"{label}(\.{label})*", name)


def test_lease_of_somebody_else_is_no_member() -> None:
    foreign = lease()
    foreign["metadata"]["labels"] = {"app": "leader-election"}
    assert parse_lease(foreign) is None
    bare = {"metadata": {"name": "kube-scheduler"}, "spec": None}
    assert parse_lease(bare) is None


def test_lease_with_odd_annotations_is_of_a_member_that_has_applied_nothing() -> None:
    odd = lease()
    odd["metadata"]["annotations"] = {
        "mesh.distributedai.io/applied-version": "latest",
        "mesh.distributedai.io/not-applied": "{",
    }
    member = parse_lease(odd)
    assert member is not None
    assert (member.applied_version, member.not_applied) == (0, frozenset())


def test_member_obeys_what_it_has_applied_except_what_it_could_not_read() -> None:
    member = Member("user-service", "users-1", applied_version=7, not_applied=frozenset({"odd"}))
    assert member.obeys("tenant-a", 7)
    assert not member.obeys("tenant-a", 8)
    assert not member.obeys("odd", 7)


@given(count=st.integers(0, 300))
def test_tenant_that_is_not_obeyed_is_never_taken_for_obeyed(count: int) -> None:
    unread = frozenset(f"tenant-{number}" for number in range(count))
    member = parse_lease(lease(applied_version=7, not_applied=unread))
    assert member is not None
    assert not any(member.obeys(name, 7) for name in unread)
    assert member.obeys("other", 7) == (EVERY_TENANT not in member.not_applied)


def test_member_is_live_until_its_lease_has_not_changed_for_its_duration() -> None:
    roster = Roster()
    roster.saw(lease(lease_seconds=15), 100.0, NOW)
    assert names(roster, 114.9) == ["users-1"]
    assert names(roster, 115.0) == []
    roster.saw(lease(renewed=NOW + timedelta(seconds=5), lease_seconds=15), 116.0, NOW)
    assert names(roster, 130.0) == ["users-1"]


def test_lease_that_is_seen_again_unchanged_is_not_renewed_by_that() -> None:
    roster = Roster()
    roster.saw(lease(lease_seconds=15), 100.0, NOW)
    roster.saw(lease(lease_seconds=15), 110.0, NOW)
    assert names(roster, 114.0) == ["users-1"]
    assert names(roster, 116.0) == []


@given(skew=st.floats(-3600, 59))
def test_clock_of_another_machine_does_not_decide_who_is_live(skew: float) -> None:
    roster = Roster()
    roster.saw(lease(renewed=NOW - timedelta(seconds=skew), lease_seconds=15), 100.0, NOW)
    assert names(roster, 101.0) == ["users-1"]


def test_lease_that_was_left_long_ago_is_not_live_at_first_sight() -> None:
    roster = Roster()
    roster.saw(lease(renewed=NOW - timedelta(hours=1)), 100.0, NOW)
    assert names(roster, 100.0) == []
    # It was only asleep: renewed, it is live, however its clock goes.
    roster.saw(lease(renewed=NOW - timedelta(minutes=59)), 101.0, NOW)
    assert names(roster, 101.0) == ["users-1"]


def test_leases_that_ended_are_named_once_nobody_will_renew_them() -> None:
    roster = Roster()
    roster.saw(lease("users-1", lease_seconds=15), 100.0, NOW)
    roster.saw(lease("users-2", lease_seconds=15), 140.0, NOW)
    assert roster.ended(150.0, for_seconds=60) == []
    assert roster.ended(176.0, for_seconds=60) == [lease_name("user-service", "users-1")]


def test_lease_that_is_gone_or_no_longer_ours_is_forgotten() -> None:
    roster = Roster()
    for identity in ("users-1", "users-2", "users-3"):
        roster.saw(lease(identity), 100.0, NOW)
    roster.gone(lease_name("user-service", "users-1"))
    taken = lease("users-2")
    del taken["metadata"]["labels"][MEMBER_LABEL]
    roster.saw(taken, 100.0, NOW)
    assert names(roster, 100.0) == ["users-3"]


def test_leases_that_a_new_list_does_not_have_are_forgotten() -> None:
    roster = Roster()
    for identity in ("users-1", "users-2"):
        roster.saw(lease(identity), 100.0, NOW)
    roster.keep_only([lease_name("user-service", "users-2"), "somebody-elses"])
    assert names(roster, 100.0) == ["users-2"]


def test_next_end_is_of_the_live_lease_that_ends_first() -> None:
    roster = Roster()
    assert roster.next_end(0.0) is None
    roster.saw(lease("users-1", lease_seconds=15), 100.0, NOW)
    roster.saw(lease("users-2", lease_seconds=30), 100.0, NOW)
    assert roster.next_end(105.0) == 10.0
    assert roster.next_end(120.0) == 10.0
    assert roster.next_end(130.0) is None


@given(when=st.datetimes(timezones=st.just(UTC), min_value=datetime(1990, 1, 1)))
def test_time_of_renewal_keeps_its_microseconds(when: datetime) -> None:
    assert datetime.fromisoformat(micro_time(when)) == when
