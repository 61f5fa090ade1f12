"""Suspended tenants in the backlog: nothing of theirs is lost, in memory, or in anybody's way."""

from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_gateway.backlog import Backlog
from ai_gateway.partition import Item
from meshkit.events.log import NOTE_BYTES_MOST, Commit, Record, Start


def make_record(tenant: str, offset: int, *, deletes: bool = False) -> Record:
    value = None if deletes else b"x" * 10
    return Record("user.events", 0, offset, f"{tenant}/u".encode(), value, (), 0)


class Partition:
    """One partition of a log and an indexer over it, which may be suspended, resumed and killed."""

    def __init__(self, records: list[Record], memory_most: int = 320_000) -> None:
        self.records = records
        self.memory_most = memory_most
        self.suspended: set[str] = set()
        self.done: set[int] = set()
        self.statements = [Commit({0: 0})]
        self.in_flight: list[list[Item]] = []
        self.start(self.statements[0])

    def start(self, commit: Commit) -> None:
        """Begin from a commit; what was in memory is gone."""
        self.backlog = Backlog(
            lambda tenant: 0 if tenant in self.suspended else 1, memory_most=self.memory_most
        )
        self.in_flight.clear()
        self.next = commit.offsets[0]
        self.backlog.begin({n: Start(commit.offsets[n], note) for n, note in commit.notes.items()})

    def read(self, most: int) -> bool:
        """Read on and again, as the intake does; return whether there was anything new."""
        new = [r for r in self.records if r.offset >= self.next][:most]
        if new and not self.backlog.full:
            self.next = new[-1].offset + 1
            self.backlog.offer(new)
        place = self.backlog.to_read_again()
        if place is not None:
            chunk = [r for r in self.records if place[1] <= r.offset < self.next][:most]
            end = chunk[-1].offset + 1 if len(chunk) == most else self.next
            self.backlog.offer_again(*place, chunk, end)
        return bool(new)

    def take(self, most: int) -> list[Item]:
        items = self.backlog.take(most)
        served = [item for item in items if item.record.value is not None]
        assert not {item.tenant for item in served} & self.suspended
        if items:
            self.in_flight.append(items)
        return items

    def finish(self) -> None:
        items = self.in_flight.pop(0)
        self.done |= {item.record.offset for item in items}
        self.backlog.finished(items)
        self.state()

    def state(self) -> None:
        """Keep what may be committed, and hold it against what is done."""
        commit = self.backlog.committable()
        if not commit.offsets:
            return
        self.statements.append(commit)
        marks = marks_of(commit)
        for record in self.records:
            if record.offset < commit.offsets[0] and record.offset not in self.done:
                assert marks[record.key.decode().partition("/")[0]] <= record.offset

    def drain(self, most: int = 7) -> None:
        """Go on until nothing is left to do for those who are served."""
        for _ in range(5_000):
            new = self.read(most)
            items = self.take(most)
            while self.in_flight:
                self.finish()
            if not new and not items and not self.backlog.holds_back:
                break
        self.state()


def marks_of(commit: Commit) -> Mapping[str, int]:
    note = commit.notes.get(0, "")
    return msgspec.json.decode(note, type=dict[str, int]) if note else {}


def test_suspended_tenant_holds_up_no_commit_and_no_memory() -> None:
    partition = Partition([make_record("ab"[n % 2], n) for n in range(400)])
    partition.suspended.add("a")
    partition.drain()
    assert partition.done == set(range(1, 400, 2))
    assert partition.backlog.memory == 0
    assert partition.backlog.committable() == Commit({0: 400}, {0: '{"a":0}'})
    assert partition.backlog.behind() == 0
    assert partition.backlog.apart == (1, 0)
    assert not partition.backlog.holds_back


def test_resumed_tenant_is_indexed_in_order_and_then_like_everybody() -> None:
    partition = Partition([make_record("ab"[n % 2], n) for n in range(400)], memory_most=100_000)
    partition.suspended.add("a")
    partition.drain()
    partition.suspended.clear()
    order: list[int] = []
    while partition.read(20) or partition.backlog.holds_back or len(partition.backlog):
        order += [item.record.offset for item in partition.take(8)]
        partition.finish()
        assert partition.backlog.committable().offsets == {0: 400}
    assert order == list(range(0, 400, 2))
    assert partition.backlog.committable() == Commit({0: 400})
    assert partition.backlog.apart == (0, 0)


def test_what_waits_in_memory_is_left_in_the_log_once_its_tenant_is_suspended() -> None:
    partition = Partition([make_record("a", n) for n in range(10)])
    partition.read(10)
    on_its_way = partition.take(3)
    partition.suspended.add("a")
    assert partition.take(5) == []
    assert partition.backlog.memory == sum(item.size for item in on_its_way)
    # Three are on their way to the store: they hold the commit up until they are there.
    assert partition.backlog.committable() == Commit({0: 0}, {0: '{"a":3}'})
    partition.finish()
    # What had found no room is looked through for deletions.
    partition.drain()
    assert partition.backlog.committable() == Commit({0: 10}, {0: '{"a":3}'})


