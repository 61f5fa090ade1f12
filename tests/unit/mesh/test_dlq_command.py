"""`mesh dlq` and `mesh topics` on the embedded log."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mesh.cli import app
from meshkit.embedded import EmbeddedData
from meshkit.events.dead_letters import to_dead_letter
from meshkit.events.log import USER_EVENTS, USER_EVENTS_DLQ, NewRecord, Record

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    environment = {"MESH_DATA_DIR": str(tmp_path / "data"), "COLUMNS": "200"}

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments), env=environment)

    return invoke


@pytest.fixture
def letters(tmp_path: Path) -> None:
    """Two dead letters: one of tenant-a, and one of tenant-b that is superseded."""

    async def bury() -> None:
        async with EmbeddedData(tmp_path / "data").event_log() as log:
            for tenant in ("tenant-a", "tenant-b"):
                key = f"uid-of-{tenant}/u-1".encode()
                headers = (("ce_tenantid", tenant.encode()),)
                place = await log.publish(USER_EVENTS, NewRecord(key, b"\xff", headers))
                record = Record(
                    USER_EVENTS, place.partition, place.offset, key, b"\xff", headers, 0
                )
                await log.publish(USER_EVENTS_DLQ, to_dead_letter(record, "no [bold]JSON", 1))
            await log.publish(USER_EVENTS, NewRecord(b"uid-of-tenant-b/u-1", b"{}"))

    asyncio.run(bury())


def listed(run: Run, *arguments: str) -> list[dict[str, object]]:
    result: list[dict[str, object]] = json.loads(
        run("dlq", "list", "-o", "json", *arguments).stdout
    )
    return result


def test_no_dead_letters_is_said(run: Run) -> None:
    result = run("dlq", "list")
    assert (result.exit_code, result.stdout) == (0, "There are no dead letters.\n")


@pytest.mark.usefixtures("letters")
def test_letters_are_listed_with_their_reason_as_it_is(run: Run) -> None:
    shown = run("dlq", "list").stdout
    assert "no [bold]JSON" in shown
    assert [one["tenant"] for one in listed(run)] == ["tenant-a", "tenant-b"]
    assert [one["tenant"] for one in listed(run, "--tenant", "tenant-b")] == ["tenant-b"]


@pytest.mark.usefixtures("letters")
def test_letter_is_shown_whole(run: Run) -> None:
    place = str(listed(run)[0]["place"])
    document = json.loads(run("dlq", "show", place).stdout)
    assert document["value"] == {"hex": "ff"}
    assert document["headers"] == [["ce_tenantid", "tenant-a"]]
    assert document["key"] == "uid-of-tenant-a/u-1"


@pytest.mark.usefixtures("letters")
def test_replay_puts_back_what_is_not_superseded_and_only_once(run: Run) -> None:
    assert run("dlq", "replay", "--all").stdout == "1 put back, 1 left out as superseded.\n"
    assert run("dlq", "replay", "--all").stdout == "0 put back, 1 left out as superseded.\n"
    assert [one["tenant"] for one in listed(run)] == ["tenant-b"]
    assert [one["replayed"] for one in listed(run, "--all")] == [True, False]


@pytest.mark.usefixtures("letters")
def test_place_that_is_not_there_is_named(run: Run) -> None:
    for command in ("show", "replay"):
        result = run("dlq", command, "0/999")
        assert result.exit_code == 1
        assert "0/999" in result.stderr


@pytest.mark.usefixtures("letters")
def test_tenant_of_whom_there_is_no_letter_is_named(run: Run) -> None:
    result = run("dlq", "replay", "--tenant", "nobody", "--tenant", "tenant-a")
    assert result.exit_code == 1
    assert result.stdout == "1 put back, 0 left out as superseded.\n"
    assert "error: there is no dead letter of nobody (mesh dlq list --all)" in result.stderr
    assert "tenant-a" not in result.stderr


def test_replay_wants_to_know_which(run: Run) -> None:
    result = run("dlq", "replay")
    assert result.exit_code == 2
    assert "--all" in result.stderr


def test_embedded_log_needs_no_topics_made(run: Run) -> None:
    result = run("topics", "ensure")
    assert result.exit_code == 0
    assert "nothing to do" in result.stdout
