"""Tenants from a watched folder: what an edit, a mistake and a deletion do."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

from builders import plan_document, tenant_document
from meshkit.tenancy.directory import DirectoryTenantSource
from meshkit.tenancy.folder import look
from meshkit.tenancy.source import TenantSourceError
from waiting import eventually


def write(folder: Path, file: str, *documents: Any) -> None:
    (folder / file).write_text(yaml.safe_dump_all(documents))


def limited(name: str, requests: int, **spec: Any) -> dict[str, Any]:
    return tenant_document(name, rateLimits=[{"name": "users.write", "requests": requests}], **spec)


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[DirectoryTenantSource]:
    write(tmp_path, "plans.yaml", plan_document("gold"))
    write(tmp_path, "a.yaml", limited("tenant-a", 10))
    write(tmp_path, "b.yaml", limited("tenant-b", 10, plan="gold"))
    async with DirectoryTenantSource(tmp_path) as source:
        yield source


def requests_of(source: DirectoryTenantSource, name: str) -> int | None:
    policy = source.get(name)
    return policy.rate_limit("users.write").requests if policy else None


async def test_saved_edit_comes_into_force(source: DirectoryTenantSource, tmp_path: Path) -> None:
    other = source.get("tenant-b")
    write(tmp_path, "a.yaml", limited("tenant-a", 99))
    await eventually(lambda: requests_of(source, "tenant-a") == 99)
    assert source.get("tenant-b") is other


async def test_edit_by_rename_comes_into_force(
    source: DirectoryTenantSource, tmp_path: Path
) -> None:
    write(tmp_path, ".a.yaml.tmp", limited("tenant-a", 7))
    os.replace(tmp_path / ".a.yaml.tmp", tmp_path / "a.yaml")
    await eventually(lambda: requests_of(source, "tenant-a") == 7)


async def test_new_and_deleted_files_bring_and_take_tenants(
    source: DirectoryTenantSource, tmp_path: Path
) -> None:
    write(tmp_path, "c.yaml", limited("tenant-c", 5))
    await eventually(lambda: source.get("tenant-c") is not None)
    (tmp_path / "c.yaml").unlink()
    await eventually(lambda: source.get("tenant-c") is None)
    assert source.get("tenant-a") is not None


@pytest.mark.parametrize(
    "content",
    [
        "kind: Tenant\n  bad: [",
        yaml.safe_dump(limited("tenant-a", -5)),
        yaml.safe_dump(limited("tenant-a", 5, plan="no-such-plan")),
        "metadata: {name: tenant-a, name: tenant-a}",
        "\x00\x01",
        "&a [*a]",
    ],
    ids=["no yaml", "bad value", "unknown plan", "key twice", "binary", "recursive"],
)
async def test_broken_file_changes_nothing_and_says_so(
    source: DirectoryTenantSource, tmp_path: Path, content: str
) -> None:
    before = dict(source.policies())
    with structlog.testing.capture_logs() as logs:
        (tmp_path / "a.yaml").write_text(content)
        await eventually(lambda: bool(source.problems()))
    (problem, *_) = source.problems()
    assert problem.source == "a.yaml"
    assert requests_of(source, "tenant-a") == 10
    assert source.get("tenant-b") is before["tenant-b"]
    assert [line["event"] for line in logs if line["log_level"] == "error"][:1] == [
        "tenant_not_accepted"
    ]
    write(tmp_path, "a.yaml", limited("tenant-a", 11))
    await eventually(lambda: requests_of(source, "tenant-a") == 11)
    assert source.problems() == ()


async def test_mistake_is_logged_once(source: DirectoryTenantSource, tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        (tmp_path / "a.yaml").write_text("[")
        await eventually(lambda: bool(source.problems()))
        write(tmp_path, "b.yaml", limited("tenant-b", 3))
        await eventually(lambda: requests_of(source, "tenant-b") == 3)
    assert sum(line["event"] == "tenant_not_accepted" for line in logs) == 1


async def test_broken_plan_keeps_its_last_form(
    source: DirectoryTenantSource, tmp_path: Path
) -> None:
    write(tmp_path, "plans.yaml", plan_document("gold", defaults={"weight": 1000}))
    await eventually(lambda: bool(source.problems()))
    policy = source.get("tenant-b")
    assert policy is not None
    assert policy.plan == "gold"


async def test_plans_edit_reaches_its_tenants(
    source: DirectoryTenantSource, tmp_path: Path
) -> None:
    untouched = source.get("tenant-a")
    write(tmp_path, "plans.yaml", plan_document("gold", defaults={"weight": 9}))
    await eventually(lambda: source.policies()["tenant-b"].weight.value == 9)
    assert source.get("tenant-a") is untouched


async def test_emptied_file_keeps_its_tenants_and_is_a_problem_until_it_is_written(
    source: DirectoryTenantSource, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text("")
    await eventually(lambda: bool(source.problems()))
    (problem,) = source.problems()
    assert "empty" in problem.message
    assert problem.kept
    assert source.freshness().startswith(
        "watched; not in force: 1, first a.yaml: the file is empty"
    )
    assert requests_of(source, "tenant-a") == 10
    write(tmp_path, "a.yaml", limited("tenant-a", 4))
    await eventually(lambda: requests_of(source, "tenant-a") == 4)
    assert source.problems() == ()


async def test_list_without_items_deletes_the_tenants_of_its_file(
    source: DirectoryTenantSource, tmp_path: Path
) -> None:
    write(tmp_path, "a.yaml", {"apiVersion": "v1", "kind": "List", "items": []})
    await eventually(lambda: source.get("tenant-a") is None)
    assert source.problems() == ()


async def test_json_file_is_read(source: DirectoryTenantSource, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps(limited("tenant-c", 5, displayName="\U0001f600")))
    await eventually(lambda: requests_of(source, "tenant-c") == 5)
    policy = source.get("tenant-c")
    assert policy is not None
    assert policy.display_name == "\U0001f600"


async def test_name_in_two_files_is_refused_and_the_first_holds(
    source: DirectoryTenantSource, tmp_path: Path
) -> None:
    write(tmp_path, "z.yaml", limited("tenant-a", 77))
    await eventually(lambda: bool(source.problems()))
    assert source.problems()[0].source == "z.yaml"
    assert requests_of(source, "tenant-a") == 10


async def test_two_tenants_cannot_share_a_uid(
    source: DirectoryTenantSource, tmp_path: Path
) -> None:
    victim = source.policies()["tenant-a"].tenant_uid
    write(tmp_path, "thief.yaml", limited("thief", 1, adoptUid=victim))
    await eventually(lambda: bool(source.problems()))
    assert source.get("thief") is None
    assert source.problems()[0].path == "spec.adoptUid"


async def test_replaced_folder_is_noticed(source: DirectoryTenantSource, tmp_path: Path) -> None:
    folder = tmp_path
    moved = tmp_path.with_name(tmp_path.name + "-old")
    folder.rename(moved)
    folder.mkdir()
    write(folder, "a.yaml", limited("tenant-a", 55))
    await eventually(lambda: requests_of(source, "tenant-a") == 55)


async def test_folder_that_vanishes_leaves_its_tenants(
    source: DirectoryTenantSource, tmp_path: Path
) -> None:
    with structlog.testing.capture_logs() as logs:
        tmp_path.rename(tmp_path.with_name(tmp_path.name + "-gone"))
        await eventually(lambda: any(x["event"] == "tenant_folder_unreadable" for x in logs))
    assert source.get("tenant-a") is not None


async def test_one_broken_of_a_thousand_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    for number in range(1000):
        write(tmp_path, f"t{number}.yaml", limited(f"t{number}", 5))
    source = DirectoryTenantSource(tmp_path)
    source.load()
    before = dict(source.policies())
    (tmp_path / "t500.yaml").write_text("{")
    source.load()
    assert len(source.problems()) == 1
    assert all(source.get(name) is policy for name, policy in before.items())


def test_missing_folder_says_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(TenantSourceError, match="MESH_TENANTS"):
        DirectoryTenantSource(tmp_path / "nowhere").load()


def test_other_kubernetes_objects_are_passed_over(tmp_path: Path) -> None:
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
    nested = {"kind": "List", "apiVersion": "v1", "items": [limited("tenant-l", 3)]}
    write(tmp_path, "mixed.yaml", config_map, nested)
    source = DirectoryTenantSource(tmp_path)
    source.load()
    assert (list(source.policies()), source.problems()) == (["tenant-l"], ())


def test_samples_in_the_repository_are_good() -> None:
    source = DirectoryTenantSource(Path("tenants"))
    source.load()
    assert source.problems() == ()
    policy = source.policies()["tenant-a"]
    assert policy.rate_limit("users.write").burst == 100


def test_folder_that_vanishes_during_a_look_deletes_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tenants"
    folder.mkdir()
    write(folder, "a.yaml", limited("tenant-a", 10))
    names = os.listdir(folder)
    known = look(folder, {})

    def listed_then_gone(_: Path) -> list[str]:
        folder.rename(tmp_path / "gone")
        return names

    monkeypatch.setattr(os, "listdir", listed_then_gone)
    with pytest.raises(FileNotFoundError):
        look(folder, known)
