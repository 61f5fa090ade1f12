"""Who has reached a goal: what counts, what does not yet, and who is not waited for any longer."""

from typing import Any

import pytest

from builders import condition, tenant_object
from mesh.tenants_goal import Goal, Waiting, lack
from mesh.tenants_status import TenantStatus, read_tenant
from meshkit.kube.objects import WatchEvent

DELETING = {"deletionTimestamp": "2026-11-24T10:00:00Z", "finalizers": ["x/y"]}


def tenant(*conditions: dict[str, Any], **changes: Any) -> TenantStatus:
    return read_tenant(tenant_object("tenant-a", *conditions, **changes))


def waiting(goal: Goal = Goal.ENFORCED, *names: str) -> Waiting:
    return Waiting(goal, [read_tenant(tenant_object(name)) for name in names or ("tenant-a",)])


def event(kind: str, *conditions: dict[str, Any], **changes: Any) -> WatchEvent:
    return WatchEvent(kind, tenant_object("tenant-a", *conditions, **changes))


@pytest.mark.parametrize("goal", [Goal.ENFORCED, Goal.READY, Goal.ACCEPTED])
def test_condition_that_holds_reaches_the_goal_of_its_name(goal: Goal) -> None:
    assert lack(goal, tenant(condition(goal.value.title()))) is None
    assert lack(goal, tenant(condition("Other"))) is not None


def test_condition_of_an_older_generation_counts_for_nothing() -> None:
    old = condition("Enforced", observedGeneration=1)
    lacking = lack(Goal.ENFORCED, tenant(old, generation=2, observedGeneration=1))
    assert lacking is not None
    assert "is the operator running?" in lacking.message


def test_generation_of_the_status_counts_where_a_condition_has_none() -> None:
    assert lack(Goal.ENFORCED, tenant(condition("Enforced"), generation=2)) is None
    behind = tenant(condition("Enforced"), generation=2, observedGeneration=1)
    assert lack(Goal.ENFORCED, behind) is not None


def test_generation_of_the_condition_goes_before_that_of_the_status() -> None:
    newer = condition("Enforced", observedGeneration=2)
    assert lack(Goal.ENFORCED, tenant(newer, generation=2, observedGeneration=1)) is None


def test_enforced_policy_of_a_spec_that_is_not_accepted_is_no_success() -> None:
    refused = condition("Accepted", "False", "UnknownPlan", "spec.plan: there is none")
    lacking = lack(Goal.ENFORCED, tenant(condition("Enforced"), refused))
    assert str(lacking) == "Accepted=False (UnknownPlan): spec.plan: there is none"


def test_tenant_without_any_status_is_not_looked_at_yet() -> None:
    bare = tenant_object("tenant-a")
    del bare["status"]
    lacking = lack(Goal.READY, read_tenant(bare))
    assert lacking is not None
    assert "not looked at yet" in str(lacking)


def test_operator_that_looked_and_has_not_got_so_far_is_told_from_one_that_does_not_run() -> None:
    lacking = lack(Goal.ENFORCED, tenant(condition("Accepted")))
    assert lacking is not None
    assert "running" not in lacking.message


def test_waiting_ends_when_all_are_there_at_once() -> None:
    two = waiting(Goal.ENFORCED, "tenant-a", "tenant-b")
    two.put(read_tenant(tenant_object("tenant-a", condition("Enforced"))))
    assert (two.over, two.reached) == (False, ["tenant-a"])
    two.put(read_tenant(tenant_object("tenant-a", generation=2, observedGeneration=1)))
    two.put(read_tenant(tenant_object("tenant-b", condition("Enforced"))))
    assert (two.over, two.reached) == (False, ["tenant-b"])
    two.put(read_tenant(tenant_object("tenant-a", condition("Enforced"), generation=2)))
    assert two.over


def test_tenant_that_is_deleted_meanwhile_is_not_waited_for() -> None:
    one = waiting()
    assert one.take(event("DELETED"))
    assert (one.over, one.lost) == (True, {"tenant-a": "it was deleted"})


def test_tenant_that_begins_to_be_deleted_is_not_waited_for() -> None:
    one = waiting()
    one.take(event("MODIFIED", condition("Enforced"), metadata=DELETING))
    assert (one.over, one.lost) == (True, {"tenant-a": "it is being deleted"})


def test_tenant_that_came_again_under_the_name_is_another_one() -> None:
    one, gone = waiting(), waiting(Goal.DELETED)
    again = event("ADDED", condition("Enforced"), metadata={"uid": "second"})
    assert one.take(again)
    assert gone.take(again)
    assert one.lost == {"tenant-a": "it was deleted"}
    assert gone.reached == ["tenant-a"]


def test_deletion_is_reached_when_the_object_is_gone() -> None:
    one = waiting(Goal.DELETED)
    assert "kubectl delete tenant tenant-a" in str(one)
    one.take(event("MODIFIED", metadata=DELETING))
    assert "held by x/y" in str(one)
    erasing = condition("Deleting", "True", "Erasing", "4,000 points left")
    one.take(event("MODIFIED", erasing, metadata=DELETING))
    assert "4,000 points left" in str(one)
    one.take(event("DELETED"))
    assert one.over
    assert one.reached == ["tenant-a"]


def test_list_after_a_gap_says_who_is_gone() -> None:
    deleted, enforced = waiting(Goal.DELETED), waiting()
    deleted.take_all([])
    enforced.take_all([tenant(condition("Enforced"))])
    assert deleted.reached == enforced.reached == ["tenant-a"]


def test_other_tenants_and_bookmarks_change_nothing() -> None:
    one = waiting()
    assert not one.take(WatchEvent("ADDED", tenant_object("tenant-z")))
    assert not one.take(WatchEvent("DELETED", tenant_object("tenant-z")))
    assert not one.take(WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "9"}}))
    assert not one.take(event("MODIFIED"))


def test_many_who_are_missing_are_named_up_to_three() -> None:
    many = waiting(Goal.READY, *(f"tenant-{n}" for n in range(10)))
    assert str(many).startswith("10 of 10 not ready yet; tenant-0: ")
    assert str(many).endswith("and 7 more")
