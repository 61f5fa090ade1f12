"""How tenants of a cluster look, and what is read from what their operator wrote."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from builders import condition, make_policy, tenant_object
from mesh import tenants_view as view
from mesh.command import telling
from mesh.tenants_status import Entry, Found, age, problem_of, read_tenant, split_path

NOW = datetime(2026, 11, 24, 10, 5, tzinfo=UTC)


def entry(*conditions: dict[str, Any], policy: bool = True, **changes: Any) -> Entry:
    status = read_tenant(tenant_object("tenant-a", *conditions, **changes))
    return Entry("tenant-a", make_policy("tenant-a") if policy else None, status)


def shown(*parts: Any) -> str:
    console = Console(file=StringIO(), width=200)
    for part in parts:
        console.print(part)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def cells(one: Entry) -> list[str]:
    text = shown(view.listing(Found({one.name: one}, (), "mesh")))
    (line,) = [line for line in text.splitlines() if "tenant-a" in line]
    return [cell.strip() for cell in line.split("│")[1:-1]]


def test_list_of_a_cluster_says_who_is_ready_and_enforced_where() -> None:
    one = entry(condition("Ready"), enforcedReplicas="3/3", usage={"storedUsers": "87/1000"})
    assert cells(one)[-3:] == ["87/1000", "True", "3/3"]


def test_list_says_in_one_word_why_a_tenant_is_not_ready() -> None:
    assert cells(entry(condition("Ready", "False", "Waiting")))[-2:] == ["False: Waiting", "-"]


def test_status_about_an_older_edit_is_not_taken_for_the_newest_ones() -> None:
    one = entry(condition("Ready"), generation=2, observedGeneration=1, enforcedReplicas="3/3")
    assert cells(one)[-2:] == ["not looked at yet", "-"]
    assert "True, of an older edit" in shown(*view.details(one, NOW))


def test_tenant_without_a_policy_is_listed_with_what_is_known() -> None:
    one = entry(policy=False, spec={"plan": "gold"})
    assert cells(one)[1:3] == ["gold", "no policy"]
    assert "no policy of it is in force" in shown(*view.details(one, NOW))


def test_policy_without_its_tenant_is_listed_too() -> None:
    assert cells(Entry("tenant-a", make_policy("tenant-a")))[-2:] == ["-", "-"]


def test_show_has_the_conditions_with_reason_message_and_age() -> None:
    text = shown(*view.details(entry(condition("Enforced", "False", "Waiting", "[b]2 of 3")), NOW))
    row = next(line for line in text.splitlines() if "Enforced" in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [
        *("Enforced", "False", "Waiting", "[b]2 of 3", "5m")
    ]


def test_show_says_who_holds_a_tenant_that_is_being_deleted() -> None:
    metadata = {"deletionTimestamp": "2026-11-24T10:00:00Z", "finalizers": ["x/y"]}
    one = entry(metadata=metadata)
    assert "being deleted since 2026-11-24T10:00:00Z, held by x/y" in shown(*view.details(one, NOW))
    assert cells(one)[-2] == "being deleted"


def test_json_has_the_policy_and_beside_it_the_status() -> None:
    one = entry(condition("Ready"))
    values = view.document(one)
    assert one.policy is not None
    assert values.items() >= one.policy.document().items()
    assert values["status"]["conditions"][0]["type"] == "Ready"
    bare = view.document(entry(policy=False, spec={"plan": "gold"}))
    assert (bare["tenantId"], bare["plan"], bare["generation"]) == ("tenant-a", "gold", 1)


def test_tenant_that_is_not_accepted_is_a_problem_with_its_path() -> None:
    refused = condition("Accepted", "False", "UnknownPlan", "spec.plan: there is no TenantPlan 'x'")
    problem = problem_of(read_tenant(tenant_object("tenant-a", refused)))
    assert problem is not None
    assert (problem.path, problem.message) == ("spec.plan", "there is no TenantPlan 'x'")
    assert view.problem_line(problem) == "tenant-a: spec.plan: there is no TenantPlan 'x'"


def test_tenant_that_nobody_looked_at_is_a_problem() -> None:
    stale = tenant_object("tenant-a", condition("Accepted"), generation=3, observedGeneration=2)
    problem = problem_of(read_tenant(stale))
    assert problem is not None
    assert problem.message == "not looked at yet (is the operator running?)"
    assert problem_of(read_tenant(tenant_object("tenant-a", condition("Accepted")))) is None


def test_deletion_that_nobody_began_is_a_problem_with_its_way_out() -> None:
    metadata = {"deletionTimestamp": "2026-11-24T10:00:00Z"}
    begun = tenant_object("tenant-a", condition("Deleting"), metadata=metadata)
    assert problem_of(read_tenant(begun)) is None
    stuck = begun | {"status": {"observedGeneration": 0}}
    problem = problem_of(read_tenant(stuck))
    assert problem is not None
    assert problem.message.endswith("mesh tenants release tenant-a")


def test_names_stay_whole_in_a_narrow_terminal() -> None:
    console = Console(file=StringIO(), width=70)
    one = entry(condition("Ready"), enforcedReplicas="3/3")
    console.print(view.listing(Found({"tenant-a": one}, (), "mesh")))
    assert isinstance(console.file, StringIO)
    assert "tenant-a" in console.file.getvalue()


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ("spec.rateLimits[users.write].burst: too low", "spec.rateLimits[users.write].burst"),
        ("metadata.annotations[mesh/uid]: is taken", "metadata.annotations[mesh/uid]"),
        ("special: no path", ""),
        ("spec: is required", "spec"),
        ("no path", ""),
    ],
)
def test_path_is_what_a_message_begins_with(message: str, path: str) -> None:
    found, rest = split_path(message)
    assert found == path
    assert rest == message.removeprefix(f"{path}: " if path else "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (172_800, "2d")],
)
def test_age_is_said_as_kubectl_says_it(seconds: int, text: str) -> None:
    assert age(NOW - timedelta(seconds=seconds), NOW) == text


def test_progress_is_a_line_for_each_change_where_there_is_no_terminal() -> None:
    console = Console(file=StringIO(), width=10, force_terminal=False)
    with telling(console) as say:
        for text in ("a [b] line longer than ten", "a [b] line longer than ten", "done"):
            say(text)
    assert isinstance(console.file, StringIO)
    assert console.file.getvalue() == "a [b] line longer than ten\ndone\n"


def test_progress_is_one_line_that_changes_on_a_terminal() -> None:
    console = Console(file=StringIO(), width=80, force_terminal=True)
    with telling(console) as say:
        say("1 of 2 [users.write]")
    assert isinstance(console.file, StringIO)
    assert "1 of 2 [users.write]" in console.file.getvalue()
