"""Who is live, and whom an acknowledgement concerns."""

from datetime import UTC, datetime

from meshkit.membership.lease import Member, lease_document
from tenant_operator.membership import Membership

WALL = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Replicas:
    """A membership with its clock, and Leases that are renewed when told so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.membership = Membership(lambda: self.now, lambda: WALL)

    def renew(self, identity: str, applied: int = 0) -> bool:
        member = Member("user-service", identity, applied_version=applied)
        renewed = datetime.fromtimestamp(WALL.timestamp() + self.now - 1000, UTC)
        self.membership.saw(lease_document(member, renewed))
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
    replicas.membership.gone("mesh-user-service-a")
    assert replicas.membership.look()
    assert replicas.live() == []


def test_members_of_a_service_are_found() -> None:
    replicas = Replicas()
    replicas.renew("a")
    assert len(replicas.membership.of("user-service", "mesh")) == 1
    assert len(replicas.membership.of("ai-gateway")) == 0
