"""`mesh tenants`: what it shows, and what it says when something is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from builders import plan_document, tenant_document
from mesh.tenants import tenants_app


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(
        tmp_path,
        "plans.yaml",
        plan_document(
            "gold",
            defaults={"quotas": [{"name": "storedUsers", "limit": 5000}]},
            ceilings={"rateLimits": [{"name": "users.search", "requests": 7}], "weight": 3},
        ),
    )
    searches = {"name": "users.search", "unlimited": True}
    writes = {"name": "users.write", "requests": 30, "windowSeconds": 60, "burst": 40}
    spec: dict[str, Any] = {"plan": "gold", "rateLimits": [writes, searches], "weight": 9}
    write(tmp_path, "tenant-a.yaml", tenant_document("tenant-a", displayName="[b]A[/b]", **spec))
    return tmp_path


def write(folder: Path, file: str, *documents: dict[str, Any]) -> None:
    (folder / file).write_text(yaml.safe_dump_all(documents))


def run(*arguments: str, folder: Path) -> Result:
    environment = {"MESH_TENANTS": str(folder), "COLUMNS": "200"}
    return CliRunner().invoke(tenants_app, list(arguments), env=environment)


def rows(output: str) -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines()]
    return {row[0]: row[1:] for row in cells if row}


def test_list_shows_each_tenant_with_its_limits(folder: Path) -> None:
    result = run("list", folder=folder)
    assert result.exit_code == 0
    row = rows(result.output)["tenant-a"]
    assert row[:2] == ["gold", "Active"]
    assert "30/60 s, 40 at once" in row


def test_show_says_where_each_value_came_from(folder: Path) -> None:
    shown = rows(run("show", "tenant-a", folder=folder).output)
    assert shown["users.write"] == ["30/60 s, 40 at once", "override"]
    assert shown["users.search"] == ["7/s, 7 at once", "ceiling"]
    assert shown["ai.requests"][1] == "default"
    assert shown["storedUsers"] == ["5,000", "plan"]
    assert shown["weight"] == ["3", "ceiling"]
    assert shown["models"][1] == "default"


def test_markup_in_a_name_is_shown_as_it_is(folder: Path) -> None:
    assert "[b]A[/b]" in run("show", "tenant-a", folder=folder).output


def test_json_is_the_policy_document(folder: Path) -> None:
    shown = json.loads(run("show", "tenant-a", "-o", "json", folder=folder).output)
    listed = json.loads(run("list", "-o", "json", folder=folder).output)
    assert shown == listed[0]
    assert shown["weight"] == {"value": 3, "provenance": "ceiling"}


def test_unknown_tenant_is_answered_with_close_names(folder: Path) -> None:
    result = run("show", "tenant-aa", folder=folder)
    assert result.exit_code == 2
    assert "Did you mean tenant-a?" in result.stderr


def test_tenant_that_is_not_accepted_is_told_from_an_unknown_one(folder: Path) -> None:
    write(folder, "b.yaml", tenant_document("tenant-b", plan="nope"))
    result = run("show", "tenant-b", folder=folder)
    assert result.exit_code == 1
    assert "not accepted" in result.stderr
    assert "spec.plan" in result.stderr


def test_check_of_good_files_is_one_line(folder: Path) -> None:
    result = run("check", folder=folder)
    assert (result.exit_code, result.output) == (0, "1 tenant, nothing wrong.\n")


def test_check_says_all_that_is_wrong_with_file_and_path(folder: Path) -> None:
    write(folder, "b.yaml", tenant_document("tenant-b", weight=0, wieght=1))
    (folder / "c.yaml").write_text("a: [")
    result = run("check", folder=folder)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("b.yaml: tenant-b: spec.weight: ")
    assert lines[1].startswith("b.yaml: tenant-b: spec.wieght: ")
    assert lines[2].startswith("c.yaml: ")


@pytest.mark.parametrize("text", ["", "# tenant-z is to come\n"])
def test_check_names_a_file_that_is_empty(folder: Path, text: str) -> None:
    (folder / "z.yaml").write_text(text)
    result = run("check", folder=folder)
    assert result.exit_code == 1
    assert result.output.startswith("z.yaml: z: file: the file is empty")


def test_check_writes_problems_as_json(folder: Path) -> None:
    write(folder, "b.yaml", tenant_document("tenant-b", weight=0))
    result = run("check", "-o", "json", folder=folder)
    assert result.exit_code == 1
    (problem,) = json.loads(result.output)
    assert (problem["file"], problem["path"]) == ("b.yaml", "spec.weight")


def test_other_commands_mention_problems_and_still_answer(folder: Path) -> None:
    write(folder, "b.yaml", tenant_document("tenant-b", weight=0))
    result = run("list", folder=folder)
    assert result.exit_code == 0
    assert "mesh tenants check" in result.stderr


def test_missing_folder_says_the_way_out(tmp_path: Path) -> None:
    result = run("check", folder=tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "MESH_TENANTS" in result.stderr


def test_option_goes_before_the_environment(folder: Path, tmp_path: Path) -> None:
    result = run("list", "--tenants", str(folder), folder=tmp_path / "nowhere")
    assert "tenant-a" in result.output


def test_wait_on_a_folder_answers_at_once(folder: Path) -> None:
    result = run("wait", "tenant-a", folder=folder)
    assert (result.exit_code, result.stdout) == (0, "tenant-a enforced\n")
    assert "in force as soon as it is accepted" in result.stderr


def test_wait_on_a_folder_fails_for_a_tenant_that_is_not_accepted(folder: Path) -> None:
    write(folder, "b.yaml", tenant_document("tenant-b", plan="nope"))
    result = run("wait", "--all", folder=folder)
    assert (result.exit_code, result.stdout) == (1, "tenant-a enforced\n")
    assert "tenant-b is not enforced" in result.stderr
    assert "b.yaml: spec.plan" in result.stderr


def test_wait_for_deletion_on_a_folder_looks_whether_it_is_gone(folder: Path) -> None:
    assert run("wait", "tenant-b", "--for", "deleted", folder=folder).exit_code == 0
    result = run("wait", "tenant-a", "--for", "deleted", "-o", "json", folder=folder)
    assert result.exit_code == 1
    (waited,) = json.loads(result.stdout)
    assert (waited["name"], waited["reached"]) == ("tenant-a", False)


@pytest.mark.parametrize("arguments", [[], ["tenant-a", "--all"]])
@pytest.mark.parametrize("command", ["wait", "release"])
def test_either_names_or_all_are_needed(folder: Path, command: str, arguments: list[str]) -> None:
    place = ["--tenants", str(folder)] if command == "wait" else []
    result = run(command, *arguments, *place, folder=folder)
    assert result.exit_code == 2


def test_wait_for_an_unknown_tenant_names_close_ones(folder: Path) -> None:
    result = run("wait", "tenant-aa", folder=folder)
    assert result.exit_code == 2
    assert "Did you mean tenant-a?" in result.stderr


def test_release_says_that_a_folder_holds_nobody(folder: Path) -> None:
    result = run("release", "tenant-a", folder=folder)
    assert result.exit_code == 2
    assert "--tenants kubernetes" in result.stderr


def test_no_kubeconfig_is_one_clear_sentence(tmp_path: Path) -> None:
    environment = {"MESH_TENANTS": "kubernetes", "KUBECONFIG": str(tmp_path / "none")}
    result = CliRunner().invoke(tenants_app, ["list"], env=environment)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: there is no cluster to talk to")
    assert len(result.stderr.splitlines()) == 1
