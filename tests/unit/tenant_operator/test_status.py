"""What a Tenant's status says, and when it is written."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from builders import make_policy
from meshkit.membership.lease import Member
from tenant_operator.conditions import ACCEPTED, FALSE, TRUE, Condition, merged
from tenant_operator.status import (
    Enforcement,
    Findings,
    deleting,
    enforcement,
    is_written,
    status_document,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
GOOD = Condition(ACCEPTED, TRUE, "Resolved", "resolved with plan gold")
BAD = Condition(ACCEPTED, FALSE, "UnknownPlan", "spec.plan: there is no TenantPlan named 'x'")


def tenant(status: dict[str, Any] | None = None, generation: int = 3) -> dict[str, Any]:
    metadata = {"name": "tenant-a", "uid": "u", "generation": generation}
    return {"metadata": metadata, "spec": {}} | ({"status": status} if status else {})


def said(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}


@pytest.mark.parametrize(
    ("findings", "enforced", "ready"),
    [
        (Findings(GOOD, make_policy(), Enforcement(3)), ("True", "AllReplicas"), ("True", "Ready")),
        (
            Findings(GOOD, make_policy(), Enforcement(3, ["user-service x"])),
            ("False", "Propagating"),
            ("False", "Propagating"),
        ),
        (
            Findings(GOOD, make_policy(), Enforcement(0)),
            ("Unknown", "NoReplicas"),
            ("Unknown", "NoReplicas"),
        ),
        (
            Findings(BAD, make_policy(), Enforcement(3)),
            ("False", "NotAccepted"),
            ("False", "UnknownPlan"),
        ),
        (Findings(BAD, None, Enforcement(3)), ("False", "NoPolicy"), ("False", "UnknownPlan")),
    ],
    ids=["in force", "one lags", "nobody there", "refused, old one in force", "never accepted"],
)
def test_conditions_say_what_is_found(
    findings: Findings, enforced: tuple[str, str], ready: tuple[str, str]
) -> None:
    status = status_document(tenant(), findings, NOW)
    assert said(status)["Enforced"] == enforced
    assert said(status)["Ready"] == ready


def test_status_that_says_the_same_is_not_written_again() -> None:
    findings = Findings(GOOD, make_policy(), Enforcement(2))
    status = status_document(tenant(), findings, NOW)
    later = status_document(tenant(status), findings, NOW + timedelta(hours=1))
    assert later == status
    assert is_written(tenant(status), later)
    # What others have added does not count.
    assert is_written(tenant(status | {"usage": {"storedUsers": "3/10"}}), later)


def test_status_is_written_where_something_is_to_be_taken_out() -> None:
    findings = Findings(GOOD, make_policy(), Enforcement(2))
    status = status_document(tenant(), findings, NOW)
    without = status_document(tenant(status), Findings(BAD, None, Enforcement(2)), NOW)
    assert "policyRevision" not in without
    assert not is_written(tenant(without | {"policyRevision": "r1"}), without)


def test_transition_time_moves_with_the_status_of_a_condition_only() -> None:
    first = merged((), [GOOD], 1, NOW)
    again = merged(first, [Condition(ACCEPTED, TRUE, "Other", "words")], 2, NOW + timedelta(1))
    assert again[0]["lastTransitionTime"] == first[0]["lastTransitionTime"]
    assert again[0]["observedGeneration"] == 2
    changed = merged(first, [BAD], 2, NOW + timedelta(1))
    assert changed[0]["lastTransitionTime"] == "2026-11-25T12:00:00Z"


def test_deletion_shows_its_progress() -> None:
    findings = Findings(
        GOOD,
        make_policy(),
        Enforcement(2),
        deleting("Erasing", "7 points and 3 keys are left"),
        {"points": 7},
    )
    status = status_document(tenant(), findings, NOW)
    assert said(status)["Deleting"] == ("True", "Erasing")
    assert status["erasure"] == {"points": 7}


def test_only_members_at_the_version_obey_it() -> None:
    members = [Member("user-service", f"u{n}", applied_version=n) for n in (5, 6, 7)]
    assert str(enforcement("tenant-a", 6, members)) == "2/3"
    assert not enforcement("tenant-a", 6, members).complete
    assert enforcement("tenant-a", 5, members).complete


def test_tenant_without_a_policy_is_obeyed_by_nobody() -> None:
    assert str(enforcement("tenant-a", 0, [Member("user-service", "u", 9)])) == "0/1"


def test_long_list_of_laggards_is_told_in_short() -> None:
    members = [Member("user-service", f"u{n}") for n in range(9)]
    status = status_document(
        tenant(), Findings(GOOD, make_policy(), enforcement("tenant-a", 1, members)), NOW
    )
    (message,) = [c["message"] for c in status["conditions"] if c["type"] == "Enforced"]
    assert message.endswith("user-service u2 and 6 more")
