"""Who has users in the log and is there no more: by uid, to the last sign, and nobody else."""

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import make_context
from meshkit.errors import LogUnavailable
from meshkit.events.envelope import EventType, UserData, UserEvent, to_record
from meshkit.events.log import USER_EVENTS, NewRecord
from meshkit.events.memory_log import MemoryEventLog
from meshkit.events.retained import RetainedTenant, retained_tenants
from meshkit.tenancy.identity import TenantContext

A = make_context("tenant-a", "u-1")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def log() -> MemoryEventLog:
    return MemoryEventLog()


def user(tenant: TenantContext, user_id: str = "alice") -> NewRecord:
    data = UserData(tenant.tenant_id, user_id, f"{user_id}@example.com", "Alice")
    return to_record(UserEvent("e", EventType.CREATED, tenant, user_id, "", data))


def deletion(tenant: TenantContext, user_id: str = "alice") -> NewRecord:
    return to_record(UserEvent("e", EventType.DELETED, tenant, user_id, "", None))


async def put(log: MemoryEventLog, *records: NewRecord, hour: int = 12) -> None:
    """Publish records as if the log had taken them at this hour."""
    moment = int(NOON.replace(hour=hour).timestamp() * 1000)
    for record in records:
        position = await log.publish(USER_EVENTS, record)
        partition = log.partitions(USER_EVENTS)[position.partition]
        partition[-1] = msgspec.structs.replace(partition[-1], timestamp_ms=moment)


async def counted(log: MemoryEventLog, *in_use: str) -> dict[str, int]:
    return {one.tenant.tenant_uid: one.users for one in await retained_tenants(log, in_use)}


async def test_tenant_that_is_gone_is_listed_with_name_uid_users_and_last_event(
    log: MemoryEventLog,
) -> None:
    await put(log, *(user(A, f"user-{n}") for n in range(50)), hour=9)
    await put(log, user(A, "user-0"))
    assert await retained_tenants(log, ()) == [RetainedTenant(A, 50, NOON)]


async def test_tenant_that_is_there_is_not_listed(log: MemoryEventLog) -> None:
    await put(log, user(A), user(make_context("tenant-b", "u-2")))
    assert await counted(log, "u-1") == {"u-2": 1}


@pytest.mark.parametrize(("there", "gone"), [("u-1", "u-10"), ("u-10", "u-1")])
async def test_uid_that_begins_like_another_is_another(
    log: MemoryEventLog, there: str, gone: str
) -> None:
    await put(log, user(make_context("tenant-a", "u-1")), user(make_context("tenant-b", "u-10")))
    assert await counted(log, there) == {gone: 1}


async def test_deleted_users_are_not_counted(log: MemoryEventLog) -> None:
    await put(log, user(A, "alice"), user(A, "bob"), deletion(A, "alice"))
    assert await counted(log) == {"u-1": 1}


async def test_user_that_came_back_is_counted(log: MemoryEventLog) -> None:
    await put(log, user(A), deletion(A), user(A))
    assert await counted(log) == {"u-1": 1}


@pytest.mark.parametrize("partitions", [(2, 5), (5, 2)])
async def test_user_in_two_partitions_is_what_the_later_event_says(
    log: MemoryEventLog, partitions: tuple[int, int]
) -> None:
    def at(index: int, record: NewRecord) -> NewRecord:
        return msgspec.structs.replace(record, partition=partitions[index])

    await put(
        log, at(0, user(A, "alice")), at(0, user(A, "bob")), at(0, deletion(A, "cem")), hour=9
    )
    await put(log, at(1, deletion(A, "alice")), at(1, user(A, "bob")), hour=10)
    await put(log, at(1, user(A, "cem")), hour=10)
    assert await counted(log) == {"u-1": 2}


async def test_tenant_without_living_users_is_not_listed(log: MemoryEventLog) -> None:
    await put(log, user(A), deletion(A))
    assert await counted(log) == {}


async def test_deletion_is_an_event_and_has_the_time_of_the_last(log: MemoryEventLog) -> None:
    await put(log, user(A, "alice"), user(A, "bob"), hour=9)
    await put(log, deletion(A, "bob"))
    (found,) = await retained_tenants(log, ())
    assert found.last_event == NOON


