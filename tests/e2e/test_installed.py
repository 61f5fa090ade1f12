"""What `make cluster-up` leaves behind: everything runs, and every replica obeys every tenant."""

import pytest

from cluster import RELEASE, Cluster

pytestmark = pytest.mark.timeout(120)

DEPLOYMENTS = ["user-service", "ai-gateway", "ai-gateway-indexer", "tenant-operator"]
ENGINES = ["redpanda", "qdrant"]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_deployment_has_all_its_replicas(cluster: Cluster, name: str) -> None:
    deployment = cluster.get("deployment", f"{RELEASE}-{name}")
    assert deployment["status"]["availableReplicas"] == deployment["spec"]["replicas"]


@pytest.mark.parametrize("name", ENGINES)
def test_engine_has_all_its_replicas(cluster: Cluster, name: str) -> None:
    engine = cluster.get("statefulset", f"{RELEASE}-{name}")
    assert engine["status"]["availableReplicas"] == engine["spec"]["replicas"]


@pytest.mark.parametrize(("name", "port"), [("user-service", 8081), ("ai-gateway", 8090)])
def test_service_has_the_port_that_clients_rely_on(cluster: Cluster, name: str, port: int) -> None:
    ports = cluster.get("service", f"{RELEASE}-{name}")["spec"]["ports"]
    assert port in [one["port"] for one in ports]


@pytest.mark.parametrize("name", ["user-service", "ai-gateway"])
def test_admin_port_is_not_behind_the_service(cluster: Cluster, name: str) -> None:
    ports = cluster.get("service", f"{RELEASE}-{name}")["spec"]["ports"]
    assert not {9081, 9091, 9092} & {one["port"] for one in ports}


def test_namespace_takes_restricted_pods_only(cluster: Cluster) -> None:
    labels = cluster.get("namespace", cluster.namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("tenant", ["tenant-a", "tenant-b"])
def test_tenant_of_the_repository_is_enforced_by_every_replica(
    cluster: Cluster, tenant: str
) -> None:
    cluster.kubectl("wait", "--for=condition=Ready", "--timeout=60s", f"tenant/{tenant}")
    enforced, live = cluster.get("tenant", tenant)["status"]["enforcedReplicas"].split("/")
    assert enforced == live
    assert int(live) >= 3
