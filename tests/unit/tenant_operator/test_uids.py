"""Whose data it is, and what is news: what fault schedules found, one at a time."""

from typing import Any

from builders import tenant_document
from meshkit.kube.objects import Object
from meshkit.tenancy.policy import TenantPolicy
from tenant_operator.observed import Kept, Objects, Observed
from tenant_operator.policies import Claim, decide, last_policy, terminating


def made(name: str, version: int = 1, **spec: Any) -> Object:
    metadata = {"uid": f"uid-of-{name}", "resourceVersion": str(version), "generation": version}
    return tenant_document(name, metadata, **spec)


def accepted(found: Object) -> TenantPolicy:
    policy = decide(found, None, None).policy
    assert policy is not None
    return policy


def test_tenant_that_was_refused_a_uid_erases_its_own_data() -> None:
    owner, thief = made("owner"), made("thief", adoptUid="uid-of-owner")
    rivals = {"owner": Claim(owner, accepted(owner))}
    assert terminating(thief, last_policy(thief, None, None, rivals)).tenant_uid == "uid-of-thief"


def test_tenant_that_adopted_erases_what_it_adopted() -> None:
    heir = made("heir", adoptUid="uid-of-nobody")
    last = last_policy(heir, None, accepted(heir), {})
    assert terminating(heir, last).tenant_uid == "uid-of-nobody"


def test_policy_under_the_uid_of_another_is_not_kept() -> None:
    owner, thief = made("owner"), made("thief", adoptUid="uid-of-owner")
    taken = accepted(thief)
    assert decide(thief, None, taken, {"owner": Claim(owner, None)}).policy is None


def test_own_uid_is_nobody_elses_while_its_tenant_is_there() -> None:
    elsewhere = made("elsewhere", adoptUid="uid-of-nobody")
    other = made("other", adoptUid="uid-of-elsewhere")
    rivals = {"elsewhere": Claim(elsewhere, accepted(elsewhere))}
    assert decide(other, None, None, rivals).accepted.reason == "UidTaken"


def test_tenant_whose_adopted_uid_is_none_can_be_erased() -> None:
    broken = made("broken", adoptUid="no uid/at all")
    assert terminating(broken, last_policy(broken, None, None, {})).tenant_uid == "uid-of-broken"


def test_late_event_does_not_bring_back_what_a_list_has_not() -> None:
    tenants = Objects()
    tenants.listed([Kept.of(made("a", 3))], 3)
    tenants.removed(made("a", 5))
    tenants.listed([], 6)
    assert not tenants.saw(made("a", 4))
    assert tenants.get("a") is None


def test_old_list_removes_nothing_newer() -> None:
    tenants = Objects()
    tenants.saw(made("a", 7))
    tenants.listed([], 6)
    assert tenants.get("a") is not None


def test_edit_that_comes_with_the_answer_to_a_write_is_news() -> None:
    observed = Observed()
    observed.tenants.saw(made("a", 1, plan="gold"))
    observed.tenant_changed("a")
    edited = made("a", 2, plan="tin")
    assert observed.tenant_written(edited) == {"a"}
    assert observed.on_plan("tin") == {"a"}


def test_answer_to_a_write_of_its_own_is_no_news() -> None:
    observed = Observed()
    found = made("a", 1)
    observed.tenants.saw(found)
    observed.tenant_changed("a")
    written = found | {"metadata": found["metadata"] | {"resourceVersion": "2"}, "status": {}}
    assert observed.tenant_written(written) == set()
