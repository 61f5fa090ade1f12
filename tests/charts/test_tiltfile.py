"""The Tiltfile, executed without Tilt: what it names is there, and a slip of the pen fails."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from starlark import StarlarkError

from tiltfile import ROOT, Tilt, Wrong

SOURCE = (ROOT / "Tiltfile").read_text()
RELOADER = (ROOT / "kind/live.py").read_text()

Execute = Callable[..., Tilt]


@pytest.fixture
def executed(umbrella: Path) -> Execute:
    """Executes a Tiltfile, ours where none is given, in an environment."""

    def execute(source: str = SOURCE, **environment: str) -> Tilt:
        tilt = Tilt(umbrella, environment)
        tilt.execute(source)
        return tilt

    return execute


def test_everything_that_the_tiltfile_names_is_there(executed: Execute) -> None:
    tilt = executed()
    assert {"mesh-user-service", "mesh-ai-gateway", "tenants"} <= set(tilt.resources)
    assert tilt.contexts == ["kind-event-mesh"]


def test_tiltfile_stays_short() -> None:
    assert len(SOURCE.splitlines()) < 120


def test_images_of_a_mirror_take_the_place_of_the_public_ones(executed: Execute) -> None:
    tilt = executed(PYTHON_IMAGE="mirror/python:1", REDPANDA_IMAGE="mirror:5000/redpanda:v2")
    for image in tilt.images.values():
        assert image["build_args"] == {"PYTHON_IMAGE": "mirror/python:1"}
    (broker,) = tilt.workloads["mesh-redpanda"]["spec"]["template"]["spec"]["containers"]
    assert broker["image"] == "mirror:5000/redpanda:v2"


def test_our_processes_start_again_when_a_file_arrives(executed: Execute) -> None:
    for name, workload in executed().workloads.items():
        if workload["kind"] == "Deployment":
            (container,) = workload["spec"]["template"]["spec"]["containers"]
            *program, command = container["command"]
            assert program == ["python", "-c", RELOADER], name
            assert (ROOT / ".venv/bin" / command).exists()
            (live,) = (one["value"] for one in container["env"] if one["name"] == "PYTHONPATH")
            assert live in SOURCE
            assert live in RELOADER


def test_what_is_copied_to_be_written_to_are_all_our_packages() -> None:
    (copied,) = re.findall(r"^PACKAGES = \((.+)\)$", RELOADER, re.MULTILINE)
    ours = {path.parent.name for path in ROOT.glob("*/*/src/*/__init__.py")}
    ours |= {path.parent.name for path in ROOT.glob("k8s-operator/src/*/__init__.py")}
    assert {name.strip('" ') for name in copied.split(",")} == ours


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("'services/user-service/src', ", "'services/user-servise/src', "),
        ("image('tenant-operator', 'k8s-operator')", "image('tenant-operator', 'operator')"),
        ("image('ai-gateway', 'services/ai-gateway')", ""),
        ("k8s_resource('mesh-qdrant'", "k8s_resource('mesh-quadrant'"),
        ("'8090:8090'", "'8090:8091'"),
        ("resource_deps=['tenants']", "resource_deps=['tenant']"),
        ("/ci/dev-values.yaml", "/ci/development-values.yaml"),
        ("apply -f tenants/", "apply -f tenant/"),
        ("kind/reset", "kind/empty"),
        ("'UV_IMAGE']", "'UVX_IMAGE']"),
        ("k8s_yaml('kind/namespace.yaml')", "k8s_yaml('kind/names.yaml')"),
    ],
)
def test_slip_of_the_pen_fails(executed: Execute, right: str, wrong: str) -> None:
    assert right in SOURCE
    with pytest.raises((Wrong, StarlarkError)):
        executed(SOURCE.replace(right, wrong), UVX_IMAGE="u", UV_IMAGE="u")
