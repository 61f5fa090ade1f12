"""Dead letters: kept whole, found again, and put back only where that undoes nothing."""

import msgspec
import pytest

from meshkit.events.dead_letters import (
    DeadLetter,
    dead_letters,
    of_tenants,
    replay,
    superseded,
    to_dead_letter,
)
from meshkit.events.log import USER_EVENTS, USER_EVENTS_DLQ, NewRecord, Record
from meshkit.events.memory_log import MemoryEventLog

HEADERS = (("ce_tenantid", b"tenant-a"), ("x", b"\xff"))


async def bury(log: MemoryEventLog, key: str = "uid-a/u-1", value: bytes = b"\xff") -> DeadLetter:
    """A record that was published and then set aside."""
    place = await log.publish(USER_EVENTS, NewRecord(key.encode(), value, HEADERS))
    record = log.partitions(USER_EVENTS)[place.partition][place.offset]
    await log.publish(USER_EVENTS_DLQ, to_dead_letter(record, "not JSON [bold]", 1))
    return (await dead_letters(log))[-1]


def last(log: MemoryEventLog, letter: DeadLetter) -> Record:
    return log.partitions(USER_EVENTS)[letter.source.partition][-1]


async def test_letter_has_the_record_whole_and_says_why() -> None:
    log = MemoryEventLog()
    letter = await bury(log)
    assert letter.original == NewRecord(b"uid-a/u-1", b"\xff", HEADERS)
    assert (letter.reason, letter.attempts, letter.topic) == ("not JSON [bold]", 1, USER_EVENTS)
    assert (letter.tenant, letter.place, letter.replayed) == ("tenant-a", "0/0", False)


async def test_letter_without_a_tenant_header_goes_by_its_key() -> None:
    log = MemoryEventLog()
    record = Record(USER_EVENTS, 3, 7, b"uid-b/u-1", None, (), 0)
    await log.publish(USER_EVENTS_DLQ, to_dead_letter(record, "no", 1))
    (letter,) = await dead_letters(log)
    assert letter.tenant == "uid-b"
    assert of_tenants([letter], ["tenant-a"]) == []
    assert of_tenants([letter], ()) == [letter]


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ((), b'{"tenantId":"tenant-b","userId":"../x"}'),
        ((), b'{"specversion":"1.0","tenantid":"tenant-b"}'),
        ((("Content-Type", b"application/CloudEvents+json"),), b'{"tenantid":"tenant-b"}'),
        ((("CE_SpecVersion", b"1.0"), ("CE_TenantId", b"tenant-b")), b"no JSON"),
    ],
)
async def test_letter_goes_by_the_tenant_that_the_record_names(
    headers: tuple[tuple[str, bytes], ...], value: bytes
) -> None:
    log = MemoryEventLog()
    record = Record(USER_EVENTS, 3, 7, b"somebody@example.com", value, headers, 0)
    await log.publish(USER_EVENTS_DLQ, to_dead_letter(record, "no", 1))
    (letter,) = await dead_letters(log)
    assert letter.tenant == "tenant-b"


async def test_what_others_put_into_the_topic_is_no_letter() -> None:
    log = MemoryEventLog()
    await log.publish(USER_EVENTS_DLQ, NewRecord(b"k", b"v", (("mesh_dlq_source", b"nonsense"),)))
    assert await dead_letters(log) == []


async def test_replayed_letter_is_back_as_it_was_and_marked() -> None:
    log = MemoryEventLog()
    letter = await bury(log)
    await replay(log, letter)
    again = last(log, letter)
    assert (again.key, again.value, again.headers) == (b"uid-a/u-1", b"\xff", HEADERS)
    assert [one.replayed for one in await dead_letters(log)] == [True]


async def test_letter_is_superseded_by_what_was_said_later_of_the_same_user() -> None:
    log = MemoryEventLog()
    letter, other = await bury(log), await bury(log, "uid-a/u-2")
    await log.publish(USER_EVENTS, NewRecord(b"uid-a/u-1", b"newer"))
    assert await superseded(log, [letter, other]) == {letter.place}


@pytest.mark.parametrize("later", [True, False])
async def test_letter_is_superseded_from_another_partition_by_the_time_of_the_log(
    later: bool,
) -> None:
    log = MemoryEventLog()
    letter = await bury(log)
    other = (letter.source.partition + 1) % 12
    for number in range(3000):
        await log.publish(USER_EVENTS, NewRecord(b"uid-a/%d" % number, b"v", (), other))
    await log.publish(USER_EVENTS, NewRecord(b"uid-a/u-1", b"other", (), other))
    # As if the log had taken all of that an hour before, or after.
    moved = 3_600_000 if later else -3_600_000
    log.partitions(USER_EVENTS)[other][:] = [
        msgspec.structs.replace(record, timestamp_ms=record.timestamp_ms + moved)
        for record in log.partitions(USER_EVENTS)[other]
    ]
    assert await superseded(log, [letter]) == ({letter.place} if later else set())


async def test_what_is_said_in_another_partition_during_the_replay_is_the_last_word() -> None:
    log = RacingLog()
    letter = await bury(log)
    log.armed, log.partition = True, (letter.source.partition + 1) % 12
    await replay(log, letter)
    assert last(log, letter).value == b"newer"


class RacingLog(MemoryEventLog):
    """Somebody else says something of the same user just before our record is taken."""

    raced = False

    async def publish(self, topic, record):  # type: ignore[no-untyped-def]
        if topic == USER_EVENTS and record.value == b"\xff" and self.armed and not self.raced:
            self.raced = True
            await super().publish(topic, NewRecord(record.key, b"newer", (), self.partition))
        return await super().publish(topic, record)

    armed = False
    partition: int | None = None


async def test_what_is_said_in_the_moment_of_the_replay_stays_the_last_word() -> None:
    log = RacingLog()
    letter = await bury(log)
    log.armed = True
    await replay(log, letter)
    assert last(log, letter).value == b"newer"
