"""Records that lie elsewhere than their users' deletions: noticed, and nothing else is."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from ai_gateway.placement import PlacementCheck
from ai_gateway.vector_store.port import PARTITIONS_ADDED
from apps import Mesh, running_mesh
from builders import make_context
from meshkit.events.envelope import EventType, UserData, UserEvent, record_key, to_record
from meshkit.events.log import USER_EVENTS, NewRecord, Record
from meshkit.events.partition import partition_of
from waiting import eventually

A = make_context("tenant-a")
PARTITIONS = 12
KEY, PARTITION = "another key", "another partition"


def make_event(user_id: str) -> UserEvent:
    data = UserData("tenant-a", user_id, "a@example.com", "Alice")
    return UserEvent("e", EventType.CREATED, A, user_id, "", data)


def make_record(
    user_id: str, *, partition: int | None = None, offset: int = 1, **changes: Any
) -> Record:
    """A record of user-service, in the partition of its key, except for what is given."""
    new = to_record(make_event(user_id))
    if partition is None:
        partition = partition_of(new.key, PARTITIONS)
    record = Record(USER_EVENTS, partition, offset, new.key, new.value, new.headers, 0)
    return replace(record, **changes)


def elsewhere(user_id: str) -> int:
    return (partition_of(record_key(A, user_id), PARTITIONS) + 1) % PARTITIONS


def users_in(partition: int, count: int) -> list[str]:
    """Users whose keys belong into one partition."""
    names = (f"u{n}" for n in range(100_000))
    found = (name for name in names if partition_of(record_key(A, name), PARTITIONS) == partition)
    return [next(found) for _ in range(count)]


@pytest.fixture
def check() -> PlacementCheck:
    check = PlacementCheck()
    check.partitions = PARTITIONS
    return check


def seen(check: PlacementCheck, record: Record, user_id: str) -> str:
    return check.misplaced(record, make_event(user_id)) or ""


def test_records_where_they_belong_are_not_noticed(check: PlacementCheck) -> None:
    for n in range(5000):
        user_id = f"u{n}" if n % 3 else f"https://idp.example/users/{n}"
        assert check.misplaced(make_record(user_id, offset=n), make_event(user_id)) is None


@pytest.mark.parametrize(
    "key", [b"u1", b"", b"uid-of-tenant-b/u1", b"uid-of-tenant-a/u2", b"uid-of-tenant-a/u1 "]
)
def test_another_key_is_always_noticed(check: PlacementCheck, key: bytes) -> None:
    for user_id in users_in(3, 1000):
        check.misplaced(make_record(user_id), make_event(user_id))
    assert KEY in seen(check, make_record("u1", key=key), "u1")


def test_another_key_is_noticed_before_the_partitions_are_known() -> None:
    check = PlacementCheck()
    assert KEY in seen(check, make_record("u1", key=b"u1"), "u1")
    assert seen(check, make_record("u1", partition=elsewhere("u1")), "u1") == ""


def test_another_partition_is_noticed_at_the_start_of_each_partition(
    check: PlacementCheck,
) -> None:
    for user_id in users_in(3, 1000):
        check.misplaced(make_record(user_id), make_event(user_id))
    (stray,) = users_in(4, 1)
    assert PARTITION in seen(check, make_record(stray, partition=5), stray)


def test_records_of_others_are_looked_at_one_by_one(check: PlacementCheck) -> None:
    for user_id in users_in(3, 1010):
        check.misplaced(make_record(user_id), make_event(user_id))
    (stray,) = users_in(4, 1)
    own = make_record(stray, partition=3)
    foreign = [
        tuple((n, b"/crm" if n == "ce_source" else v) for n, v in own.headers),
        tuple(pair for pair in own.headers if pair[0] != "ce_source"),
        (),
        own.headers[:1],
    ]
    for headers in foreign:
        assert PARTITION in seen(check, replace(own, headers=headers), stray)


def test_one_in_64_of_our_own_records_is_looked_at_later(check: PlacementCheck) -> None:
    for user_id in users_in(3, 640):
        check.misplaced(make_record(user_id), make_event(user_id))
    (stray,) = users_in(4, 1)
    records = [make_record(stray, partition=3, offset=offset) for offset in range(1000, 1640)]
    assert sum(bool(seen(check, record, stray)) for record in records) == 10


def test_partition_that_was_added_is_noticed(check: PlacementCheck) -> None:
    assert seen(check, make_record("u1", partition=PARTITIONS), "u1") == PARTITIONS_ADDED


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with running_mesh() as mesh:
        await mesh.create("tenant-a", userId="u0")
        await indexed(mesh, "u0")
        yield mesh


async def indexed(mesh: Mesh, user_id: str) -> None:
    await eventually(lambda: user_id in {u.user.user_id for u in mesh.store._users(A)})


async def test_indexer_keeps_no_markers_for_our_own_events(mesh: Mesh) -> None:
    for n in range(30):
        await mesh.create("tenant-a", userId=f"u{n}", name=f"Alice {n}")
    await mesh.log.publish(USER_EVENTS, NewRecord(record_key(A, "u3"), None))
    await mesh.create("tenant-a", userId="last")
    await indexed(mesh, "last")
    assert mesh.store.keeps_markers_for is None


BARE = {"tenantId": "tenant-a", "userId": "u1", "email": "a@example.com", "name": "Alice"}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (NewRecord(b"u1", json.dumps(BARE).encode()), KEY),
        (NewRecord(record_key(A, "u1"), json.dumps(BARE).encode(), (), elsewhere("u1")), PARTITION),
        (replace(to_record(make_event("u1")), partition=elsewhere("u1")), PARTITION),
    ],
    ids=["bare under another key", "bare in another partition", "ours in another partition"],
)
async def test_indexer_has_markers_kept_once_a_record_lies_elsewhere(
    mesh: Mesh, record: NewRecord, reason: str
) -> None:
    await mesh.log.publish(USER_EVENTS, record)
    await indexed(mesh, "u1")
    assert reason in (mesh.store.keeps_markers_for or "")


async def test_indexer_has_markers_kept_once_partitions_were_added() -> None:
    async with running_mesh() as mesh:
        await mesh.create("tenant-a", userId="u0")
        await indexed(mesh, "u0")
        log, store = mesh.log, mesh.store
    log.partitions(USER_EVENTS).append([])
    async with running_mesh(log=log, store=store) as mesh:
        await mesh.create("tenant-a", userId="u1")
        await indexed(mesh, "u1")
    assert store.keeps_markers_for == PARTITIONS_ADDED
