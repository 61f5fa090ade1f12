"""Who may open a connection to whom: the arrows of the picture, and no others.

Asked from inside the pods themselves. A refused connection is one that nobody answers in time.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from cluster import RELEASE, Cluster, KubectlError

pytestmark = pytest.mark.timeout(180)

KAFKA, QDRANT = (f"{RELEASE}-redpanda", 9092), (f"{RELEASE}-qdrant", 6333)
USERS, GATEWAY = (f"{RELEASE}-user-service", 8081), (f"{RELEASE}-ai-gateway", 8090)

ARROWS = [
    ("user-service", KAFKA),
    ("ai-gateway-indexer", KAFKA),
    ("ai-gateway-indexer", QDRANT),
    ("ai-gateway", QDRANT),
]
NO_ARROWS = [
    ("user-service", QDRANT),
    ("tenant-operator", KAFKA),
    ("tenant-operator", QDRANT),
]
_TRY = (
    "import socket, sys\n"
    "try:\n"
    "    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()\n"
    "except TimeoutError:\n"
    "    print('refused')\n"
    "else:\n"
    "    print('connected')\n"
)


def attempt(cluster: Cluster, pod: str, address: tuple[str, int]) -> str:
    """Open a connection from inside a pod; `connected`, or `refused`."""
    host, port = address
    try:
        return cluster.kubectl("exec", pod, "--", "python3", "-c", _TRY, host, str(port)).strip()
    except KubectlError as error:
        if "ConnectionRefusedError" in str(error):
            return "nobody listens"
        raise


@pytest.mark.parametrize(("service", "address"), ARROWS)
def test_arrow_of_the_picture_is_open(
    cluster: Cluster, service: str, address: tuple[str, int]
) -> None:
    assert attempt(cluster, f"deployment/{RELEASE}-{service}", address) == "connected"


@pytest.mark.parametrize(("service", "address"), NO_ARROWS)
def test_where_there_is_no_arrow_nobody_answers(
    cluster: Cluster, service: str, address: tuple[str, int]
) -> None:
    assert attempt(cluster, f"deployment/{RELEASE}-{service}", address) == "refused"


def stranger_document(cluster: Cluster) -> dict[str, Any]:
    """A pod of nobody's, that waits in the namespace of the mesh."""
    deployment = cluster.get("deployment", f"{RELEASE}-user-service")
    image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "e2e-stranger"},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "stranger",
                    "image": image,
                    "command": ["python3", "-c", "import time; time.sleep(3600)"],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


@pytest.fixture(scope="module")
def stranger(cluster: Cluster) -> Iterator[str]:
    cluster.apply(stranger_document(cluster))
    try:
        cluster.kubectl("wait", "--for=condition=Ready", "--timeout=60s", "pod/e2e-stranger")
        yield "pod/e2e-stranger"
    finally:
        cluster.kubectl("delete", "pod", "e2e-stranger", "--ignore-not-found")


@pytest.mark.parametrize("address", [USERS, GATEWAY])
def test_stranger_reaches_the_public_ports(
    cluster: Cluster, stranger: str, address: tuple[str, int]
) -> None:
    assert attempt(cluster, stranger, address) == "connected"


@pytest.mark.parametrize("address", [KAFKA, QDRANT])
def test_stranger_does_not_reach_the_engines(
    cluster: Cluster, stranger: str, address: tuple[str, int]
) -> None:
    assert attempt(cluster, stranger, address) == "refused"


@pytest.mark.parametrize(
    ("component", "port"),
    [("user-service", 9081), ("ai-gateway", 9091), ("ai-gateway-indexer", 9092)],
)
def test_stranger_does_not_reach_the_admin_ports(
    cluster: Cluster, stranger: str, component: str, port: int
) -> None:
    pod = cluster.get("pods", "-l", cluster.selector(f"deployment/{RELEASE}-{component}"))["items"][
        0
    ]
    assert attempt(cluster, stranger, (pod["status"]["podIP"], port)) == "refused"
