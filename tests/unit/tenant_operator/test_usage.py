"""What a Tenant's status says of its usage, when it is written, and when somebody is warned."""

from datetime import UTC, datetime
from typing import Any

import pytest

from builders import make_policy, make_quota, make_quotas
from tenant_operator.conditions import ACCEPTED, TRUE, Condition
from tenant_operator.status import Enforcement, Findings, is_written, news, status_document
from tenant_operator.usage import TenantUsage, Used, nearly_used, rounded, usage_status

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
GOOD = Condition(ACCEPTED, TRUE, "Resolved", "resolved with plan gold")
POLICY = make_policy(quotas=make_quotas(storedUsers=1000, eventsPerDay=100))


def written(used: Used | None, before: dict[str, Any] | None = None) -> dict[str, Any]:
    return status_document(
        tenant(before or {}), Findings(GOOD, POLICY, Enforcement(2), used=used), NOW
    )


def tenant(status: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "tenant-a", "uid": "u"}, "spec": {}, "status": status}


def ready(status: dict[str, Any]) -> tuple[str, str]:
    (found,) = [c for c in status["conditions"] if c["type"] == "Ready"]
    return found["status"], found["reason"]


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, 0), (7, 7), (99, 99), (100, 100), (101, 100), (119, 110), (8049, 8000), (123456, 120000)],
)
def test_figures_have_two_digits_and_are_never_above_the_truth(number: int, shown: int) -> None:
    assert rounded(number) == shown


def test_status_shows_what_is_used_of_each_quota() -> None:
    usage = written({"storedUsers": 813, "eventsPerDay": 42})["usage"]
    assert usage["storedUsers"] == "810/1000"
    assert usage["eventsPerDay"] == "42/100"


def test_stored_users_are_shown_without_a_limit_too() -> None:
    quotas = tuple(make_quota(q.name, 0, unlimited=True) for q in POLICY.quotas)
    shown = usage_status(make_policy(quotas=quotas), {"storedUsers": 5, "eventsPerDay": 9})
    assert shown == {"storedUsers": "5/unlimited"}
    assert nearly_used(shown) == []


def test_growth_that_does_not_show_is_not_written() -> None:
    status = written({"storedUsers": 411})
    assert is_written(tenant(status), written({"storedUsers": 419}, status))
    assert not is_written(tenant(status), written({"storedUsers": 420}, status))


def test_operator_that_starts_again_writes_nothing_while_nobody_has_told_it() -> None:
    status = written({"storedUsers": 900})
    again = written(None, status)
    assert again == status
    assert is_written(tenant(status), again)


def test_tenant_is_warned_of_once_when_it_crosses_four_fifths() -> None:
    below, above = written({"storedUsers": 799}), written({"storedUsers": 800})
    assert ready(below) == ("True", "Ready")
    assert ready(above) == ("True", "QuotaNearlyUsed")
    (warning,) = news(tenant(below), above)
    assert (warning.reason, warning.warning) == ("QuotaNearlyUsed", True)
    assert "storedUsers 800/1000" in warning.message
    assert news(tenant(above), written({"storedUsers": 950}, above)) == []
    (other,) = news(tenant(above), written({"storedUsers": 950, "eventsPerDay": 80}, above))
    assert "eventsPerDay" in other.message
    assert "storedUsers" not in other.message


def test_only_tenants_whose_figures_have_moved_are_looked_at() -> None:
    usage = TenantUsage()
    assert usage.of("a") is None
    assert usage.told({"a": {"storedUsers": 411}, "b": {"storedUsers": 0}}) == {"a"}
    assert usage.told({"a": {"storedUsers": 419}, "b": {"storedUsers": 1}}) == {"b"}
    assert usage.told({"b": {"storedUsers": 1}}) == {"a"}
    assert usage.of("a") == {}