async def test_two_incarnations_of_one_name_are_two_the_newer_first(log: MemoryEventLog) -> None:
    first, second = make_context("tenant-a", "first"), make_context("tenant-a", "second")
    await put(log, user(first), hour=9)
    await put(log, user(second), hour=10)
    assert [one.tenant for one in await retained_tenants(log, ())] == [second, first]
    assert await counted(log, "second") == {"first": 1}


async def test_name_is_that_of_the_newest_event(log: MemoryEventLog) -> None:
    await put(log, *(user(A, f"user-{n}") for n in range(20)), hour=9)
    adopter = make_context("tenant-b", "u-1")
    await put(log, user(adopter, "user-7"), hour=10)
    (found,) = await retained_tenants(log, ())
    assert (found.tenant, found.users) == (adopter, 20)


@pytest.mark.parametrize(
    "key", [b"", b"alice", b"/alice", b"alice@example.com/1", b"orders/1", b"uid-of-tenant-a/1"]
)
async def test_bare_event_under_a_key_of_its_own_makes_no_tenant(
    log: MemoryEventLog, key: bytes
) -> None:
    await put(log, NewRecord(key, b'{"tenantId": "tenant-a", "email": "alice@example.com"}'))
    assert await counted(log) == {}


async def test_event_of_one_tenant_under_the_key_of_another_makes_no_tenant(
    log: MemoryEventLog,
) -> None:
    await put(log, NewRecord(b"elsewhere/alice", b"{}", user(A).headers))
    assert await counted(log) == {}


async def test_bare_event_under_the_key_of_a_tenant_is_counted_as_it_would_be_erased(
    log: MemoryEventLog,
) -> None:
    await put(log, user(A, "alice"), NewRecord(b"u-1/bob", b"{}"))
    assert await counted(log) == {"u-1": 2}


async def test_structured_event_names_its_tenant(log: MemoryEventLog) -> None:
    event = {"specversion": "1.0", "tenantid": "tenant-a", "tenantuid": "u-1", "data": {}}
    headers = (("content-type", b"application/cloudevents+json"),)
    await put(log, NewRecord(b"u-1/alice", json.dumps(event).encode(), headers))
    assert await counted(log) == {"u-1": 1}


@pytest.mark.parametrize(
    "headers",
    [
        (("content-type", b"application/cloudevents+json"),),
        (("ce_specversion", b"1.0"), ("ce_tenantid", b"\xff"), ("ce_tenantuid", b"u-1")),
        (("ce_specversion", b"1.0"), ("ce_tenantid", b"Alice Doe"), ("ce_tenantuid", b"u-1")),
    ],
)
async def test_record_that_cannot_be_read_makes_no_tenant(
    log: MemoryEventLog, headers: tuple[tuple[str, bytes], ...]
) -> None:
    await put(log, NewRecord(b"u-1/alice", b"{", headers), NewRecord(b"u-1/bob", None, headers))
    assert await counted(log) == {}


async def test_nothing_about_a_person_comes_out(log: MemoryEventLog) -> None:
    await put(log, user(A, "alice"))
    shown = repr(await retained_tenants(log, ()))
    assert "alice" not in shown.lower()


async def test_progress_grows_up_to_all_of_it(log: MemoryEventLog) -> None:
    await put(log, *(user(A, f"user-{n}") for n in range(100)))
    told: list[tuple[int, int]] = []
    await retained_tenants(log, (), lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (100, 100)


async def test_log_that_is_away_is_said(log: MemoryEventLog) -> None:
    await log.close()
    with pytest.raises(LogUnavailable):
        await retained_tenants(log, ())


@given(
    st.lists(
        st.tuples(st.sampled_from(["u-1", "u-10", "u-2"]), st.sampled_from("abcd"), st.booleans())
    )
)
async def test_users_are_the_keys_whose_newest_record_has_a_value(
    said: list[tuple[str, str, bool]],
) -> None:
    log = MemoryEventLog()
    alive: dict[tuple[str, str], bool] = {}
    for uid, user_id, lives in said:
        tenant = make_context("tenant-a", uid)
        await put(log, user(tenant, user_id) if lives else deletion(tenant, user_id))
        alive[uid, user_id] = lives
    living = [uid for (uid, _), lives in alive.items() if lives and uid != "u-2"]
    assert await counted(log, "u-2") == {uid: living.count(uid) for uid in set(living)}
