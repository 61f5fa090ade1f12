"""The suites beside the charts, and the schemas of the API, by the tools that people of charts use.

kubeconform has no schemas of its own that can be had without a network; it gets those that the API
server itself publishes.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from chart_tools import lack, tool
from kube_api import KubeApi

from .conftest import CHARTS, helm

SUITES = sorted({path.parent.parent.name for path in CHARTS.glob("*/tests/*_test.yaml")})
PROFILES = sorted(path.name.removesuffix("-values.yaml") for path in CHARTS.glob("*/ci/*.yaml"))


@pytest.mark.parametrize("part", SUITES)
def test_suite_beside_the_chart_passes(part: str, umbrella: Path) -> None:
    if reason := lack("helm-unittest"):
        pytest.skip(reason)
    ran = subprocess.run(
        [str(tool("helm-unittest")), "--color=false", umbrella.parent / part],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Tests:       0 passed" not in ran.stdout


def schemas(api: KubeApi, folder: Path) -> str:
    """Write the strict schemas of an API server's kinds; return where kubeconform finds them."""
    published = json.loads(api.kubectl("get", "--raw", "/openapi/v2").stdout)["definitions"]
    definitions = {name: _strict(one) for name, one in published.items()}
    for name, one in published.items():
        for kind in one.get("x-kubernetes-group-version-kind", ()):
            group = f"{kind['group'].partition('.')[0]}-" if kind["group"] else ""
            path = folder / f"{kind['kind'].lower()}-{group}{kind['version']}.json"
            needed = _reached(name, definitions)
            path.write_text(json.dumps({"$ref": f"#/definitions/{name}", "definitions": needed}))
    return f"{folder}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"


def _strict(schema: Any) -> Any:
    """Return a schema that refuses keys that it does not know."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "int-or-string":
        return {"type": ["string", "integer"]}
    strict = {name: _strict(one) for name, one in schema.items()}
    if "properties" in schema and "additionalProperties" not in schema:
        strict["additionalProperties"] = False
    return strict


def _reached(name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the definitions that one of them needs, itself included."""
    reached: dict[str, Any] = {}
    waiting = [name]
    while waiting:
        if (one := waiting.pop()) not in reached:
            reached[one] = definitions[one]
            text = json.dumps(definitions[one]).split("#/definitions/")[1:]
            waiting += [part.partition('"')[0] for part in text]
    return reached


@pytest.fixture(scope="module")
def location(kube_api: KubeApi, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where kubeconform finds the schemas of the API server."""
    return schemas(kube_api, tmp_path_factory.mktemp("schemas"))


def conform(location: str, text: str) -> subprocess.CompletedProcess[str]:
    """Run kubeconform; skips the test where there is none."""
    if reason := lack("kubeconform"):
        pytest.skip(reason)
    return subprocess.run(
        [str(tool("kubeconform")), "-strict", "-summary", "-schema-location", location],
        input=text,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_every_object_of_a_profile_conforms(profile: str, umbrella: Path, location: str) -> None:
    values = umbrella / f"ci/{profile}-values.yaml"
    # Definitions of kinds are full of kinds' own schemas, which recurse; the server takes those.
    rendered = helm(
        "template", "mesh", umbrella, "-f", values, "--set", "tenant-operator.crds.install=false"
    )
    ran = conform(location, rendered.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Invalid: 0, Errors: 0, Skipped: 0" in ran.stdout


def test_object_with_a_key_that_is_none_does_not_conform(location: str) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"ort": 1}}
    assert "ort" in conform(location, json.dumps(service)).stdout
