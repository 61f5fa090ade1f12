"""Who is live, and whom an acknowledgement concerns."""

from datetime import UTC, datetime
from itertools import count

from meshkit.kube.objects import Object
from meshkit.membership.lease import Member, lease_document
from tenant_operator.membership import Membership
from tenant_operator.observed import Kept

WALL = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Replicas:
    """A membership with its clock, and Leases that are renewed when told so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.membership = Membership(lambda: self.now, lambda: WALL)
        self._versions = count(1)

    def lease(self, identity: str, applied: int = 0) -> Object:
        """A Lease that is renewed now, at the next version."""
        member = Member("user-service", identity, applied_version=applied)
        renewed = datetime.fromtimestamp(WALL.timestamp() + self.now - 1000, UTC)
        lease = lease_document(member, renewed)
        lease["metadata"]["resourceVersion"] = str(next(self._versions))
        return lease

    def renew(self, identity: str, applied: int = 0) -> bool:
        self.membership.saw(self.lease(identity, applied))
        return self.membership.look()

    def live(self) -> list[str]:
        return [member.identity for member in self.membership.live]


def test_replica_is_live_until_its_lease_ends() -> None:
    replicas = Replicas()
    assert replicas.renew("a")
    assert replicas.renew("b")
    replicas.now += 10
    assert not replicas.renew("b")
    replicas.now += 6
    assert replicas.membership.look()
    assert replicas.live() == ["b"]
    assert replicas.membership.next_end() == 9


def test_renewal_is_no_change_of_members() -> None:
    replicas = Replicas()
    replicas.renew("a")
    replicas.now += 5
    assert not replicas.renew("a", applied=7)


def test_acknowledgement_concerns_those_that_wait_for_it_only() -> None:
    replicas = Replicas()
    replicas.renew("a")
    for tenant, version in (("t5", 5), ("t7", 7), ("t6", 6)):
        replicas.membership.wait_for(tenant, version)
    assert list(replicas.membership.acknowledged()) == []
    replicas.renew("a", applied=6)
    assert list(replicas.membership.acknowledged()) == ["t5", "t6"]
    replicas.renew("a", applied=9)
    assert list(replicas.membership.acknowledged()) == ["t7"]


def test_replica_that_is_gone_is_no_member() -> None:
    replicas = Replicas()
    replicas.renew("a")
    replicas.membership.removed(replicas.lease("a"))
    assert replicas.membership.look()
    assert replicas.live() == []


def test_replica_that_obeys_less_than_before_is_another_one() -> None:
    replicas = Replicas()
    replicas.renew("a", applied=9)
    assert not replicas.renew("a", applied=10)
    assert replicas.renew("a", applied=1)
    assert not replicas.renew("a", applied=1)


def test_what_is_told_late_takes_nothing_back() -> None:
    replicas = Replicas()
    left, stuck = replicas.lease("a", applied=9), replicas.lease("a", applied=1)
    replicas.membership.saw(stuck)
    replicas.membership.saw(left)
    replicas.membership.look()
    assert [one.applied_version for one in replicas.membership.live] == [1]
    gone = replicas.lease("a")
    replicas.membership.removed(gone)
    replicas.membership.saw(stuck)
    assert replicas.membership.look()
    assert replicas.live() == []


def test_list_that_is_taken_in_late_takes_nothing_back() -> None:
    replicas = Replicas()
    replicas.renew("a")
    old = [Kept.of(replicas.lease("a", applied=9))]
    replicas.renew("a", applied=1)
    replicas.renew("b")
    replicas.membership.listed(old, version=2)
    replicas.membership.look()
    assert replicas.live() == ["a", "b"]
    assert replicas.membership.live[0].applied_version == 1
    replicas.membership.listed([], version=4)
    assert replicas.membership.look()
    assert replicas.live() == []


def test_members_of_a_service_are_found() -> None:
    replicas = Replicas()
    replicas.renew("a")
    assert len(replicas.membership.of("user-service", "mesh")) == 1
    assert len(replicas.membership.of("ai-gateway")) == 0