def test_restart_knows_who_waits_even_where_nothing_new_is_to_be_read() -> None:
    partition = Partition([make_record("a", n) for n in range(10)])
    partition.suspended.add("a")
    partition.drain()
    partition.start(partition.backlog.committable())
    assert partition.next == 10
    assert partition.backlog.committable() == Commit({0: 10}, {0: '{"a":0}'})
    partition.suspended.clear()
    partition.drain()
    assert partition.done == set(range(10))


def test_who_waits_in_a_partition_that_was_lost_waits_elsewhere() -> None:
    partition = Partition([make_record("a", n) for n in range(10)])
    partition.suspended.add("a")
    partition.drain()
    partition.backlog.forget([0])
    assert partition.backlog.apart == (0, 0)
    partition.suspended.clear()
    assert partition.backlog.to_read_again() is None
    # It comes back, and with it what was noted.
    partition.start(partition.statements[-1])
    partition.drain()
    assert partition.done == set(range(10))


def test_deletion_of_a_suspended_tenant_does_not_wait() -> None:
    records = [make_record("a", n, deletes=n == 3) for n in range(6)]
    partition = Partition(records)
    partition.suspended.add("a")
    partition.drain()
    assert partition.done == {3}
    partition.suspended.clear()
    partition.drain()
    assert partition.done == set(range(6))


def test_deletion_that_had_found_no_room_goes_on_when_its_tenant_is_suspended() -> None:
    partition = Partition([make_record("a", n, deletes=n == 90) for n in range(100)])
    partition.read(100)
    partition.suspended.add("a")
    partition.drain()
    assert partition.done == {90}
    assert partition.backlog.committable() == Commit({0: 100}, {0: '{"a":0}'})


def test_deletion_in_memory_goes_on_when_its_tenant_is_suspended() -> None:
    partition = Partition([make_record("a", n, deletes=n == 3) for n in range(6)])
    partition.read(10)
    partition.suspended.add("a")
    partition.drain()
    assert partition.done == {3}


def test_more_suspended_tenants_than_a_note_holds_hold_the_commit_up_and_lose_nothing() -> None:
    uids = [f"00000000-0000-4000-8000-{n:012}" for n in range(200)]
    partition = Partition([make_record(uid, n) for n, uid in enumerate(uids)])
    partition.suspended.update(uids)
    partition.drain()
    commit = partition.backlog.committable()
    noted = len(marks_of(commit))
    assert 60 < noted < 90
    assert len(commit.notes[0].encode()) <= NOTE_BYTES_MOST
    assert commit.offsets == {0: noted}
    partition.start(commit)
    partition.suspended.clear()
    partition.drain()
    assert partition.done == set(range(200))
    assert partition.backlog.committable() == Commit({0: 200})


def test_note_that_is_none_of_ours_is_refused() -> None:
    with pytest.raises(ValueError, match="note"):
        Backlog(lambda _: 1).begin({0: Start(5, "something else")})


steps = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(1, 20)),
        st.tuples(st.just("take"), st.integers(1, 10)),
        st.tuples(st.just("finish"), st.just(0)),
        st.tuples(st.sampled_from(["suspend", "resume"]), st.integers(0, 2)),
        # From the last commit, or from an older one that came after it.
        st.tuples(st.just("restart"), st.integers(0, 3)),
    ),
    max_size=80,
)


@settings(max_examples=300, deadline=None)
@given(
    tenants=st.lists(st.sampled_from("aaabbc"), min_size=1, max_size=100),
    deletions=st.sets(st.integers(0, 99), max_size=20),
    memory_most=st.sampled_from([5_000, 60_000, 1_000_000]),
    steps=steps,
)
def test_whatever_is_suspended_resumed_and_killed_everything_is_indexed_in_the_end(
    tenants: list[str], deletions: set[int], memory_most: int, steps: list[tuple[str, int]]
) -> None:
    partition = Partition(
        [make_record(t, n, deletes=n in deletions) for n, t in enumerate(tenants)], memory_most
    )
    for step, number in steps:
        if step == "read":
            partition.read(number)
        elif step == "take":
            partition.take(number)
        elif step == "finish" and partition.in_flight:
            partition.finish()
        elif step == "suspend":
            partition.suspended.add("abc"[number])
        elif step == "resume":
            partition.suspended.discard("abc"[number])
        elif step == "restart":
            partition.start(partition.statements[-1 - number % len(partition.statements)])
        partition.state()
    partition.drain()
    for record in partition.records:
        if record.key.decode()[0] not in partition.suspended or record.value is None:
            assert record.offset in partition.done
    assert partition.backlog.memory == 0
    partition.suspended.clear()
    partition.drain()
    assert partition.done == set(range(len(tenants)))
    commit = partition.backlog.committable()
    # After a restart at the very end there is nothing to know.
    assert (commit.offsets.get(0, len(tenants)), commit.notes) == (len(tenants), {})
