"""Each service account can do what it needs, in the namespace of the mesh, and nothing else."""

from functools import cache

import pytest

from cluster import RELEASE, Cluster, KubectlError

pytestmark = pytest.mark.timeout(120)

MEMBERS = ("user-service", "ai-gateway", "ai-gateway-indexer")
OPERATOR = "tenant-operator"

ALLOWED = [
    *((member, verb, "tenantpolicies") for member in MEMBERS for verb in ("list", "watch")),
    *((member, verb, "leases") for member in MEMBERS for verb in ("create", "patch", "delete")),
    *((OPERATOR, verb, "tenants") for verb in ("get", "list", "watch", "patch")),
    *((OPERATOR, verb, "tenantpolicies") for verb in ("list", "watch", "create", "patch")),
    (OPERATOR, "patch", "tenants/status"),
    (OPERATOR, "list", "tenantplans"),
    (OPERATOR, "create", "configmaps"),
    (OPERATOR, "create", "events"),
]
REFUSED = [
    *(
        (account, verb, resource)
        for account in (*MEMBERS, OPERATOR)
        for verb, resource in (
            ("get", "secrets"),
            ("list", "secrets"),
            ("create", "pods"),
            ("create", "pods/exec"),
            ("delete", "pods"),
            ("create", "rolebindings"),
            ("create", "serviceaccounts/token"),
            ("delete", "tenants"),
            ("delete", "customresourcedefinitions"),
        )
    ),
    *((member, "patch", "tenants") for member in MEMBERS),
    *((member, "patch", "tenantpolicies") for member in MEMBERS),
    *((member, "create", "tenantpolicies") for member in MEMBERS),
]


@cache
def user_of(cluster: Cluster, deployment: str) -> str:
    """Who the pods of a deployment are, to the API server."""
    pod = cluster.get("deployment", f"{RELEASE}-{deployment}")["spec"]["template"]["spec"]
    return f"system:serviceaccount:{cluster.namespace}:{pod['serviceAccountName']}"


def may(cluster: Cluster, account: str, verb: str, resource: str, *place: str) -> bool:
    user = user_of(cluster, account)
    try:
        said = cluster.kubectl("auth", "can-i", verb, resource, "--as", user, *place)
    except KubectlError as error:
        # kubectl ends with 1 for a no, too.
        if ": no" not in str(error):
            raise
        return False
    return said.strip() == "yes"


@pytest.mark.parametrize(("account", "verb", "resource"), ALLOWED)
def test_account_may_do_what_it_needs(
    cluster: Cluster, account: str, verb: str, resource: str
) -> None:
    assert may(cluster, account, verb, resource)


@pytest.mark.parametrize(("account", "verb", "resource"), REFUSED)
def test_account_may_do_nothing_else(
    cluster: Cluster, account: str, verb: str, resource: str
) -> None:
    assert not may(cluster, account, verb, resource)


@pytest.mark.parametrize(("account", "verb", "resource"), ALLOWED[:1] + ALLOWED[15:16])
def test_rights_end_with_the_namespace(
    cluster: Cluster, account: str, verb: str, resource: str
) -> None:
    assert not may(cluster, account, verb, resource, "--namespace", "default")
