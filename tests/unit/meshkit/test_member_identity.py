"""Who a replica is: its pod, or a process of a host."""

from typing import Any

import pytest

from meshkit.membership.identity import own_member
from meshkit.membership.lease import Member
from meshkit.settings import MeshSettings

POD: dict[str, Any] = {"pod_name": "users-7d4-x", "pod_uid": "8d3f", "pod_ip": "10.1.2.3"}


def member(*, with_owner: bool = True, **settings: Any) -> Member:
    told = MeshSettings.model_validate(settings)
    return own_member(told, "user-service", 9081, hostname="desk", with_owner=with_owner)


def test_replica_in_a_pod_is_its_pod_and_its_lease_goes_with_it() -> None:
    found = member(**POD)
    assert found.name == "mesh-user-service-users-7d4-x"
    assert found.admin_url == "http://10.1.2.3:9081"
    assert found.owner == {"apiVersion": "v1", "kind": "Pod", "name": "users-7d4-x", "uid": "8d3f"}


def test_lease_in_another_namespace_than_the_pod_has_no_owner() -> None:
    assert member(with_owner=False, **POD).owner == {}


def test_replica_without_a_pod_is_a_host_and_its_admin_port() -> None:
    found = member()
    assert (found.identity, found.owner) == ("desk-9081", {})
    assert found.admin_url == "http://127.0.0.1:9081"


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"host": "0.0.0.0"}, "http://desk:9081"),  # noqa: S104
        ({"host": "::"}, "http://desk:9081"),
        ({"host": "192.168.1.5"}, "http://192.168.1.5:9081"),
        ({"host": "0.0.0.0", "pod_ip": "fd00::7"}, "http://[fd00::7]:9081"),  # noqa: S104
    ],
)
def test_admin_url_is_where_others_reach_it(settings: dict[str, Any], url: str) -> None:
    assert member(**settings).admin_url == url


@pytest.mark.parametrize("seconds", [2, 61])
def test_lease_lasts_three_to_sixty_seconds(seconds: int) -> None:
    with pytest.raises(ValueError, match="member_lease_seconds"):
        member(member_lease_seconds=seconds)
