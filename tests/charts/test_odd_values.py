"""Values that are empty, of another type, or from somebody else's chart: both majors of Helm refuse
them by their names, or render what is safe."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import CHARTS, Rendered, by_name, helm

PARTS = sorted(path.parent.name for path in CHARTS.glob("*/Chart.yaml"))
# Without these a part does not render by itself.
NEEDED = {"kafka": {"bootstrapServers": "kafka:9092"}, "qdrant": {"url": "http://qdrant:6333"}}
Keys = tuple[str, ...]


def leaves(schema: dict[str, Any], path: Keys = ()) -> Iterator[tuple[Keys, dict[str, Any]]]:
    """Yield every value that a schema describes but the sections, with its schema."""
    for name, part in schema.get("properties", {}).items():
        if name == "global":
            continue
        if part["type"] == "object" and "properties" in part:
            yield from leaves(part, (*path, name))
        else:
            yield (*path, name), part


def _types(schema: dict[str, Any]) -> list[str]:
    return [schema["type"]] if isinstance(schema["type"], str) else schema["type"]


def schema_of(part: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((CHARTS / part / "values.schema.json").read_text())
    return schema


def nested(values: dict[Keys, Any]) -> dict[str, Any]:
    """Return values by their paths as a values file has them."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        section = tree
        for name in path[:-1]:
            section = section.setdefault(name, {})
        section[path[-1]] = value
    return tree


