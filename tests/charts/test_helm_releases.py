"""Releases on a real API server, without controllers: what each major of Helm does to objects that
somebody else has written to, or that the other major has made."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chart_tools import HELMS, lack, tool
from kube_api import KubeApi, serving
from operator_rig import own_namespaces

from .conftest import CHARTS

INDEXER = "deployment/mesh-ai-gateway-indexer"
# One part is enough where it is not about all of them.
ENGINES = ("kafka.bootstrapServers=kafka:9092", "qdrant.url=http://qdrant:6333")
CRDS = str(CHARTS / "tenant-operator/files/crds")
NO_CRDS = "tenant-operator.crds.install=false"


class Release:
    """Release `mesh` in a namespace of its own, by either Helm. Hooks are left out: nothing would
    run their Jobs."""

    def __init__(self, api: KubeApi, chart: Path, *sets: str) -> None:
        self.api, self.chart, self._sets = api, chart, sets
        (self.namespace,) = own_namespaces(api, 1)

    def helm(self, major: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        if reason := lack(major):
            pytest.skip(reason)
        command = [str(tool(major)), *arguments, "-n", self.namespace]
        environment = os.environ | {"KUBECONFIG": str(self.api.kubeconfig)}  # noqa: TID251
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    def apply(
        self, major: str, verb: str, *sets: str, options: tuple[str, ...] = ()
    ) -> "subprocess.CompletedProcess[str]":
        """Install or upgrade."""
        values = [word for one in (*self._sets, *sets) for word in ("--set", one)]
        chart = (str(self.chart), "--no-hooks", *values, *options)
        return self.helm(major, verb, "mesh", *chart)

    def get(self, *arguments: str) -> Any:
        ran = self.api.kubectl("get", "-n", self.namespace, "-o", "json", *arguments)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    def scale(self, workload: str, replicas: int) -> None:
        """Scale as an autoscaler does."""
        patch = json.dumps({"spec": {"replicas": replicas}})
        scale = ("patch", workload, "--subresource=scale", "--type=merge", "-p", patch)
        by = "--field-manager=kube-controller-manager"
        ran = self.api.kubectl(*scale, by, "-n", self.namespace)
        assert ran.returncode == 0, ran.stderr

    def replicas(self, workload: str) -> int:
        return int(self.get(workload)["spec"]["replicas"])


def done(ran: "subprocess.CompletedProcess[str]") -> None:
    assert ran.returncode == 0, ran.stderr


@pytest.fixture
def gateway(umbrella: Path, kube_api: KubeApi) -> Release:
    """A release of ai-gateway by itself."""
    return Release(kube_api, umbrella.parent / "ai-gateway", *ENGINES)


@pytest.mark.parametrize("left_out", ["replicaCount=null", "autoscaling.enabled=true"])
def test_upgrade_leaves_what_somebody_else_has_scaled(
    left_out: str, gateway: Release, major: str
) -> None:
    sets = ("indexer.replicaCount=", f"api.{left_out}")
    done(gateway.apply(major, "install", *sets))
    for workload in (INDEXER, "deployment/mesh-ai-gateway"):
        gateway.scale(workload, 7)
    done(gateway.apply(major, "upgrade", *sets, "logLevel=debug"))
    for workload in (INDEXER, "deployment/mesh-ai-gateway"):
        assert gateway.replicas(workload) == 7


def test_profile_for_high_availability_leaves_the_number_of_indexers(
    umbrella: Path, kube_api: KubeApi, major: str
) -> None:
    release = Release(kube_api, umbrella, NO_CRDS)
    profile = ("-f", str(umbrella / "ci/ha-values.yaml"))
    done(release.apply(major, "install", options=profile))
    release.scale(INDEXER, 7)
    done(release.apply(major, "upgrade", options=profile))
    assert release.replicas(INDEXER) == 7


def test_number_that_is_said_fights_with_whoever_scales(gateway: Release, major: str) -> None:
    """Why it can be left out; docs/operations.md says it in these words."""
    said = "indexer.replicaCount=3"
    done(gateway.apply(major, "install", said))
    gateway.scale(INDEXER, 7)
    ran = gateway.apply(major, "upgrade", said)
    if major == "helm4":
        assert ".spec.replicas" in ran.stderr
        assert 'conflict with "kube-controller-manager"' in ran.stderr
        ran = gateway.apply(major, "upgrade", said, options=("--force-conflicts",))
    done(ran)
    assert gateway.replicas(INDEXER) == 3


def test_each_revision_has_a_job_of_its_own_for_the_topics(gateway: Release, major: str) -> None:
    """So one that has failed says nothing of the next; tests/e2e has one fail."""
    done(gateway.apply(major, "install"))
    seen = [job_names(gateway)]
    done(gateway.apply(major, "upgrade"))
    seen.append(job_names(gateway))
    done(gateway.helm(major, "rollback", "mesh", "1", "--no-hooks"))
    assert [len(names) for names in seen] == [1, 1]
    assert seen[0] != seen[1]
    assert job_names(gateway) == seen[0]


def job_names(release: Release) -> set[str]:
    return {one["metadata"]["name"] for one in release.get("jobs")["items"]}


@pytest.mark.parametrize(("first", "other"), [HELMS, HELMS[::-1]])
def test_release_goes_from_one_major_to_the_other_and_back(
    first: str, other: str, gateway: Release
) -> None:
    done(gateway.apply(first, "install", "indexer.podLabels.x=a"))
    for major, value in ((other, "b"), (first, "c")):
        done(gateway.apply(major, "upgrade", f"indexer.podLabels.x={value}"))
        assert label(gateway) == value
    # What is left out goes, whoever wrote it.
    done(gateway.apply(other, "upgrade"))
    assert label(gateway) is None
    for major, revision, value in ((other, "2", "b"), (first, "1", "a")):
        done(gateway.helm(major, "rollback", "mesh", revision, "--no-hooks"))
        assert label(gateway) == value
    done(gateway.helm(other, "uninstall", "mesh", "--no-hooks"))
    assert gateway.get("deployments,jobs,networkpolicies")["items"] == []


def test_release_of_helm_3_stays_applied_by_the_client_until_it_is_asked_for(
    gateway: Release,
) -> None:
    done(gateway.apply("helm3", "install"))
    done(gateway.apply("helm4", "upgrade", "indexer.podLabels.x=a"))
    assert managers(gateway) == {("helm", "Update")}
    done(gateway.apply("helm4", "upgrade", options=("--server-side=true",)))
    assert managers(gateway) == {("helm", "Apply")}
    done(gateway.apply("helm4", "upgrade", "indexer.podLabels.x=b"))
    assert managers(gateway) == {("helm", "Apply")}


def managers(release: Release) -> set[tuple[str, str]]:
    found = release.get(INDEXER, "--show-managed-fields")
    return {(one["manager"], one["operation"]) for one in found["metadata"]["managedFields"]}


def label(release: Release) -> str | None:
    template = release.get(INDEXER)["spec"]["template"]
    found: str | None = template["metadata"]["labels"].get("x")
    return found


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApi]:
    with serving(tmp_path_factory.mktemp("bare"), crds=False) as api:
        yield api


@pytest.fixture
def bare_api(own_server: KubeApi) -> Iterator[KubeApi]:
    """An API server that does not know our kinds yet."""
    yield own_server
    forget(own_server)


def forget(api: KubeApi) -> None:
    """Take the definitions away. There are no objects of theirs, and so nothing is waited for: what
    the server does before it lets go of a definition takes more than a minute now and then."""
    api.kubectl("delete", "crd", "--all", "--wait=false")
    deadline = time.monotonic() + 60
    while names := api.kubectl("get", "crd", "-o", "name").stdout.split():
        assert time.monotonic() < deadline, names
        for name in names:
            bare = ("patch", name, "--type=merge", "-p", '{"metadata":{"finalizers":[]}}')
            api.kubectl(*bare)


@pytest.fixture
def operator(umbrella: Path, bare_api: KubeApi) -> Release:
    """A release of the operator and the definitions by themselves."""
    return Release(bare_api, umbrella.parent / "tenant-operator")


def test_definitions_that_somebody_applied_can_be_taken_into_the_release(
    operator: Release, tmp_path: Path, major: str
) -> None:
    api, chart = operator.api, operator.chart
    done(api.kubectl("apply", "--server-side", "-f", CRDS))
    refused = operator.apply(major, "install")
    assert "invalid ownership metadata" in refused.stderr
    operator.helm(major, "uninstall", "mesh", "--no-hooks")
    force = ("--force-conflicts",) if major == "helm4" else ()
    done(operator.apply(major, "install", options=("--take-ownership", *force)))
    # What a later version changes arrives, whoever had written it.
    operator.chart = changed(chart, tmp_path / "newer")
    ran = operator.apply(major, "upgrade")
    if major == "helm4":
        assert 'conflict with "kubectl"' in ran.stderr
        ran = operator.apply(major, "upgrade", options=force)
    done(ran)
    (version,) = operator.get("crd", "tenants.mesh.distributedai.io")["spec"]["versions"]
    assert "Changed." in json.dumps(version)
    # From then on they are Helm's alone, and they outlive the release.
    operator.chart = chart
    done(operator.apply(major, "upgrade"))
    done(operator.helm(major, "uninstall", "mesh", "--no-hooks"))
    assert len(operator.get("crd")["items"]) == 3


def test_definitions_of_somebody_else_are_applied_as_documented_again_and_again(
    operator: Release, tmp_path: Path
) -> None:
    api = operator.api
    documented = (
        "kubectl apply --server-side --force-conflicts -f charts/tenant-operator/files/crds"
    )
    text = (CHARTS.parent / "docs/operations.md").read_text()
    commands = re.findall(r"kubectl [^|`]*?files/crds", text)
    assert len(commands) >= 4
    assert {*commands} == {documented}
    command = documented.split()[1:-1]
    newer = str(changed(operator.chart, tmp_path / "newer") / "files/crds")
    # However they came, the first time and with the next version of the files.
    for first in (["apply", "-f"], ["create", "-f"]):
        for arguments in ([*first, CRDS], [*command, CRDS], [*command, newer], [*command, CRDS]):
            done(api.kubectl(*arguments))
        forget(api)
    # Helm has written them before, and then leaves them alone.
    for major in HELMS:
        done(operator.apply(major, "install"))
        done(operator.apply(major, "upgrade", "crds.install=false"))
        done(api.kubectl(*command, newer))
        done(operator.helm(major, "uninstall", "mesh", "--no-hooks"))
        assert len(operator.get("crd")["items"]) == 3
        forget(api)


@pytest.mark.parametrize("first", [("apply",), ("apply", "--server-side"), ("create",)])
def test_definitions_applied_twice_do_not_conflict(
    first: tuple[str, ...], bare_api: KubeApi
) -> None:
    """The files hold what the server stores: nothing that it drops."""
    done(bare_api.kubectl(*first, "-f", CRDS))
    done(bare_api.kubectl("apply", "--server-side", "-f", CRDS))


def changed(operator: Path, folder: Path) -> Path:
    """Return a copy of the operator's chart in which a definition says something else."""
    shutil.copytree(operator, folder)
    file = folder / "files/crds/tenants.yaml"
    text = file.read_text()
    assert text.count("Why, for people.") == 1
    file.write_text(text.replace("Why, for people.", "Changed."))
    return folder
