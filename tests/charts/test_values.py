"""What values are refused, with which words; and that what is generated is up to date."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import CHARTS, helm

PARTS = sorted(path.parent for path in CHARTS.glob("*/Chart.yaml"))


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("redpandaa.enabled=false", "redpandaa"),
        ("user-service.replicaCoun=2", "replicaCoun"),
        ("ai-gateway.api.replicaCoun=2", "replicaCoun"),
        ("ai-gateway.indexer.resources.limit.cpu=1", "limit"),
        ("tenant-operator.crd.install=false", "crd"),
        ("tenant-operator.replicaCount=2", "replicaCount"),
        ("redpanda.persistence.sise=1Gi", "sise"),
        ("redpanda.persistence.size=big", "persistence/size"),
        ("qdrant.replicaCount=3", "replicaCount"),
        ("global.kafka.bootstrapServer=x:9092", "bootstrapServer"),
        ("global.kafka.securityProtocol=TLS", "SASL_SSL"),
        ("user-service.logLevel=loud", "logLevel"),
        ("redpanda.enabled=false", "global.kafka.bootstrapServers has to name your brokers"),
        ("qdrant.enabled=false", "global.qdrant.url has to name your server"),
        ("global.kafka.securityProtocol=SASL_SSL", "kafka.existingSecret"),
        # Given, and silently not used.
        ("global.kafka.existingSecret=user", "not used with kafka.securityProtocol PLAINTEXT"),
        ("global.kafka.caSecret=ca", "does not encrypt: set SSL"),
        # A port that a NetworkPolicy does not find would be all ports.
        ("user-service.networkPolicy.apiServerPorts=null", "apiServerPorts"),
        ("ai-gateway.networkPolicy.apiServerPorts[0]=0", "apiServerPorts"),
        ("user-service.kafka.bootstrapServers=kafka", '"kafka" where host:port is needed'),
        ("ai-gateway.kafka.bootstrapServers=10.0.0.1", '"10.0.0.1" where host:port is needed'),
        (r"user-service.kafka.bootstrapServers=a:9092\,", '"" where host:port is needed'),
        ("user-service.kafka.bootstrapServers=a:99999", '"a:99999" where host:port is needed'),
        ("ai-gateway.qdrant.url=qdrant:6333", "http://host:6333"),
        ("ai-gateway.httpRoute.enabled=true", "httpRoute.parentRefs"),
        ("user-service.preStopSeconds=40", "terminationGracePeriodSeconds (45) of user-service"),
        ("ai-gateway.indexer.preStopSeconds=45", "terminationGracePeriodSeconds (45) of indexer"),
        ("user-service.podDisruptionBudget.maxUnavailable=half", "maxUnavailable"),
        ("user-service.replicaCount=many", "replicaCount"),
        ("user-service.extraEnv[0].name=A,user-service.extraEnv[0].value=5", "extraEnv/0/value"),
        ("global.positionKey.existing=x", "existing"),
    ],
)
def test_value_that_cannot_be_meant_is_refused_by_its_name(
    setting: str, named: str, umbrella: Path, major: str
) -> None:
    refused = helm("template", "mesh", umbrella, "--set", setting, major=major)
    assert refused.returncode != 0
    assert named in refused.stderr


@pytest.mark.parametrize("chart", PARTS, ids=lambda path: path.name)
def test_schema_takes_nothing_that_it_does_not_describe(chart: Path) -> None:
    schema = json.loads((chart / "values.schema.json").read_text())
    silent = [path for path, part in _parts(schema) if "description" not in part]
    assert silent == []


def _parts(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each value of a schema that has no parts of its own."""
    parts: dict[str, Any] = schema.get("properties", {})
    if not parts or "description" in schema:
        yield path, schema
        return
    # A parent chart has globals of its own.
    assert schema["additionalProperties"] is (path == ".global"), path
    for name, part in parts.items():
        yield from _parts(part, f"{path}.{name}")


def test_schemas_and_readmes_are_those_of_the_values() -> None:
    ran = subprocess.run(
        [sys.executable, CHARTS / "generate.py", "--check"], capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_what_charts_share_is_the_same_in_each() -> None:
    copies = {(chart / "templates/_mesh.tpl").read_text() for chart in PARTS}
    assert len(copies) == 1


def test_dependencies_are_the_charts_beside_it_in_their_versions() -> None:
    about = {path.name: yaml.safe_load((path / "Chart.yaml").read_text()) for path in PARTS}
    parts = {one["name"]: one for one in about.pop("event-mesh")["dependencies"]}
    assert {name: one["version"] for name, one in parts.items()} == {
        name: one["version"] for name, one in about.items()
    }
    assert {one["repository"] for one in parts.values()} == {f"file://../{name}" for name in about}
