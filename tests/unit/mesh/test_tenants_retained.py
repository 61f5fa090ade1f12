"""`mesh tenants retained` over the embedded log and a folder of tenants."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner, Result

from builders import make_context, tenant_document
from mesh.cli import app
from mesh.tenants_retained import listing
from meshkit.clock import utc_now
from meshkit.embedded import EmbeddedData
from meshkit.events.envelope import EventType, UserData, UserEvent, to_record
from meshkit.events.log import USER_EVENTS
from meshkit.events.retained import RetainedTenant
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.spec import UID_ANNOTATION

OLD, NEW = make_context("tenant-a", "first-life"), make_context("tenant-a", "second-life")
NOTHING = "No data is retained: all users in the log are of tenants that are there.\n"

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    environment = {
        "MESH_DATA_DIR": str(tmp_path / "data"),
        "MESH_TENANTS": str(tmp_path / "tenants"),
        "COLUMNS": "200",
    }

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["tenants", "retained", *arguments], env=environment)

    return invoke


@pytest.fixture(autouse=True)
def log(tmp_path: Path) -> None:
    """Three users of a tenant that has since been made anew, one of whom is deleted; and one of
    the tenant as it is now."""
    declare(tmp_path, "tenant-a", uid="second-life")
    users = [created(OLD, name) for name in ("alice", "bob", "carol")]
    deleted = UserEvent("e", EventType.DELETED, OLD, "bob", "", None)
    events = [*users, deleted, created(NEW, "dave")]

    async def publish() -> None:
        async with EmbeddedData(tmp_path / "data").event_log() as log:
            await log.publish_many(USER_EVENTS, [to_record(event) for event in events])

    asyncio.run(publish())


def created(tenant: TenantContext, name: str) -> UserEvent:
    data = UserData(tenant.tenant_id, name, f"{name}@example.com", name)
    return UserEvent("e", EventType.CREATED, tenant, name, "", data)


def declare(folder: Path, name: str, *, uid: str | None = None, **spec: object) -> None:
    (folder / "tenants").mkdir(exist_ok=True)
    metadata = {"annotations": {UID_ANNOTATION: uid}} if uid else {}
    document = tenant_document(name, metadata, **spec)
    (folder / "tenants" / f"{name}.yaml").write_text(yaml.safe_dump(document))


def test_tenant_that_is_gone_is_listed_with_the_ways(run: Run) -> None:
    result = run()
    assert (result.exit_code, result.stderr) == (0, "")
    (row,) = [line for line in result.stdout.splitlines() if "first-life" in line and "│" in line]
    assert [cell.strip() for cell in row.split("│")[1:4]] == ["tenant-a", "first-life", "2"]
    assert "spec.adoptUid: first-life" in result.stdout
    assert "second-life" not in result.stdout


def test_json_has_the_spec_that_takes_it_over(run: Run) -> None:
    (found,) = json.loads(run("-o", "json").stdout)
    assert found.pop("lastEvent").endswith("Z")
    assert found == {
        "tenantId": "tenant-a",
        "tenantUid": "first-life",
        "users": 2,
        "takeOver": {"adoptUid": "first-life"},
    }


def test_tenant_that_has_adopted_it_has_it(run: Run, tmp_path: Path) -> None:
    declare(tmp_path, "tenant-b", adoptUid="first-life")
    result = run()
    assert (result.exit_code, result.stdout) == (0, NOTHING)
    assert run("-o", "json").stdout == "[]\n"


def test_suspended_tenant_has_its_data(run: Run, tmp_path: Path) -> None:
    declare(tmp_path, "tenant-b", adoptUid="first-life", suspended=True)
    assert run().stdout == NOTHING


def test_folder_with_a_tenant_that_is_not_accepted_gives_no_answer(
    run: Run, tmp_path: Path
) -> None:
    declare(tmp_path, "tenant-b", plan="nowhere")
    result = run()
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert "tenant-b (tenant-b.yaml)" in line
    assert "mesh tenants check" in line


def test_folder_without_tenants_is_pointed_out(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run("--tenants", str(tmp_path / "empty"))
    assert result.exit_code == 0
    assert "is it the right place?" in result.stderr
    assert "second-life" in result.stdout


def test_log_that_is_not_there_is_no_answer_and_is_not_made(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    result = run()
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert "MESH_DATA_DIR" in line
    assert not (tmp_path / "data").exists()


def test_nothing_about_a_person_is_shown(run: Run) -> None:
    shown = run().output + run("-o", "json").output
    assert not any(name in shown for name in ("alice", "bob", "carol", "example.com"))


def test_uid_is_whole_however_narrow_it_is() -> None:
    tenant = make_context("a-tenant-with-a-long-name", "0b7a6a0e-3b1c-4c8e-9a57-6b0e3c3a9f11")
    narrow = Console(width=40)
    with narrow.capture() as capture:
        narrow.print(listing([RetainedTenant(tenant, 1, utc_now())]), crop=False)
    assert tenant.tenant_uid in capture.get()
