"""What policy a Tenant is to have, and what stays where it cannot have it."""

from typing import Any

import pytest

from builders import make_policy, plan_document, tenant_document
from meshkit.tenancy.policy import TenantPolicy, TenantState
from tenant_operator.policies import (
    Claim,
    Decision,
    decide,
    last_policy,
    leaving,
    policy_document,
    read_policy,
    stands,
    terminating,
)


def tenant(name: str = "tenant-a", uid: str = "uid-1", **spec: Any) -> dict[str, Any]:
    return tenant_document(name, {"uid": uid}, **spec)


GOOD = decide(tenant(), None, None).policy
assert GOOD is not None


def refused(decision: Decision, reason: str, kept: TenantPolicy | None = GOOD) -> str:
    assert decision.accepted.status == "False"
    assert decision.accepted.reason == reason
    assert decision.policy == kept
    return decision.accepted.message


def test_tenant_on_its_plan_is_resolved() -> None:
    plan = plan_document("gold", defaults={"weight": 7})
    decision = decide(tenant(plan="gold"), plan, None)
    assert decision.accepted.status == "True"
    assert decision.policy is not None
    assert (decision.policy.weight.value, decision.policy.tenant_uid) == (7, "uid-1")


def test_unknown_plan_keeps_the_last_policy_and_names_the_field() -> None:
    assert "spec.plan" in refused(decide(tenant(plan="x"), None, GOOD), "UnknownPlan")


def test_broken_plan_keeps_the_last_policy_and_names_both() -> None:
    plan = plan_document("gold", defaults={"weight": 1000})
    message = refused(decide(tenant(plan="gold"), plan, GOOD), "InvalidPlan")
    assert "gold" in message
    assert "spec.defaults.weight" in message


def test_spec_that_no_schema_caught_keeps_the_last_policy() -> None:
    broken = tenant(rateLimits=[{"name": "users.write", "requests": 5, "burst": 0}])
    assert "rateLimits" in refused(decide(broken, None, GOOD), "InvalidSpec")


def test_models_that_do_not_resolve_keep_the_last_policy() -> None:
    broken = tenant(llm={"models": ["a"], "defaultModel": "b"})
    assert "spec.llm.defaultModel" in refused(decide(broken, None, GOOD), "DoesNotResolve")


def test_tenant_that_was_never_good_has_no_policy() -> None:
    refused(decide(tenant(plan="x"), None, None), "UnknownPlan", None)


def test_uid_that_another_tenant_has_is_not_given_to_a_second_one() -> None:
    owner = Claim(tenant("owner", "uid-9"), None)
    thief = tenant("thief", "uid-2", adoptUid="uid-9")
    message = refused(decide(thief, None, None, {"owner": owner}), "UidTaken", None)
    assert "spec.adoptUid" in message
    assert "owner" in message
    rival = {"thief": Claim(thief, None)}
    assert decide(tenant("owner", "uid-9"), None, None, rival).accepted.status == "True"


def test_what_the_operator_wrote_into_the_status_is_no_part_of_the_tenant() -> None:
    with_status = tenant() | {"status": {"anything": object()}}
    assert decide(with_status, None, None).policy == GOOD


def test_policy_stands_only_as_it_was_wanted_and_owned() -> None:
    assert GOOD is not None
    wanted = policy_document(tenant(), GOOD)
    assert stands(wanted, wanted)
    assert not stands(wanted | {"spec": {}}, wanted)
    assert not stands(policy_document(tenant(uid="uid-2"), GOOD), wanted)


@pytest.mark.parametrize(
    "found",
    [
        None,
        {"metadata": {"name": "tenant-a"}},
        {"metadata": {"name": "tenant-a"}, "spec": {"tenantId": "tenant-a"}},
        {"metadata": {"name": "tenant-a"}, "spec": make_policy("tenant-b").document()},
    ],
    ids=["none", "no spec", "half a spec", "another tenant's"],
)
def test_policy_that_cannot_be_read_is_none(found: dict[str, Any] | None) -> None:
    assert read_policy(found) is None


def test_policy_of_an_earlier_incarnation_is_none() -> None:
    assert GOOD is not None
    found = policy_document(tenant(), GOOD)
    assert read_policy(found, tenant()) == GOOD
    assert read_policy(found, tenant(uid="uid-2")) is None


def test_tenant_being_erased_is_terminating_under_its_own_uid() -> None:
    assert GOOD is not None
    fenced = terminating(tenant(), GOOD)
    assert fenced.state is TenantState.TERMINATING
    assert fenced.revision != GOOD.revision
    assert terminating(tenant(), fenced) == fenced
    # Also one that was never good, and one that asked for another's uid and never got it.
    for never_good in (tenant(plan="x"), tenant(adoptUid="uid-9")):
        assert terminating(never_good, None).tenant_uid == "uid-1"


def test_tenant_that_adopted_data_erases_that() -> None:
    adopter = tenant(adoptUid="uid-9")
    in_force = decide(adopter, None, None).policy
    assert terminating(adopter, last_policy(adopter, None, in_force, {})).tenant_uid == "uid-9"


def test_tenant_that_was_refused_a_uid_erases_its_own_data_only() -> None:
    owner = Claim(tenant("owner", "uid-9"), None)
    thief = tenant("thief", "uid-2", adoptUid="uid-9")
    last = last_policy(thief, None, None, {"owner": owner})
    assert terminating(thief, last).tenant_uid == "uid-2"


def test_tenant_that_leaves_its_data_is_suspended() -> None:
    assert GOOD is not None
    assert leaving(GOOD).state is TenantState.SUSPENDED
