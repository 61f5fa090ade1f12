"""`mesh tenants` on a real API server; the tests write what an operator would have written."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from builders import condition, make_context, make_policy, tenant_document
from kube_api import KubeApi, serving
from mesh.tenants import tenants_app
from mesh.tenants_goal import Goal
from mesh.tenants_release import held_by_us, release_all
from mesh.tenants_status import read_tenant
from mesh.tenants_wait import follow, started
from meshkit.embedded import EmbeddedData
from meshkit.events.envelope import EventType, UserData, UserEvent, to_record
from meshkit.events.log import USER_EVENTS
from meshkit.kube.client import KubeClient
from meshkit.kube.objects import Expired, NotFound
from meshkit.tenancy.resources import TENANTS
from meshkit.tenancy.spec import API_VERSION, ERASE_FINALIZER
from processes import clean_environment, free_ports
from waiting import eventually

pytestmark = pytest.mark.timeout(120)

_numbers = count(1)


class Namespace:
    """A namespace of one test, and the command that looks into it."""

    def __init__(self, api: KubeApi, name: str) -> None:
        self.api, self.name = api, name

    def run(self, *arguments: str, answer: str | None = None, **more: str) -> Result:
        environment = {
            "KUBECONFIG": str(self.api.kubeconfig),
            "MESH_TENANTS": f"kubernetes:{self.name}",
            "COLUMNS": "300",
        }
        return CliRunner().invoke(tenants_app, arguments, env=environment | more, input=answer)

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        done = self.api.kubectl(*arguments, "-n", self.name, text=text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def tenant(self, name: str = "tenant-a", metadata: Any = None, **spec: Any) -> None:
        self.kubectl("apply", "-f", "-", text=json.dumps(tenant_document(name, metadata, **spec)))

    def policy(self, name: str = "tenant-a") -> None:
        document = tenant_document(name) | {"kind": "TenantPolicy"}
        document["spec"] = make_policy(name).document()
        self.kubectl("apply", "-f", "-", text=json.dumps(document))

    def status(
        self, name: str, *conditions: dict[str, Any], generation: int = 1, **more: Any
    ) -> None:
        status = {"observedGeneration": generation, "conditions": [*conditions]} | more
        patch = ("--type=merge", "-p", json.dumps({"status": status}))
        self.kubectl("patch", "tenant", name, "--subresource=status", *patch)

    def delete(self, name: str = "tenant-a") -> None:
        self.kubectl("delete", "tenant", name, "--wait=false")

    def held(self, name: str = "tenant-a", *more: str, **spec: Any) -> None:
        """Make a tenant that is being deleted, and that our finalizer holds."""
        self.tenant(name, {"finalizers": [ERASE_FINALIZER, *more]}, **spec)
        self.delete(name)


@pytest.fixture
def space(kube_api: KubeApi) -> Namespace:
    name = f"command-{next(_numbers)}"
    assert kube_api.kubectl("create", "namespace", name).returncode == 0
    return Namespace(kube_api, name)


@pytest.fixture
async def client(space: Namespace) -> AsyncIterator[KubeClient]:
    async with KubeClient(space.api.connection(space.name)) as client:
        yield client


@pytest.fixture(scope="module")
def bare_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApi]:
    """A server that does not know our kinds."""
    with serving(tmp_path_factory.mktemp("bare"), crds=False) as api:
        yield api


def rows(output: str) -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines()]
    return {row[0]: row[1:] for row in cells if row}


def sentence(result: Result) -> str:
    """The one line of a question that could not be answered."""
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    (line,) = result.stderr.splitlines()
    return line


# Looking


def test_list_has_the_limits_and_whether_they_are_in_force(space: Namespace) -> None:
    space.tenant("tenant-a", plan="standard")
    space.tenant("tenant-b", plan="gold")
    space.policy("tenant-a")
    usage = {"storedUsers": "87/1000"}
    ready = (condition("Accepted"), condition("Ready"))
    space.status("tenant-a", *ready, enforcedReplicas="3/3", usage=usage)
    result = space.run("list")
    assert result.exit_code == 0
    listed = rows(result.stdout)
    assert listed["tenant-a"][:2] == ["standard", "Active"]
    assert listed["tenant-a"][-3:] == ["87/1000", "True", "3/3"]
    assert listed["tenant-b"][:2] == ["gold", "no policy"]
    assert listed["tenant-b"][-2:] == ["not looked at yet", "-"]
    assert "1 problem" in result.stderr


def test_list_of_a_namespace_without_tenants_says_how_to_begin(space: Namespace) -> None:
    result = space.run("list")
    assert result.exit_code == 0
    assert f"no tenants in namespace {space.name} yet" in result.stdout
    assert space.run("list", "-o", "json").stdout == "[]\n"


def test_show_has_the_policy_and_the_conditions(space: Namespace) -> None:
    space.tenant()
    space.policy()
    waiting = condition("Enforced", "False", "Waiting", "2 of 3 [replicas] have it")
    space.status("tenant-a", condition("Accepted"), waiting, enforcedReplicas="2/3")
    result = space.run("show", "tenant-a")
    assert result.exit_code == 0
    shown = rows(result.stdout)
    assert shown["Enforced"][:3] == ["False", "Waiting", "2 of 3 [replicas] have it"]
    assert shown["users.write"][1] == "override"
    assert "enforced by 2/3" in result.stdout


def test_json_has_policy_and_status(space: Namespace) -> None:
    space.tenant()
    space.policy()
    space.status("tenant-a", condition("Accepted"), policyRevision="r1")
    shown = json.loads(space.run("show", "tenant-a", "-o", "json").stdout)
    assert (shown["revision"], shown["status"]["policyRevision"]) == ("r1", "r1")
    assert json.loads(space.run("list", "-o", "json").stdout) == [shown]


def test_check_says_who_is_not_accepted_and_who_was_not_looked_at(space: Namespace) -> None:
    for name in ("good", "refused", "waiting"):
        space.tenant(name)
    space.status("good", condition("Accepted"))
    reason = ("UnknownPlan", "spec.plan: there is no TenantPlan named 'x'")
    space.status("refused", condition("Accepted", "False", *reason))
    result = space.run("check")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "refused: spec.plan: there is no TenantPlan named 'x'",
        "waiting: not looked at yet (is the operator running?)",
    ]
    problems = json.loads(space.run("check", "-o", "json").stdout)
    assert [problem["path"] for problem in problems] == ["spec.plan", ""]


def test_check_says_when_an_edit_was_not_looked_at_yet(space: Namespace) -> None:
    space.tenant()
    space.status("tenant-a", condition("Accepted"))
    result = space.run("check")
    assert (result.exit_code, result.stdout) == (0, "1 tenant, nothing wrong.\n")
    space.tenant(weight=7)
    result = space.run("check")
    assert result.exit_code == 1
    assert "not looked at yet" in result.stdout


# What cannot be answered


def test_unknown_tenant_is_answered_with_close_names(space: Namespace) -> None:
    space.tenant()
    for command in (["show"], ["wait"], ["release", "--yes"]):
        said = sentence(space.run(*command, "tenant-aa"))
        assert "there is no tenant 'tenant-aa'. Did you mean tenant-a?" in said


def test_wait_for_all_where_there_is_nobody_is_no_success(space: Namespace) -> None:
    assert "no tenants in namespace" in sentence(space.run("wait", "--all"))


@pytest.mark.parametrize("command", [["list"], ["check"], ["wait", "--all"], ["release", "--all"]])
def test_missing_permission_is_named(space: Namespace, command: list[str]) -> None:
    said = sentence(space.run(*command, "--context", "guest"))
    assert f"to list tenants.mesh.distributedai.io in namespace {space.name}" in said


def test_context_that_is_not_there_is_said(space: Namespace) -> None:
    assert "nowhere" in sentence(space.run("list", "--context", "nowhere"))


def test_expired_credentials_are_told_from_a_missing_permission(
    space: Namespace, tmp_path: Path
) -> None:
    config = yaml.safe_load(space.api.kubeconfig.read_text())
    config["users"][0]["user"]["token"] = "another"
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    said = sentence(space.run("list", KUBECONFIG=str(tmp_path / "config")))
    assert "log in to the cluster again" in said


def test_server_that_is_away_is_said_with_its_address(space: Namespace, tmp_path: Path) -> None:
    config = yaml.safe_load(space.api.kubeconfig.read_text())
    url = config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{free_ports(1)[0]}"
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    for command in (["list"], ["wait", "tenant-a"]):
        said = sentence(space.run(*command, KUBECONFIG=str(tmp_path / "config")))
        assert "does not answer" in said
        assert url in said


@pytest.mark.parametrize("command", [["list"], ["wait", "--all"]])
def test_cluster_without_our_definitions_says_how_to_install_them(
    bare_api: KubeApi, command: list[str]
) -> None:
    said = sentence(Namespace(bare_api, "default").run(*command))
    assert "kubectl apply -f charts/tenant-operator/files/crds" in said


# Waiting


async def waited(
    client: KubeClient, goal: Goal, names: list[str] | None, said: list[str], seconds: float = 30
) -> tuple[list[str], dict[str, str]]:
    waiting, version = await started(client, goal, names, not names)
    await follow(client, waiting, version, said.append, seconds)
    return waiting.reached, waiting.lost


async def apply_status(client: KubeClient, name: str, generation: int, *conditions: Any) -> None:
    """Write a status as the operator does."""
    document = {
        "apiVersion": API_VERSION,
        "kind": "Tenant",
        "metadata": {"name": name},
        "status": {"observedGeneration": generation, "conditions": [*conditions]},
    }
    await client.apply(TENANTS, document, manager="operator", subresource="status")


async def test_wait_ends_with_the_status_that_is_about_the_newest_edit(client: KubeClient) -> None:
    await client.create(TENANTS, tenant_document("tenant-a"))
    await apply_status(client, "tenant-a", 1, condition("Enforced"))
    await client.merge_patch(TENANTS, "tenant-a", {"spec": {"weight": 5}})
    said: list[str] = []
    wait = asyncio.create_task(waited(client, Goal.ENFORCED, ["tenant-a"], said))
    await eventually(lambda: bool(said))
    assert "is the operator running?" in said[0]
    missing = condition("Enforced", "False", "Waiting", "2 of 3")
    await apply_status(client, "tenant-a", 2, missing)
    await eventually(lambda: said[-1].endswith("Enforced=False (Waiting): 2 of 3"))
    await apply_status(client, "tenant-a", 2, condition("Enforced"))
    assert await wait == (["tenant-a"], {})


async def test_wait_for_all_waits_for_each(client: KubeClient) -> None:
    names = ["tenant-a", "tenant-b", "tenant-c"]
    for name in names:
        await client.create(TENANTS, tenant_document(name))
    said: list[str] = []
    wait = asyncio.create_task(waited(client, Goal.READY, None, said))
    await eventually(lambda: bool(said))
    await apply_status(client, "tenant-b", 1, condition("Ready"))
    await eventually(lambda: said[-1].startswith("2 of 3 not ready yet; tenant-a: "))
    for name in ("tenant-a", "tenant-c"):
        await apply_status(client, name, 1, condition("Ready"))
    assert await wait == (names, {})


async def test_wait_for_all_leaves_out_who_is_on_the_way_out(client: KubeClient) -> None:
    await client.create(TENANTS, tenant_document("tenant-a"))
    leaving = tenant_document("leaving", {"finalizers": [ERASE_FINALIZER]})
    await client.create(TENANTS, leaving)
    await client.delete(TENANTS, "leaving")
    await apply_status(client, "tenant-a", 1, condition("Enforced"))
    assert await waited(client, Goal.ENFORCED, None, []) == (["tenant-a"], {})


async def test_wait_ends_at_once_when_the_tenant_is_deleted(client: KubeClient) -> None:
    await client.create(TENANTS, tenant_document("tenant-a"))
    said: list[str] = []
    wait = asyncio.create_task(waited(client, Goal.ENFORCED, ["tenant-a"], said))
    await eventually(lambda: bool(said))
    await client.delete(TENANTS, "tenant-a")
    assert await wait == ([], {"tenant-a": "it was deleted"})


async def test_wait_for_deletion_ends_when_the_object_is_gone(client: KubeClient) -> None:
    held = tenant_document("tenant-a", {"finalizers": [ERASE_FINALIZER]})
    await client.create(TENANTS, held)
    await client.delete(TENANTS, "tenant-a")
    said: list[str] = []
    wait = asyncio.create_task(waited(client, Goal.DELETED, ["tenant-a", "never-there"], said))
    await eventually(lambda: bool(said))
    assert f"held by {ERASE_FINALIZER}" in said[0]
    await apply_status(client, "tenant-a", 2, condition("Deleting", message="9 points left"))
    await eventually(lambda: "9 points left" in said[-1])
    await release_all(client, await held_by_us(client, ["tenant-a"], False))
    reached, lost = await wait
    assert (sorted(reached), lost) == (["never-there", "tenant-a"], {})


async def test_wait_goes_on_when_the_server_has_forgotten_the_version(client: KubeClient) -> None:
    await client.create(TENANTS, tenant_document("tenant-a"))
    waiting, _ = await started(client, Goal.ENFORCED, ["tenant-a"], False)
    await apply_status(client, "tenant-a", 1, condition("Enforced"))
    with pytest.raises(Expired):
        await anext(client.watch(TENANTS, "1"))
    await follow(client, waiting, "1", lambda _: None, 30)
    assert waiting.reached == ["tenant-a"]


async def test_wait_goes_on_while_the_server_is_away(own_api: KubeApi) -> None:
    async with KubeClient(own_api.connection()) as client:
        await client.create(TENANTS, tenant_document("tenant-a"))
        said: list[str] = []
        wait = asyncio.create_task(waited(client, Goal.ENFORCED, ["tenant-a"], said, 90))
        await eventually(lambda: bool(said))
        own_api.server.kill()
        await eventually(lambda: "still waiting" in said[-1], 30)
        await asyncio.to_thread(own_api.start)
        await apply_status(client, "tenant-a", 1, condition("Enforced"))
        assert await wait == (["tenant-a"], {})


async def test_wait_without_the_permission_to_watch_says_so(space: Namespace) -> None:
    space.kubectl(
        *("create", "role", "lister", "--verb=list", "--resource=tenants.mesh.distributedai.io")
    )
    space.kubectl("create", "rolebinding", "lister", "--role=lister", "--user=guest")
    space.tenant()
    result = await asyncio.to_thread(space.run, "wait", "tenant-a", "--context", "guest")
    assert result.exit_code == 2
    assert "you lack the permission to watch tenants.mesh.distributedai.io" in result.stderr


def test_wait_that_takes_too_long_says_what_is_missing(space: Namespace) -> None:
    space.tenant()
    space.status("tenant-a", condition("Enforced", "False", "Waiting", "2 of 3 replicas"))
    result = space.run("wait", "tenant-a", "--timeout", "0")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == (
        "error: tenant-a is not enforced after 0 s: Enforced=False (Waiting): 2 of 3 replicas"
    )
    (waited,) = json.loads(space.run("wait", "--all", "--timeout", "0", "-o", "json").stdout)
    assert waited["missing"]["reason"] == "Waiting"


def test_wait_of_a_process_ends_with_its_status(space: Namespace, tmp_path: Path) -> None:
    space.tenant()
    command = [str(Path(sys.executable).parent / "mesh"), "tenants", "wait", "tenant-a"]
    environment = clean_environment() | {
        "KUBECONFIG": str(space.api.kubeconfig),
        "MESH_TENANTS": f"kubernetes:{space.name}",
    }
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stderr is not None
        # It says what it waits for once it has listed.
        assert "1 of 1 not enforced yet" in process.stderr.readline()
        space.status("tenant-a", condition("Enforced"))
        output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "tenant-a enforced\n")


# Releasing


def test_release_says_what_it_means_and_asks_first(space: Namespace) -> None:
    space.held(deletionPolicy="Delete")
    result = space.run("release", "tenant-a", answer="n\n")
    assert result.exit_code == 1
    assert "their data stays where it is" in result.stderr
    assert "deletionPolicy Delete" in result.stderr
    assert ERASE_FINALIZER in space.kubectl("get", "tenant", "tenant-a", "-o", "yaml")
    result = space.run("release", "tenant-a", answer="y\n")
    assert result.exit_code == 0
    assert "tenant-a released" in result.stdout
    assert space.kubectl("get", "tenants") == ""


def test_release_without_anybody_to_ask_releases_nothing(space: Namespace) -> None:
    space.held()
    result = space.run("release", "tenant-a", answer="")
    assert result.exit_code == 1
    assert "--yes" in result.stderr
    assert ERASE_FINALIZER in space.kubectl("get", "tenant", "tenant-a", "-o", "yaml")


def test_release_of_all_leaves_alone_who_is_not_being_deleted(space: Namespace) -> None:
    space.tenant("alive", {"finalizers": [ERASE_FINALIZER]})
    space.held("tenant-a")
    space.held("tenant-b")
    result = space.run("release", "--all", "--yes", "-o", "json")
    assert result.exit_code == 0
    assert [one["name"] for one in json.loads(result.stdout)] == ["tenant-a", "tenant-b"]
    assert space.kubectl("get", "tenants", "-o", "name").split() == [
        "tenant.mesh.distributedai.io/alive"
    ]
    assert "nothing to release" in space.run("release", "--all", "--yes").stdout


def test_release_of_the_standing_lets_a_later_deletion_wait_for_nobody(space: Namespace) -> None:
    space.tenant("alive", {"finalizers": [ERASE_FINALIZER]})
    result = space.run("release", "--all", "--standing", "--yes")
    assert result.exit_code == 0
    assert "alive released" in result.stdout
    kept = yaml.safe_load(space.kubectl("get", "tenant", "alive", "-o", "yaml"))
    assert "finalizers" not in kept["metadata"]
    space.kubectl("delete", "tenant", "alive", "--timeout=10s")


def test_release_leaves_the_finalizers_of_others(space: Namespace) -> None:
    space.held("tenant-a", "example.com/theirs")
    result = space.run("release", "tenant-a", "--yes")
    assert "example.com/theirs holds it still" in result.stdout
    kept = yaml.safe_load(space.kubectl("get", "tenant", "tenant-a", "-o", "yaml"))
    assert kept["metadata"]["finalizers"] == ["example.com/theirs"]
    assert "what holds it is example.com/theirs" in sentence(space.run("release", "tenant-a"))
    space.kubectl(
        "patch", "tenant", "tenant-a", "--type=merge", "-p", '{"metadata":{"finalizers":null}}'
    )


def test_release_of_a_tenant_that_nobody_deleted_is_refused(space: Namespace) -> None:
    space.tenant(metadata={"finalizers": [ERASE_FINALIZER]})
    assert "is not being deleted" in sentence(space.run("release", "tenant-a", "--yes"))


async def test_release_of_a_tenant_that_changed_meanwhile_looks_again(client: KubeClient) -> None:
    document = tenant_document("tenant-a", {"finalizers": [ERASE_FINALIZER]})
    await client.create(TENANTS, document)
    await client.delete(TENANTS, "tenant-a")
    held = await held_by_us(client, None, True)
    await apply_status(client, "tenant-a", 2, condition("Deleting"))
    assert await release_all(client, held) == []
    with pytest.raises(NotFound):
        await client.get(TENANTS, "tenant-a")
    # Once more does no harm, and neither does another tenant that has the name by now.
    await client.create(TENANTS, document)
    assert await release_all(client, held) == []
    kept = read_tenant(await client.get(TENANTS, "tenant-a"))
    assert kept.finalizers == (ERASE_FINALIZER,)


async def test_release_without_the_permission_to_patch_says_so(
    space: Namespace, client: KubeClient
) -> None:
    space.kubectl(
        *("create", "role", "lister", "--verb=list", "--resource=tenants.mesh.distributedai.io")
    )
    space.kubectl("create", "rolebinding", "lister", "--role=lister", "--user=guest")
    space.held()
    command = ("release", "tenant-a", "--yes", "--context", "guest")
    result = await asyncio.to_thread(space.run, *command)
    assert "you lack the permission to patch tenants.mesh.distributedai.io" in sentence(result)


# The samples


def test_samples_are_the_same_tenants_in_a_folder_and_in_a_cluster(
    space: Namespace, pytestconfig: pytest.Config
) -> None:
    folder = pytestconfig.rootpath / "tenants"
    space.kubectl("apply", "-f", str(folder))
    in_cluster = json.loads(space.run("list", "-o", "json").stdout)
    checked = space.run("check", MESH_TENANTS=str(folder))
    assert checked.exit_code == 0, checked.output
    in_folder = json.loads(space.run("list", "-o", "json", MESH_TENANTS=str(folder)).stdout)
    assert {(t["tenantId"], t["plan"]) for t in in_cluster} == {
        (t["tenantId"], t["plan"]) for t in in_folder
    }
    plans = space.kubectl("get", "tenantplans", "-o", "name").split()
    assert {plan.partition("/")[2] for plan in plans} == {"free", "standard", "enterprise"}


# Retained data


def fill(folder: Path, *uids: str) -> dict[str, str]:
    """Put a user of each uid into an embedded log; return the setting that says where it is."""

    async def publish() -> None:
        async with EmbeddedData(folder).event_log() as log:
            for uid in uids:
                tenant = make_context("tenant-a", uid)
                data = UserData("tenant-a", "alice", "alice@example.com", "Alice")
                event = UserEvent("e", EventType.CREATED, tenant, "alice", "", data)
                await log.publish(USER_EVENTS, to_record(event))

    asyncio.run(publish())
    return {"MESH_DATA_DIR": str(folder)}


def uids(result: Result) -> set[str]:
    assert result.exit_code == 0, result.output
    return {one["tenantUid"] for one in json.loads(result.stdout)}


def test_retained_is_what_neither_a_tenant_nor_a_policy_has(
    space: Namespace, tmp_path: Path
) -> None:
    space.tenant("own")
    own = space.kubectl("get", "tenant", "own", "-o", "jsonpath={.metadata.uid}")
    space.tenant("adopter", adoptUid="adopted")
    space.held("leaving", adoptUid="being-erased")
    space.policy("tenant-a")
    there = (own, "adopted", "being-erased", "uid-of-tenant-a")
    where = fill(tmp_path, *there, "uid-of-tenant", "uid-of-tenant-ab")
    result = space.run("retained", "-o", "json", **where)
    assert uids(result) == {"uid-of-tenant", "uid-of-tenant-ab"}
    assert result.stderr == ""


def test_what_a_tenant_had_before_it_adopted_is_its_own_as_long_as_it_is_there(
    space: Namespace, tmp_path: Path
) -> None:
    space.tenant("adopter")
    own = space.kubectl("get", "tenant", "adopter", "-o", "jsonpath={.metadata.uid}")
    where = fill(tmp_path, own, "adopted")
    assert uids(space.run("retained", "-o", "json", **where)) == {"adopted"}
    space.tenant("adopter", adoptUid="adopted")
    assert uids(space.run("retained", "-o", "json", **where)) == set()
    space.kubectl("delete", "tenant", "adopter")
    assert uids(space.run("retained", "-o", "json", **where)) == {own, "adopted"}


def test_retained_in_a_cluster_says_how_data_is_erased(space: Namespace, tmp_path: Path) -> None:
    where = fill(tmp_path, "gone")
    (found,) = json.loads(space.run("retained", "-o", "json", **where).stdout)
    assert found["erase"] == {"adoptUid": "gone", "deletionPolicy": "Delete"}
    result = space.run("retained", **where)
    assert result.exit_code == 0
    assert "spec.deletionPolicy: Delete" in result.stdout
    assert "is it the right place?" in result.stderr


def test_retained_without_the_permission_is_no_answer(space: Namespace, tmp_path: Path) -> None:
    where = fill(tmp_path, "gone")
    assert "you lack the permission to list" in sentence(
        space.run("retained", "--context", "guest", **where)
    )
