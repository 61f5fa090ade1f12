"""Which tenants may be erased: what this process's own policies say, by the very uid."""

import pytest

from builders import make_policy
from meshkit.errors import InvalidRequest, TenantNotTerminating
from meshkit.tenancy.policy import TenantPolicy, TenantState
from meshkit.tenancy.static import StaticTenantSource
from meshkit.tenancy.terminating import TerminatingTenants


def leaving(name: str = "tenant-a", **more: object) -> TenantPolicy:
    return make_policy(name, state=TenantState.TERMINATING, **more)


def test_only_a_terminating_tenant_is_found_by_its_uid() -> None:
    suspended = make_policy("tenant-c", state=TenantState.SUSPENDED)
    tenants = StaticTenantSource(leaving(), make_policy("tenant-b"), suspended)
    terminating = TerminatingTenants(tenants)
    assert "uid-of-tenant-a" in terminating
    assert terminating.require("uid-of-tenant-a").tenant_id == "tenant-a"
    for uid in ("uid-of-tenant-b", "uid-of-tenant-c", "tenant-a", "uid-of-nobody"):
        assert uid not in terminating
        with pytest.raises(TenantNotTerminating):
            terminating.require(uid)


@pytest.mark.parametrize("uid", ["uid-of-tenant-", "uid-of-tenant-a1", "UID-OF-TENANT-A", "uid"])
def test_uid_that_is_nearly_the_one_is_another(uid: str) -> None:
    assert uid not in TerminatingTenants(StaticTenantSource(leaving()))


def test_edit_of_a_policy_is_seen_at_once() -> None:
    tenants = StaticTenantSource(make_policy())
    terminating = TerminatingTenants(tenants)
    assert "uid-of-tenant-a" not in terminating
    tenants.put(leaving())
    assert "uid-of-tenant-a" in terminating
    tenants.put(make_policy())
    assert "uid-of-tenant-a" not in terminating


def test_fence_outlives_the_policy_and_the_right_to_erase_does_not() -> None:
    tenants = StaticTenantSource(leaving())
    terminating = TerminatingTenants(tenants)
    assert "uid-of-tenant-a" in terminating
    tenants.put(make_policy(tenant_uid="second-life"))
    assert "uid-of-tenant-a" in terminating
    assert "second-life" not in terminating
    with pytest.raises(TenantNotTerminating):
        terminating.require("uid-of-tenant-a")
    tenants.remove("tenant-a")
    assert "uid-of-tenant-a" in terminating
    tenants.put(make_policy("tenant-b", tenant_uid="uid-of-tenant-a"))
    assert "uid-of-tenant-a" not in terminating
    tenants.remove("tenant-b")
    assert "uid-of-tenant-a" not in terminating


def test_uid_whose_data_was_adopted_is_not_terminating() -> None:
    adopter = make_policy("tenant-b", tenant_uid="uid-of-tenant-a")
    for policies in ((leaving(), adopter), (adopter, leaving())):
        assert "uid-of-tenant-a" not in TerminatingTenants(StaticTenantSource(*policies))


@pytest.mark.parametrize("uid", ["", " ", "a/../b", "a b", "*", "x" * 129, "é", "a\x00", "../a"])
def test_what_is_no_uid_is_refused_without_repeating_it(uid: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        TerminatingTenants(StaticTenantSource(leaving())).require(uid)
    assert not uid.strip() or uid not in refusal.value.detail
