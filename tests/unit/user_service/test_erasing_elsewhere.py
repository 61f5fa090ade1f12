"""Records of a tenant under keys that are not its own: ended where they lie, and nothing of anybody
else with them."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from builders import make_context
from meshkit.events.envelope import (
    BadEvent,
    EventType,
    UserData,
    UserEvent,
    own_uid,
    record_key,
    to_record,
)
from meshkit.events.log import USER_EVENTS, NewRecord, Position, Record
from meshkit.events.memory_log import MemoryEventLog
from meshkit.events.partition import partition_of
from meshkit.events.reading import from_record, named_tenant
from meshkit.tenancy.identity import TenantContext
from user_service import tenant_keys
from user_service.erasing import KeyCount, KeyEraser

A, B = make_context("tenant-a"), make_context("tenant-b")
SECOND_LIFE = make_context("tenant-a", "second-life")
DATA = {"email": "alice@example.com", "name": "Alice"}
STRUCTURED = ("content-type", b"application/cloudevents+json")

Headers = tuple[tuple[str, bytes], ...]


def attributes(tenant: TenantContext, user_id: str, *, uid: bool, **more: Any) -> dict[str, Any]:
    named = {"tenantid": tenant.tenant_id} | ({"tenantuid": tenant.tenant_uid} if uid else {})
    event = {"specversion": "1.0", "id": "e", "source": "/crm", "type": "user.created"}
    return event | {"subject": user_id} | named | more


def binary(tenant: TenantContext, user_id: str = "u1", *, uid: bool = True) -> NewRecord:
    pairs = attributes(tenant, user_id, uid=uid).items()
    headers = tuple((f"ce_{name}", str(value).encode()) for name, value in pairs)
    return NewRecord(b"crm-1", json.dumps(DATA).encode(), headers)


def structured(
    tenant: TenantContext, user_id: str = "u1", *, uid: bool = True, headers: Headers = ()
) -> NewRecord:
    event = attributes(tenant, user_id, uid=uid, data=DATA)
    return NewRecord(b"crm-1", json.dumps(event).encode(), headers)


def bare(tenant: TenantContext, user_id: str = "u1") -> NewRecord:
    body = DATA | {"tenantId": tenant.tenant_id, "userId": user_id}
    return NewRecord(b"crm-1", json.dumps(body).encode())


def own(tenant: TenantContext, user_id: str = "u1") -> NewRecord:
    data = UserData(tenant.tenant_id, user_id, "alice@example.com", "Alice")
    return to_record(UserEvent("e", EventType.CREATED, tenant, user_id, "", data))


def under(key: bytes, record: NewRecord, partition: int | None = None) -> NewRecord:
    return replace(record, key=key, partition=partition)


def deletion_with_a_value(tenant: TenantContext) -> NewRecord:
    event = attributes(tenant, "u1", uid=True, type="user.deleted")
    return NewRecord(b"crm-1", json.dumps(event).encode(), (STRUCTURED,))


def without_a_name(tenant: TenantContext) -> NewRecord:
    event = attributes(tenant, "u1", uid=True, data={"email": "alice@example.com"})
    return NewRecord(b"crm-1", json.dumps(event).encode())


FORMS: Mapping[str, NewRecord] = {
    "binary": binary(A),
    "binary without uid": binary(A, uid=False),
    "structured": structured(A, headers=(STRUCTURED,)),
    "structured without uid": structured(A, uid=False),
    "structured without subject": structured(A, ""),
    "bare": bare(A),
    "bare under the tenant's key": under(record_key(A, "u1"), bare(A)),
    "binary without uid under the tenant's key": under(record_key(A, "u1"), binary(A, uid=False)),
    "ours under another key": under(b"crm-1", own(A)),
    "ours in another partition": under(record_key(A, "u1"), own(A), 0),
    "under an empty key": under(b"", bare(A)),
    "under a key that is no text": under(b"\xff/\xfe", bare(A)),
    "under a key like a tenant's": under(b"customer/42", structured(A)),
    "a deletion that has a value": deletion_with_a_value(A),
    "no event at all, but of the tenant": without_a_name(A),
}


@pytest.fixture
def log() -> MemoryEventLog:
    return MemoryEventLog()


@pytest.fixture
def eraser(log: MemoryEventLog) -> KeyEraser:
    return KeyEraser(log, uids_in_force=lambda: (A.tenant_uid, B.tenant_uid))


def records(log: MemoryEventLog) -> list[Record]:
    return [record for partition in log.partitions(USER_EVENTS) for record in partition]


def indexed(log: MemoryEventLog, *in_force: TenantContext) -> set[tuple[str, str]]:
    """The users, by uid and id, of an index that is made from the log while these are in force."""
    by_id = {str(tenant.tenant_id): tenant for tenant in in_force}
    by_uid = {tenant.tenant_uid: tenant for tenant in in_force}
    newest: dict[tuple[str, str], tuple[Position, bool]] = {}
    for record in records(log):
        try:
            event = from_record(record, by_id.get, by_uid.get)
        except BadEvent:
            continue
        user = (event.tenant.tenant_uid, event.user_id)
        known = newest.get(user)
        if known is None or record.position.is_after(known[0]):
            newest[user] = record.position, event.data is not None
    return {user for user, (_, lives) in newest.items() if lives}


@pytest.mark.parametrize("record", FORMS.values(), ids=FORMS)
async def test_record_of_the_tenant_is_ended_where_it_lies(
    log: MemoryEventLog, eraser: KeyEraser, record: NewRecord
) -> None:
    place = await log.publish(USER_EVENTS, record)
    assert await eraser.count(A) == KeyCount(1, 0, 1)
    assert await eraser.tombstone(A) == KeyCount(1, 1, 0)
    last = log.partitions(USER_EVENTS)[place.partition][-1]
    assert (last.key, last.value) == (record.key, None)
    assert len(records(log)) == 2
    assert await eraser.count(A) == KeyCount(1, 0, 0)
    assert await eraser.tombstone(A) == KeyCount(1, 0, 0)
    assert len(records(log)) == 2


@pytest.mark.parametrize("record", FORMS.values(), ids=FORMS)
async def test_index_made_anew_has_nothing_of_the_erased_tenant(
    log: MemoryEventLog, eraser: KeyEraser, record: NewRecord
) -> None:
    """Also not the second tenant of that name, and before any compaction."""
    await log.publish(USER_EVENTS, record)
    await eraser.tombstone(A)
    assert indexed(log) == indexed(log, A) == indexed(log, SECOND_LIFE) == set()
    # A user of the second tenant under the same id is its own. Between partitions the log's time
    # decides, in milliseconds.
    await asyncio.sleep(0.002)
    await log.publish(USER_EVENTS, own(SECOND_LIFE))
    assert indexed(log, SECOND_LIFE) == {("second-life", "u1")}


@pytest.mark.parametrize(
    "record",
    [
        binary(B),
        binary(B, uid=False),
        structured(B),
        bare(B),
        own(B),
        binary(SECOND_LIFE),
        structured(SECOND_LIFE, headers=(STRUCTURED,)),
        under(b"crm-1", own(SECOND_LIFE)),
        NewRecord(b"crm-1", b"\xff"),
        NewRecord(b"crm-1", b"uid-of-tenant-a"),
        NewRecord(b"crm-1", b'{"tenantId": ["tenant-a"]}'),
        NewRecord(b"uid-of-tenant-a", b"{}"),
        NewRecord(b"crm-1", json.dumps(DATA | {"tenantId": "tenant-a1"}).encode()),
        NewRecord(b"crm-1", None, binary(A).headers),
    ],
)
async def test_record_that_is_not_the_tenants_is_left_alone(
    log: MemoryEventLog, eraser: KeyEraser, record: NewRecord
) -> None:
    await log.publish(USER_EVENTS, record)
    assert await eraser.tombstone(A) == KeyCount(0, 0, 0)
    assert len(records(log)) == 1


async def test_every_user_under_one_key_is_deleted(log: MemoryEventLog, eraser: KeyEraser) -> None:
    made = [bare(A), structured(A, "u2"), binary(A, "u3", uid=False), bare(A), own(A, "u4")]
    await log.publish_many(USER_EVENTS, [under(b"tenant-a", record) for record in made])
    assert await eraser.tombstone(A) == KeyCount(1, 1, 0)
    assert len(records(log)) == 5 + 4
    assert indexed(log, SECOND_LIFE) == indexed(log, A) == set()
    assert await eraser.tombstone(A) == KeyCount(1, 0, 0)


async def test_keys_of_all_kinds_are_counted_once(log: MemoryEventLog, eraser: KeyEraser) -> None:
    await log.publish_many(USER_EVENTS, [own(A, f"u{n}") for n in range(50)])
    for partition in range(12):
        await log.publish(USER_EVENTS, under(b"crm-1", bare(A), partition))
        await log.publish(USER_EVENTS, under(b"crm-2", bare(B), partition))
    await log.publish(USER_EVENTS, under(record_key(A, "u7"), bare(A, "u7")))
    assert await eraser.count(A) == KeyCount(51, 0, 51)
    assert await eraser.tombstone(A) == KeyCount(51, 51, 0)
    assert indexed(log, A, B) == {(B.tenant_uid, "u1")}
    assert await eraser.count(A) == KeyCount(51, 0, 0)


def compact(log: MemoryEventLog) -> None:
    """What compaction does, by partition; a list has no gaps, so something takes their place."""
    for partition in log.partitions(USER_EVENTS):
        newest = {record.key: record.offset for record in partition}
        for number, record in enumerate(partition):
            if record.offset < newest[record.key]:
                partition[number] = replace(record, key=b"gap", value=None, headers=())


SHARED: Sequence[tuple[str, Sequence[NewRecord]]] = [
    ("the tenant's first", [bare(A), bare(B)]),
    ("the tenant's last", [bare(B), bare(A)]),
    ("with what cannot be read", [NewRecord(b"crm-1", b"\xff"), structured(A)]),
]


@pytest.mark.parametrize("shared", [s for _, s in SHARED], ids=[name for name, _ in SHARED])
async def test_key_that_others_have_too_is_not_ended_before_compaction_parts_them(
    log: MemoryEventLog, eraser: KeyEraser, shared: Sequence[NewRecord]
) -> None:
    await log.publish_many(USER_EVENTS, shared)
    with structlog.testing.capture_logs() as logs:
        assert await eraser.tombstone(A) == KeyCount(1, 0, 1)
    assert len(records(log)) == 2
    (line,) = [line for line in logs if line["event"] == "tenant_records_remain"]
    assert (line["tenant"], line["log_level"], line["records"]) == ("tenant-a", "warning", 1)
    assert "crm-1" not in str(line)
    compact(log)
    last_is_mine = await eraser.tombstone(A)
    assert last_is_mine.remaining == 0
    assert (await eraser.count(A)).remaining == 0
    assert indexed(log, A) == set()


async def test_key_whose_others_are_ended_is_ended(log: MemoryEventLog, eraser: KeyEraser) -> None:
    gone = NewRecord(b"crm-1", None, binary(B).headers)
    await log.publish_many(USER_EVENTS, [bare(A), bare(B), gone])
    assert await eraser.tombstone(A) == KeyCount(1, 1, 0)
    assert indexed(log, SECOND_LIFE) == set()


KEY_OF_B = record_key(B, "u1")
PLACE_OF_B = partition_of(KEY_OF_B, 12)
ELSEWHERE = (PLACE_OF_B + 1) % 12

OF_B = own(B).headers
DISGUISED = (*OF_B[:3], ("Content-Type", STRUCTURED[1]), *OF_B[4:])

FORGED: Mapping[str, NewRecord] = {
    "bare": bare(A),
    "binary": binary(A),
    "structured": structured(A),
    "ours": own(A),
    # The headers name the key's tenant, but it is the body that is read, and it names the other.
    "structured beside headers": structured(A, headers=(*OF_B, STRUCTURED)),
    "structured among headers": structured(A, headers=DISGUISED),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
@pytest.mark.parametrize("before", [[], [own(B)]], ids=["alone", "after the other's own"])
async def test_key_of_another_tenant_is_never_ended_where_it_belongs(
    log: MemoryEventLog, eraser: KeyEraser, before: Sequence[NewRecord], forged: NewRecord
) -> None:
    await log.publish_many(USER_EVENTS, [*before, under(KEY_OF_B, forged)])
    count = len(records(log))
    with structlog.testing.capture_logs() as logs:
        assert await eraser.tombstone(A) == KeyCount(1, 0, 1)
    assert len(records(log)) == count
    assert [line["offsets"] for line in logs if "offsets" in line] == [[count - 1]]
    # The other tenant writes its user, and compaction does the rest.
    await log.publish(USER_EVENTS, own(B))
    compact(log)
    assert await eraser.tombstone(A) == KeyCount(0, 0, 0)
    assert indexed(log, B, A) == {(B.tenant_uid, "u1")}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
async def test_key_of_another_tenant_where_it_does_not_belong_is_ended_if_only_ours_is_there(
    log: MemoryEventLog, eraser: KeyEraser, forged: NewRecord
) -> None:
    await log.publish_many(USER_EVENTS, [own(B), under(KEY_OF_B, forged, ELSEWHERE)])
    assert await eraser.tombstone(A) == KeyCount(1, 1, 0)
    assert [record.value is None for record in log.partitions(USER_EVENTS)[PLACE_OF_B]] == [False]
    assert indexed(log, B, A) == {(B.tenant_uid, "u1")}
    await log.publish(USER_EVENTS, under(KEY_OF_B, bare(B, "u2"), ELSEWHERE))
    await log.publish(USER_EVENTS, under(KEY_OF_B, forged, ELSEWHERE))
    assert await eraser.tombstone(A) == KeyCount(1, 0, 1)
    assert {user for uid, user in indexed(log, B) if uid == B.tenant_uid} == {"u1", "u2"}


async def test_key_of_a_tenant_that_is_not_in_force_is_ended_if_only_ours_is_there(
    log: MemoryEventLog,
) -> None:
    eraser = KeyEraser(log, uids_in_force=lambda: (A.tenant_uid,))
    await log.publish(USER_EVENTS, under(KEY_OF_B, bare(A)))
    assert await eraser.tombstone(A) == KeyCount(1, 1, 0)


async def test_adopted_tenant_is_found_by_its_uid_whatever_it_is_called(
    log: MemoryEventLog, eraser: KeyEraser
) -> None:
    leaving = make_context("leaving", A.tenant_uid)
    await log.publish_many(USER_EVENTS, [under(b"crm-1", structured(A, "u5")), own(A, "u6")])
    assert await eraser.tombstone(leaving) == KeyCount(2, 2, 0)
    assert indexed(log, A) == set()


class InterruptedLog(MemoryEventLog):
    """Another tenant writes under a key after it was found, before its tombstone."""

    def __init__(self, late: NewRecord) -> None:
        super().__init__()
        self._late: NewRecord | None = late
        self.scanned = 0

    async def ends(self, topic: str) -> Mapping[int, tuple[int, int]]:
        self.scanned += 1
        if self.scanned == 2 and self._late is not None:
            late, self._late = self._late, None
            await self.publish(topic, late)
        return await super().ends(topic)


async def test_other_tenant_that_writes_while_the_log_is_read_loses_nothing() -> None:
    log = InterruptedLog(bare(B))
    await log.publish(USER_EVENTS, bare(A))
    assert await KeyEraser(log).tombstone(A) == KeyCount(1, 0, 1)
    assert indexed(log, B) == {(B.tenant_uid, "u1")}
    assert log.scanned == 2


async def test_records_of_others_as_we_write_them_are_not_decoded(
    log: MemoryEventLog, eraser: KeyEraser, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Record] = []

    def counted(record: Record) -> tuple[str, str] | None:
        decoded.append(record)
        return named_tenant(record)

    monkeypatch.setattr(tenant_keys, "named_tenant", counted)
    traced = replace(own(B, "t"), headers=(*own(B, "t").headers, ("traceparent", b"00-1-2-01")))
    await log.publish_many(USER_EVENTS, [*(own(B, f"u{n}") for n in range(100)), traced])
    await log.publish_many(USER_EVENTS, [own(A, f"u{n}") for n in range(100)])
    assert await eraser.count(A) == KeyCount(100, 0, 100)
    assert decoded == []
    await log.publish(USER_EVENTS, bare(B))
    await eraser.count(A)
    assert len(decoded) == 1


def test_uid_of_our_own_records_is_told_by_their_headers_alone() -> None:
    def uid(change: Callable[[Headers], Headers]) -> bytes | None:
        new = own(B)
        return own_uid(Record(USER_EVENTS, 0, 0, new.key, None, change(new.headers), 0))

    assert uid(lambda headers: headers) == b"uid-of-tenant-b"
    assert uid(lambda headers: (*headers, ("traceparent", b"x"))) == b"uid-of-tenant-b"
    for last in (("content-type", b"x"), ("CE_TENANTUID", b"x"), ("traceparen", b"x")):
        assert uid(lambda headers, last=last: (*headers, last)) is None  # type: ignore[misc]
    assert uid(lambda headers: headers[:-1]) is None
    assert uid(lambda headers: headers[::-1]) is None
    assert uid(lambda headers: ()) is None
    assert uid(lambda headers: (*headers[:2], STRUCTURED, *headers[3:])) is None
    assert uid(lambda headers: (("ce_specversion", b"0.3"), *headers[1:])) is None


_ANY_KEY = st.sampled_from([b"crm-1", b"crm-2", KEY_OF_B, record_key(A, "u1"), record_key(B, "u2")])
_ANY_RECORD = st.sampled_from(
    [
        *FORGED.values(),
        bare(B),
        binary(B, uid=False),
        structured(B, "u2"),
        own(B),
        NewRecord(b"", None),
        NewRecord(b"", None, own(A).headers),
        NewRecord(b"", None, own(B).headers),
        NewRecord(b"", None, binary(A, uid=False).headers),
        NewRecord(b"", b"{}"),
    ]
)
_PLACED = st.tuples(_ANY_KEY, _ANY_RECORD, st.sampled_from([PLACE_OF_B, ELSEWHERE]))


@settings(max_examples=300, deadline=None)
@given(st.lists(_PLACED, max_size=12))
async def test_no_history_lets_an_erasure_take_anything_from_others_or_leave_anything_unsaid(
    history: list[tuple[bytes, NewRecord, int]],
) -> None:
    log = MemoryEventLog()
    eraser = KeyEraser(log, uids_in_force=lambda: (A.tenant_uid, B.tenant_uid))
    await log.publish_many(USER_EVENTS, [under(*one) for one in history])
    theirs = {uid for uid in indexed(log, A, B) if uid[0] == B.tenant_uid}
    compacted = [newest(partition) for partition in log.partitions(USER_EVENTS)]
    done = await eraser.tombstone(A)
    assert {uid for uid in indexed(log, A, B) if uid[0] == B.tenant_uid} == theirs
    for partition, before in zip(log.partitions(USER_EVENTS), compacted, strict=True):
        for key, record in newest(partition).items():
            if key.startswith(b"uid-of-tenant-a/") or record is before[key]:
                continue
            # Ended by us: it was the tenant's, and nobody else had anything under it.
            assert record.value is None
            named = named_tenant(before[key])
            assert before[key].value is None or (named and named[0] == "tenant-a")
    if done.remaining == 0:
        assert {uid for uid in indexed(log, A, SECOND_LIFE) if uid[0] != B.tenant_uid} == set()
    assert (await eraser.tombstone(A)).tombstoned == 0
    assert (await eraser.count(A)).remaining == done.remaining


def newest(partition: Sequence[Record]) -> dict[bytes, Record]:
    return {record.key: record for record in partition}
