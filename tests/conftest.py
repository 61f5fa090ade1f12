"""The folder of a test is its tier; and the engines that a whole session shares."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from kafka_broker import KafkaBroker, missing
from kube_api import KubeApi, serving
from meshkit.kube.client import KubeClient
from operator_rig import own_namespaces

_TESTS = Path(__file__).parent

# Tracebacks as the product has them: the default's take seconds.
_LOGGING = {
    **structlog.get_config(),
    "processors": [
        structlog.stdlib.add_log_level,
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ],
}
structlog.configure(**_LOGGING)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Undo what a command under test has set up for itself."""
    yield
    structlog.configure(**_LOGGING)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test with the name of its folder under tests/."""
    for item in items:
        tier = item.path.relative_to(_TESTS).parts[0]
        item.add_marker(getattr(pytest.mark, tier))


@pytest.fixture(scope="session")
def kube_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApi]:
    """An API server that knows our kinds, for this session."""
    with serving(tmp_path_factory.mktemp("kube")) as api:
        yield api


@pytest.fixture
def own_api(tmp_path: Path) -> Iterator[KubeApi]:
    """An API server that may be killed."""
    with serving(tmp_path / "kube") as api:
        yield api


@pytest.fixture
def namespace(kube_api: KubeApi) -> str:
    """A namespace of the session's API server that nobody else uses."""
    (name,) = own_namespaces(kube_api, 1)
    return name


@pytest.fixture
async def client(kube_api: KubeApi, namespace: str) -> AsyncIterator[KubeClient]:
    """A client of that namespace, as the server's master."""
    async with KubeClient(kube_api.connection(namespace)) as client:
        yield client


@pytest.fixture(scope="session")
def kafka_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Kafka: MESH_TEST_KAFKA, else a broker of our own for this session."""
    if given := os.environ.get("MESH_TEST_KAFKA"):  # noqa: TID251
        yield given
        return
    if lack := missing():
        pytest.skip(f"no Kafka: MESH_TEST_KAFKA is not set, and {lack}")
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker.bootstrap_servers
    broker.stop()
