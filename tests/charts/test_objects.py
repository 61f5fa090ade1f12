"""What the charts promise of every object, in every profile."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from kube_api import KubeApi
from operator_rig import own_namespaces

from .conftest import CHARTS, Render, Rendered, helm

PROFILES = sorted(path.name.removesuffix("-values.yaml") for path in CHARTS.glob("*/ci/*.yaml"))
PARTS = sorted(path.parent.name for path in CHARTS.glob("*/Chart.yaml"))
MEMBERS = ("mesh-user-service", "mesh-ai-gateway", "mesh-ai-gateway-indexer")


def pods(objects: Rendered) -> list[tuple[str, dict[str, Any]]]:
    """Return the name and the specification of every pod that these objects make."""
    found = [
        (f"{kind}/{name}", one["spec"] if kind == "Pod" else one["spec"]["template"]["spec"])
        for (kind, name), one in objects.items()
        if kind in ("Pod", "Job", "Deployment", "StatefulSet")
    ]
    assert len(found) > 7
    return found


@pytest.mark.parametrize("part", PARTS)
def test_chart_passes_helms_lint(part: str, umbrella: Path) -> None:
    linted = helm("lint", umbrella.parent / part)
    assert linted.returncode == 0, linted.stdout + linted.stderr


# The longest name that Helm takes, and one that has the names of the engines in it.
@pytest.mark.parametrize(
    ("profile", "release"),
    [*((profile, "mesh") for profile in PROFILES), ("ha", "r" * 53), ("dev", "my-redpanda-qdrant")],
)
def test_api_server_takes_every_object_and_a_restricted_namespace_every_pod(
    profile: str, release: str, umbrella: Path, kube_api: KubeApi
) -> None:
    (namespace,) = own_namespaces(kube_api, 1)
    kube_api.kubectl(
        "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted",
        "pod-security.kubernetes.io/warn=restricted",
    )  # fmt: skip
    values = umbrella / f"ci/{profile}-values.yaml"
    template = helm(
        "template",
        release,
        umbrella,
        "-n",
        namespace,
        "-f",
        values,
        "--set",
        "tenant-operator.crds.install=false",
    )
    applied = kube_api.kubectl(
        "apply", "-n", namespace, "--dry-run=server", "--validate=strict", "-f", "-",
        text=template.stdout,
    )  # fmt: skip
    assert (applied.returncode, applied.stderr) == (0, "")
    assert applied.stdout.count("(server dry run)") > 25


@pytest.mark.parametrize("profile", PROFILES)
def test_no_pod_has_service_links_which_would_set_our_variables(
    profile: str, render: Render
) -> None:
    for name, spec in pods(render(profile=profile)):
        assert spec["enableServiceLinks"] is False, name


def test_every_container_is_locked_down(render: Render) -> None:
    for name, spec in pods(render()):
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        for container in [*spec["containers"], *spec.get("initContainers", ())]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name


def test_only_who_talks_to_the_api_server_has_a_token(render: Render) -> None:
    having = {name for name, spec in pods(render()) if spec["automountServiceAccountToken"]}
    assert having == {
        *(f"Deployment/{member}" for member in MEMBERS),
        "Deployment/mesh-tenant-operator",
        "Job/mesh-release-tenants",
    }


def test_crds_and_roles_are_those_of_the_files(render: Render) -> None:
    objects = render()
    for path in (CHARTS / "tenant-operator/files").glob("*/*.yaml"):
        theirs = yaml.safe_load(path.read_text())
        ours = objects[theirs["kind"], theirs["metadata"]["name"]]
        assert {name: ours.get(name) for name in ("spec", "rules")} == {
            name: theirs.get(name) for name in ("spec", "rules")
        }
    crds = [one for (kind, _), one in objects.items() if kind == "CustomResourceDefinition"]
    assert len(crds) == 3
    assert {one["metadata"]["annotations"]["helm.sh/resource-policy"] for one in crds} == {"keep"}


def test_crds_can_be_left_to_somebody_else(render: Render) -> None:
    objects = render("--set", "tenant-operator.crds.install=false")
    assert "CustomResourceDefinition" not in {kind for kind, _ in objects}


def test_every_member_is_bound_to_the_role_that_the_operators_chart_makes(render: Render) -> None:
    objects = render()
    for name in ("mesh-user-service", "mesh-ai-gateway"):
        binding = objects["RoleBinding", name]
        assert ("Role", binding["roleRef"]["name"]) in objects
        assert ("ServiceAccount", binding["subjects"][0]["name"]) in objects


def test_services_have_their_fixed_names_and_ports(render: Render) -> None:
    ports = {
        name: [port["port"] for port in one["spec"]["ports"]]
        for (kind, name), one in render().items()
        if kind == "Service" and one["spec"].get("clusterIP") != "None"
    }
    assert ports == {
        "mesh-user-service": [8081],
        "mesh-ai-gateway": [8090],
        "mesh-redpanda": [9092],
        "mesh-qdrant": [6333],
    }


def test_rollouts_take_no_replica_away_before_another_is_ready(render: Render) -> None:
    objects = render()
    for member in MEMBERS:
        strategy = objects["Deployment", member]["spec"]["strategy"]
        assert strategy["rollingUpdate"]["maxUnavailable"] == 0
    operator = objects["Deployment", "mesh-tenant-operator"]["spec"]
    assert (operator["replicas"], operator["strategy"]) == (1, {"type": "Recreate"})


def test_topics_job_is_another_one_where_it_does_something_else(render: Render) -> None:
    def jobs(*arguments: str) -> set[str]:
        return {name for kind, name in render(*arguments) if kind == "Job" and "topics" in name}

    assert len(jobs()) == 1
    assert jobs() == jobs("--set", "user-service.replicaCount=2")
    assert jobs() != jobs("--set", "ai-gateway.topics.replication=3")
    assert jobs() != jobs("--set", "global.imageTag=next")


def test_profile_with_engines_of_others_has_their_secrets_and_no_engine(render: Render) -> None:
    objects = render(profile="external")
    assert "StatefulSet" not in {kind for kind, _ in objects}
    assert "Secret" not in {kind for kind, _ in objects}
    spec = objects["Deployment", "mesh-ai-gateway-indexer"]["spec"]["template"]["spec"]
    env = {one["name"]: one for one in spec["containers"][0]["env"]}
    assert env["MESH_KAFKA_SECURITY_PROTOCOL"]["value"] == "SASL_SSL"
    assert env["MESH_KAFKA_SSL_CA_LOCATION"]["value"] == "/etc/mesh/kafka/ca.crt"
    from_secrets = {
        name: one["valueFrom"]["secretKeyRef"]
        for name, one in env.items()
        if "secretKeyRef" in one.get("valueFrom", {})
    }
    assert from_secrets == {
        "MESH_KAFKA_SASL_USERNAME": {"name": "kafka-user", "key": "username"},
        "MESH_KAFKA_SASL_PASSWORD": {"name": "kafka-user", "key": "password"},
        "MESH_QDRANT_API_KEY": {"name": "qdrant-key", "key": "api-key"},
        "MESH_POSITION_KEY": {"name": "position-key", "key": "position-key"},
    }


def test_ha_profile_spreads_three_replicas_and_lets_drains_take_one(render: Render) -> None:
    objects = render(profile="ha")
    for member in MEMBERS:
        spec = objects["Deployment", member]["spec"]
        assert spec.get("replicas", 3) == 3
        constraints = spec["template"]["spec"]["topologySpreadConstraints"]
        assert len(constraints) == 2
        assert all(one["labelSelector"] == spec["selector"] for one in constraints)
        assert all(one["matchLabelKeys"] == ["pod-template-hash"] for one in constraints)
        assert objects["PodDisruptionBudget", member]["spec"]["maxUnavailable"] == 1
    # The autoscaler says how many there are, not an upgrade.
    assert "replicas" not in objects["Deployment", "mesh-ai-gateway"]["spec"]
    assert ("HorizontalPodAutoscaler", "mesh-ai-gateway") in objects
