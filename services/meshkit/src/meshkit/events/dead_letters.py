"""Dead letters: records that can never be processed, kept with all that is needed to look into it.

A dead letter has the record's key, value and headers byte for byte; `mesh_dlq_*` headers say why it
is here, where it came from, and after how many attempts. When it is replayed, a mark follows in the
same topic, so that nobody replays it twice.

The log is compacted: the last record of a key is what the user is. So a dead letter is put back
only where nothing newer has been said about its user since, else it would undo that.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from meshkit.events.log import USER_EVENTS_DLQ, EventLog, NewRecord, Position, Reader, Record
from meshkit.events.reading import tenant_id_of
from meshkit.events.scanning import first_since, read_all

_PREFIX = "mesh_dlq_"
REASON, SOURCE_PLACE, ATTEMPTS = f"{_PREFIX}reason", f"{_PREFIX}source", f"{_PREFIX}attempts"
"""Headers of a dead letter: why, from where (topic/partition/offset), after how many attempts."""
_REPLAYED = f"{_PREFIX}replayed"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record of the dead-letter topic, and what is known of where it came from."""

    record: Record
    reason: str
    attempts: int
    topic: str
    source: Position
    replayed: bool = False

    @property
    def place(self) -> str:
        """Where it stands in the dead-letter topic: the name that people call it by."""
        return f"{self.record.partition}/{self.record.offset}"

    @property
    def tenant(self) -> str:
        """The tenant's id as the event gives it, else the uid in the record's key."""
        if named := dict(self.record.headers).get("ce_tenantid"):
            return named.decode(errors="replace")
        key = self.record.key.partition(b"/")[0].decode(errors="replace")
        return tenant_id_of(self.record) or key

    @property
    def original(self) -> NewRecord:
        """The record as it was."""
        headers = tuple(pair for pair in self.record.headers if not pair[0].startswith(_PREFIX))
        return NewRecord(self.record.key, self.record.value, headers)


def to_dead_letter(record: Record, reason: str, attempts: int) -> NewRecord:
    """Return `record` as a record of the dead-letter topic."""
    source = f"{record.topic}/{record.partition}/{record.offset}"
    headers = (
        *record.headers,
        (REASON, reason.encode(errors="replace")),
        (SOURCE_PLACE, source.encode()),
        (ATTEMPTS, str(attempts).encode()),
    )
    return NewRecord(record.key, record.value, headers)


async def dead_letters(log: EventLog) -> list[DeadLetter]:
    """Return every dead letter, the oldest first. Raises LogUnavailable."""
    letters: dict[tuple[str, Position], DeadLetter] = {}
    sources: dict[str, tuple[str, Position]] = {}
    ends = await log.ends(USER_EVENTS_DLQ)
    async for record in read_all(log, USER_EVENTS_DLQ, dict.fromkeys(ends, 0)):
        headers = dict(record.headers)
        if mark := headers.get(_REPLAYED):
            source = sources.get(mark.decode())
            if source is not None:
                letters[source] = replace(letters[source], replayed=True)
        elif (letter := _parse(record, headers)) is not None:
            source = (letter.topic, letter.source)
            sources[letter.place] = source
            # The same record again, after a crash or while reindexing, is no second letter.
            letters.setdefault(source, letter)
    return list(letters.values())


async def superseded(log: EventLog, letters: Iterable[DeadLetter]) -> set[str]:
    """Return the places of the letters about whose users something newer has been said, in
    whatever partition.

    Reads the log on from the oldest of them. Raises LogUnavailable.
    """
    by_topic: dict[str, list[DeadLetter]] = {}
    for letter in letters:
        by_topic.setdefault(letter.topic, []).append(letter)
    found: set[str] = set()
    for topic, group in by_topic.items():
        by_key: dict[bytes, list[tuple[DeadLetter, int]]] = {}
        ends = await log.ends(topic)
        reader = log.reader(topic)
        try:
            taken = [await _taken_ms(reader, letter) for letter in group]
            starts = {
                partition: await first_since(reader, partition, both, min(taken))
                for partition, both in ends.items()
            }
        finally:
            await reader.close()
        for letter, taken_ms in zip(group, taken, strict=True):
            by_key.setdefault(letter.record.key, []).append((letter, taken_ms))
        async for record in read_all(log, topic, starts):
            for letter, taken_ms in by_key.get(record.key, ()):
                if _is_newer(record, letter.source, taken_ms):
                    found.add(letter.place)
    return found


async def _taken_ms(reader: Reader, letter: DeadLetter) -> int:
    """Return when the log took what became a letter: a little before the letter, where compaction
    has removed it."""
    source = letter.source
    records = (await reader.read(source.partition, source.offset, 1)).records
    if records and records[0].offset == source.offset:
        return records[0].timestamp_ms
    return letter.record.timestamp_ms


def _is_newer(record: Record, source: Position, taken_ms: int) -> bool:
    if record.partition == source.partition:
        return record.offset > source.offset
    return (record.timestamp_ms, record.partition) > (taken_ms, source.partition)


async def replay(log: EventLog, letter: DeadLetter) -> Position:
    """Put a letter's record back at the end of its topic, and mark it. Raises LogUnavailable.

    What is said of the same user in the very moment stays the last word: it is said again.
    """
    before = await log.ends(letter.topic)
    position = await log.publish(letter.topic, letter.original)
    between: Record | None = None
    # In every partition: another client may put the same user into another one.
    async for record in read_all(log, letter.topic, {n: end for n, (_, end) in before.items()}):
        if record.key != letter.record.key:
            continue
        same_partition = record.partition == position.partition
        if same_partition and record.offset == position.offset:
            continue
        later = same_partition and record.offset > position.offset
        if not later and (between is None or record.timestamp_ms >= between.timestamp_ms):
            between = record
    if between is not None:
        again = NewRecord(between.key, between.value, between.headers)
        position = await log.publish(letter.topic, again)
    mark = NewRecord(letter.record.key, None, ((_REPLAYED, letter.place.encode()),))
    await log.publish(USER_EVENTS_DLQ, mark)
    return position


def of_tenants(letters: Iterable[DeadLetter], tenants: Collection[str]) -> list[DeadLetter]:
    """Return the letters of some tenants, by id or uid; all of them where none is named."""
    return [letter for letter in letters if not tenants or letter.tenant in tenants]


def _parse(record: Record, headers: dict[str, bytes]) -> DeadLetter | None:
    """Return a record as a letter; None for one that somebody else has put there."""
    try:
        topic, partition, offset = headers[SOURCE_PLACE].decode().rsplit("/", 2)
        source = Position(int(partition), int(offset))
        reason = headers[REASON].decode(errors="replace")
        return DeadLetter(record, reason, int(headers[ATTEMPTS]), topic, source)
    except (KeyError, ValueError):
        return None


__all__ = [
    "ATTEMPTS",
    "REASON",
    "SOURCE_PLACE",
    "DeadLetter",
    "dead_letters",
    "of_tenants",
    "replay",
    "superseded",
    "to_dead_letter",
]