def needed(part: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return values with those that a part by itself needs."""
    known = schema_of(part)["properties"]
    if part == "event-mesh":
        return values
    return values | {k: values.get(k, {}) | v for k, v in NEEDED.items() if k in known}


def render(chart: Path, values: dict[str, Any], folder: Path, major: str) -> Rendered:
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    ran = helm("template", "mesh", chart, "-n", "mesh", "-f", file, major=major)
    assert ran.returncode == 0, ran.stderr
    return by_name(ran.stdout)


def refusal(chart: Path, values: dict[str, Any], folder: Path, major: str) -> str:
    """Return what Helm says of values that it does not take."""
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    ran = helm("template", "mesh", chart, "-n", "mesh", "-f", file, major=major)
    assert ran.returncode != 0
    assert "nil pointer" not in ran.stderr
    return ran.stderr


def faults(objects: Rendered) -> list[str]:
    """What is dangerous in objects that an API server would take."""
    return [
        f"{kind}/{name}: {fault}"
        for (kind, name), one in objects.items()
        for fault in (_open(one["spec"]) if kind == "NetworkPolicy" else _unset(one))
    ]


def _open(policy: dict[str, Any]) -> Iterator[str]:
    """Yield the rules of a NetworkPolicy that let through more than they name."""
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        if direction in policy and not policy[direction]:
            yield f"{direction} is {policy[direction]}"
        for rule in policy.get(direction) or ():
            if not rule.get("ports") and not rule.get(peers):
                yield f"{rule} lets everything through"
            if not rule.get(peers, True) or not rule.get("ports", True):
                yield f"an empty list means all: {rule}"
            for port in rule.get("ports", ()):
                if not isinstance(port.get("port"), int):
                    yield f"no port in {rule}"


def _unset(value: Any, path: str = "") -> Iterator[str]:
    """Yield where a template wrote a key and nothing behind it."""
    if value is None:
        yield f"{path} is null"
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for name, one in items:
        yield from _unset(one, f"{path}.{name}")


def test_faults_are_found() -> None:
    rules = [{}, {"ports": []}, {"ports": [{"port": None}]}, {"ports": [{"port": 1}], "to": []}]
    for rule in rules:
        assert list(_open({"egress": [rule]})), rule
    assert list(_open({"ingress": None}))
    assert list(_unset({"spec": {"replicas": None}})) == [".spec.replicas is null"]


@pytest.mark.parametrize("part", PARTS)
def test_values_that_may_be_empty_may_all_be_null(
    part: str, umbrella: Path, tmp_path: Path, major: str
) -> None:
    null = {path: None for path, one in leaves(schema_of(part)) if "null" in one["type"]}
    assert len(null) >= 5
    chart = umbrella if part == "event-mesh" else umbrella.parent / part
    values = needed(part, nested(null))
    assert faults(render(chart, values, tmp_path, major)) == []


@pytest.mark.parametrize("part", PARTS)
def test_values_that_may_not_be_empty_are_refused_by_name_when_they_are_null(
    part: str, umbrella: Path, tmp_path: Path, major: str
) -> None:
    required = [path for path, one in leaves(schema_of(part)) if "null" not in one["type"]]
    sections = {path[:1] for path in required if len(path) > 1}
    chart = umbrella if part == "event-mesh" else umbrella.parent / part
    for paths in (required, sections):
        said = refusal(chart, nested(dict.fromkeys(paths)), tmp_path, major)
        assert [path for path in paths if f"'{path[-1]}'" not in said] == []


@pytest.mark.parametrize("part", PARTS)
def test_values_of_another_type_are_refused_by_name(
    part: str, umbrella: Path, tmp_path: Path, major: str
) -> None:
    wrong = {
        path: {"x": "1"} if {"string", "array"} & set(_types(one)) else "1"
        for path, one in leaves(schema_of(part))
        # What is no map for a part, Helm refuses by itself.
        if path[0] not in PARTS
    }
    chart = umbrella if part == "event-mesh" else umbrella.parent / part
    said = refusal(chart, nested(wrong), tmp_path, major)
    assert [path for path in wrong if f"'/{'/'.join(path)}'" not in said] == []


@pytest.mark.parametrize("part", PARTS)
def test_every_number_has_bounds_within_which_templates_write_it_in_full(part: str) -> None:
    """A YAML number from 1000000 on is a float for Helm, which writes 1e+06."""
    numbers = [one for _, one in leaves(schema_of(part)) if "integer" in one["type"]]
    assert all(one["minimum"] >= -1 and one["maximum"] < 1_000_000 for one in numbers)


@pytest.mark.parametrize("off", ["tenant-operator", "user-service", "ai-gateway", "redpanda"])
def test_each_part_can_be_left_out(off: str, umbrella: Path, tmp_path: Path, major: str) -> None:
    values: dict[str, Any] = {off: {"enabled": False}}
    if off == "redpanda":
        values["global"] = {"kafka": {"bootstrapServers": "kafka:9092"}}
    objects = render(umbrella, values, tmp_path, major)
    assert faults(objects) == []
    # Whoever has no operator has nobody whose finalizer would be left over.
    assert (("Job", "mesh-release-tenants") in objects) is (off != "tenant-operator")


def test_operator_alone_needs_no_engine(umbrella: Path, tmp_path: Path, major: str) -> None:
    others = ("user-service", "ai-gateway", "redpanda", "qdrant")
    objects = render(umbrella, {name: {"enabled": False} for name in others}, tmp_path, major)
    assert [name for kind, name in objects if kind == "Deployment"] == ["mesh-tenant-operator"]


@pytest.mark.parametrize("part", ["tenant-operator", "redpanda"])
@pytest.mark.parametrize("flag", [None, "false", 0])
def test_part_is_not_half_installed_by_a_flag_that_is_neither_true_nor_false(
    part: str, flag: object, umbrella: Path, tmp_path: Path, major: str
) -> None:
    said = refusal(umbrella, {part: {"enabled": flag}}, tmp_path, major)
    assert part in said
    assert "enabled" in said


def test_section_of_a_part_that_is_null_is_the_default(
    umbrella: Path, tmp_path: Path, major: str
) -> None:
    parts = dict.fromkeys(schema_of("event-mesh")["properties"].keys() & set(PARTS))
    objects = render(umbrella, parts, tmp_path, major)
    assert objects.keys() == render(umbrella, {}, tmp_path, major).keys()


@pytest.mark.parametrize("alias", [None, "mesh"])
def test_parent_chart_has_globals_of_its_own(
    alias: str | None, umbrella: Path, tmp_path: Path, major: str
) -> None:
    chart = parent(umbrella, tmp_path, alias, {"replicaCount": ""}, major)
    values = {"global": {"clusterName": "eu-1", "storage": {"class": "fast"}}}
    objects = render(chart, values, tmp_path, major)
    assert objects.keys() >= {("Deployment", "mesh-user-service"), ("Service", "mesh-redpanda")}
    assert "replicas" not in objects["Deployment", "mesh-ai-gateway-indexer"]["spec"]
    assert faults(objects) == []
    # Our own names are ours all the same.
    said = refusal(chart, {"global": {"kafka": {"bootstrapServer": "k:1"}}}, tmp_path, major)
    assert "'bootstrapServer' not allowed" in said


def test_null_in_a_parents_own_values_is_a_default_or_refused(
    umbrella: Path, tmp_path: Path, major: str
) -> None:
    """Helm 3 takes the default away, Helm 4 does not: so null is no way to say it in there."""
    chart = parent(umbrella, tmp_path, None, {"replicaCount": None}, major)
    objects = render(chart, {}, tmp_path, major)
    replicas = objects["Deployment", "mesh-ai-gateway-indexer"]["spec"].get("replicas")
    assert replicas == {"helm3": None, "helm4": 1}[major]


def parent(
    umbrella: Path, folder: Path, alias: str | None, indexer: dict[str, Any], major: str
) -> Path:
    """A platform's chart that has ours in it, and says something of the indexer."""
    chart = folder / "platform"
    chart.mkdir()
    ours = {"name": "event-mesh", "version": "0.1.0", "repository": f"file://{umbrella}"}
    about = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [ours]}
    if alias:
        ours["alias"] = alias
    (chart / "Chart.yaml").write_text(yaml.safe_dump(about))
    values = {alias or "event-mesh": {"ai-gateway": {"indexer": indexer}}}
    (chart / "values.yaml").write_text(yaml.safe_dump(values | {"global": {"own": True}}))
    updated = helm("dependency", "update", chart, "--skip-refresh", major=major)
    assert updated.returncode == 0, updated.stderr
    return chart


