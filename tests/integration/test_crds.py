"""The CRDs on a real API server: what it lets pass is what directory mode lets pass."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from builders import make_policy, plan_document, tenant_document
from kube_api import CRDS, KubeApi
from meshkit.tenancy.documents import InvalidDocument, parse_plan, parse_tenant
from meshkit.tenancy.spec import API_VERSION

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def api(kube_api: KubeApi) -> KubeApi:
    return kube_api


NO_CONVERSION = {"strategy": "None"}
WRITE = {"name": "users.write", "requests": 5}
SEARCH = {"name": "users.search", "unlimited": True}

GOOD: list[dict[str, Any]] = [
    {},
    {"plan": "gold", "displayName": "A", "suspended": True, "weight": 100},
    {"displayName": "Åsa & 花子 \U0001f600\xa0\u2028"},
    {"enforcement": "Shadow", "deletionPolicy": "Delete"},
    {"rateLimits": [WRITE | {"burst": 5, "windowSeconds": 60}, SEARCH]},
    {"rateLimits": [WRITE | {"burst": 1}]},
    {"rateLimits": [WRITE | {"requests": 0}]},
    {"rateLimits": [WRITE | {"requests": 0, "burst": 0}]},
    {"quotas": [{"name": "storedUsers", "limit": 0}, {"name": "eventsPerDay", "unlimited": True}]},
    {"quotas": [{"name": "storedUsers", "limit": 2**53 - 1}]},
    {"llm": {"models": ["builtin/extractive"], "defaultModel": "builtin/extractive"}},
]

BAD: list[dict[str, Any]] = [
    {"wieght": 1},
    {"weight": 0},
    {"weight": 101},
    {"weight": "1"},
    {"plan": "Not A Label"},
    {"displayName": ""},
    {"displayName": "a\nb"},
    {"displayName": "\x00"},
    {"displayName": "tab\t"},
    {"displayName": "\x7f"},
    {"displayName": "next\x85line"},
    {"enforcement": "Maybe"},
    {"deletionPolicy": "Drop"},
    {"suspended": "yes"},
    {"rateLimits": [{"name": "users.fly", "requests": 1}]},
    {"rateLimits": [{"name": "users.write"}]},
    {"rateLimits": [WRITE | {"requests": -1}]},
    {"rateLimits": [WRITE | {"requests": 2**31}]},
    {"rateLimits": [WRITE | {"burst": 0}]},
    {"rateLimits": [WRITE | {"windowSeconds": 0}]},
    {"rateLimits": [SEARCH | {"requests": 5}]},
    {"rateLimits": [SEARCH | {"burst": 5}]},
    {"rateLimits": [WRITE, WRITE]},
    {"rateLimits": [WRITE | {"typo": 1}]},
    {"quotas": [{"name": "storedUsers"}]},
    {"quotas": [{"name": "storedUsers", "limit": 1, "unlimited": True}]},
    {"quotas": [{"name": "storedUsers", "limit": -1}]},
    {"quotas": [{"name": "storedUsers", "limit": 2**53 + 1}]},
    {"quotas": [{"name": "storedUsers", "limit": 1}, {"name": "storedUsers", "limit": 2}]},
    {"llm": {"models": []}},
    {"llm": {"models": [""]}},
    {"adoptUid": "x" * 129},
]


def accepted(document: dict[str, Any]) -> bool:
    """Whether directory mode takes it."""
    try:
        (parse_tenant if document["kind"] == "Tenant" else parse_plan)(document)
    except InvalidDocument:
        return False
    return True


@pytest.mark.parametrize("spec", GOOD)
def test_good_tenant_is_good_everywhere(api: KubeApi, spec: dict[str, Any]) -> None:
    document = tenant_document("good", **spec)
    assert accepted(document)
    applied = api.apply(document)
    assert applied.returncode == 0, applied.stderr


@pytest.mark.parametrize("spec", BAD)
def test_bad_tenant_is_refused_everywhere(api: KubeApi, spec: dict[str, Any]) -> None:
    document = tenant_document("bad", **spec)
    assert not accepted(document)
    assert api.apply(document).returncode != 0


@pytest.mark.parametrize("name", ["a" * 64, "a.b"])
def test_name_that_is_no_tenant_id_is_refused_everywhere(api: KubeApi, name: str) -> None:
    document = tenant_document(name)
    assert not accepted(document)
    applied = api.apply(document)
    assert applied.returncode != 0
    assert "tenant id" in applied.stderr


def test_limits_of_a_plan_have_the_same_rules(api: KubeApi) -> None:
    good = plan_document("gold", defaults={"rateLimits": [WRITE]}, ceilings={"weight": 3})
    assert accepted(good)
    assert api.apply(good).returncode == 0
    bad = plan_document("gold", ceilings={"rateLimits": [WRITE | {"burst": 0}]})
    assert not accepted(bad)
    assert "burst must be at least 1" in api.apply(bad).stderr


@pytest.mark.parametrize("file", sorted(CRDS.glob("*.yaml")), ids=lambda file: file.stem)
def test_stored_definition_equals_its_file(api: KubeApi, file: Path) -> None:
    written = yaml.safe_load(file.read_text())
    stored = api.kubectl("get", "crd", written["metadata"]["name"], "-o", "json")
    assert json.loads(stored.stdout)["spec"] == written["spec"] | {"conversion": NO_CONVERSION}


def test_definitions_apply_in_both_documented_ways(api: KubeApi) -> None:
    # `kube_api` has applied them with the client; Helm 4 and our docs apply on the server.
    applied = api.kubectl("apply", "--server-side", "--field-manager=other", "-f", str(CRDS))
    assert applied.returncode == 0, applied.stderr
    assert "conflict" not in applied.stderr


def test_samples_apply_as_they_are(api: KubeApi, pytestconfig: pytest.Config) -> None:
    applied = api.kubectl("apply", "-f", str(pytestconfig.rootpath / "tenants"))
    assert applied.returncode == 0, applied.stderr


def test_resolved_policy_is_what_its_definition_says(api: KubeApi) -> None:
    policy = {
        "apiVersion": API_VERSION,
        "kind": "TenantPolicy",
        "metadata": {"name": "tenant-a"},
        "spec": make_policy("tenant-a").document(),
    }
    applied = api.apply(policy)
    assert applied.returncode == 0, applied.stderr
    stored = yaml.safe_load(api.kubectl("get", "tpol", "tenant-a", "-o", "yaml").stdout)
    assert stored["spec"] == policy["spec"]


@pytest.mark.parametrize(
    "path",
    [
        "tenant.spec.rateLimits.burst",
        "tenant.status.conditions",
        "tenantplan.spec.ceilings",
        "tenantpolicy.spec.weight.provenance",
    ],
)
def test_explain_reads_well(api: KubeApi, path: str) -> None:
    explained = api.kubectl("explain", path)
    assert explained.returncode == 0, explained.stderr
    assert "<empty>" not in explained.stdout


def test_columns_and_short_names(api: KubeApi) -> None:
    assert api.apply(tenant_document("shown", plan="gold", suspended=True)).returncode == 0
    head, *rows = api.kubectl("get", "tnt").stdout.splitlines()
    assert head.split() == ["NAME", "PLAN", "READY", "ENFORCED", "USERS", "SUSPENDED", "AGE"]
    row = next(row.split() for row in rows if row.startswith("shown"))
    assert row[:3] == ["shown", "gold", "true"]
    assert api.kubectl("get", "mesh").returncode == 0