@pytest.mark.parametrize("release", ["redpanda", "my-qdrant", "a" * 53])
def test_services_find_the_engines_of_a_release_of_any_name(
    release: str, umbrella: Path, major: str
) -> None:
    ran = helm("template", release, umbrella, "-n", "mesh", major=major)
    objects = by_name(ran.stdout)
    spec = next(o for (k, n), o in objects.items() if k == "Deployment" and n.endswith("-indexer"))
    (container,) = spec["spec"]["template"]["spec"]["containers"]
    env = {one["name"]: one.get("value") for one in container["env"]}
    assert ("Service", env["MESH_KAFKA_BOOTSTRAP_SERVERS"].split(":")[0]) in objects
    assert ("Service", env["MESH_QDRANT_URL"].removeprefix("http://").split(":")[0]) in objects
    assert all(len(n) <= 63 for k, n in objects if k in ("Job", "Service", "StatefulSet"))


def test_brokers_of_others_are_not_taken_for_those_of_the_release(
    umbrella: Path, tmp_path: Path, major: str
) -> None:
    servers = "mesh-redpanda.example.com:9093,mesh-redpanda.mesh.svc:9092, mesh-redpanda:9092"
    values = {"global": {"kafka": {"bootstrapServers": servers}}}
    objects = render(umbrella, values, tmp_path, major)
    rules = objects["NetworkPolicy", "mesh-ai-gateway-indexer"]["spec"]["egress"]
    labels = {"app.kubernetes.io/instance": "mesh", "app.kubernetes.io/name": "redpanda"}
    own = {
        "ports": [{"port": 9092, "protocol": "TCP"}],
        "to": [{"podSelector": {"matchLabels": labels}}],
    }
    assert own in rules
    assert {"ports": [{"port": 9093, "protocol": "TCP"}]} in rules


def test_both_majors_render_the_same(umbrella: Path, tmp_path: Path) -> None:
    for file in sorted(umbrella.glob("ci/*.yaml")):
        values = yaml.safe_load(file.read_text())
        three, four = (render(umbrella, values, tmp_path, major) for major in ("helm3", "helm4"))
        for name in three.keys() | four.keys():
            # Each rendering makes keys of its own.
            assert name[0] == "Secret" or three[name] == four[name], name
