"""The bounded backlog: everything is indexed, in order, within its memory, and no commit leads."""

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from ai_gateway.backlog import Backlog
from ai_gateway.partition import Item
from meshkit.events.log import Record


def make_record(tenant: str, offset: int, partition: int = 0, size: int = 10) -> Record:
    key = f"{tenant}/u{offset}".encode()
    return Record("user.events", partition, offset, key, b"x" * size, (), 0)


class Log:
    """Partitions of records, read as the intake reads them."""

    def __init__(self, *partitions: list[Record]) -> None:
        self.partitions = partitions
        self.next = [0] * len(partitions)

    def read_on(self, backlog: Backlog, most: int) -> bool:
        """Offer the next records of each partition; return whether there were any."""
        found = False
        for number, records in enumerate(self.partitions):
            start = self.next[number]
            taken = [r for r in records if r.offset >= start][:most]
            if taken:
                self.next[number] = taken[-1].offset + 1
                backlog.offer(taken)
                found = True
        return found

    def read_again(self, backlog: Backlog, most: int) -> None:
        """Offer what had found no room, if there is room."""
        place = backlog.to_read_again()
        if place is None:
            return
        number, start = place
        records = [r for r in self.partitions[number] if r.offset >= start]
        chunk = records[:most]
        end = chunk[-1].offset + 1 if len(records) > most else self.next[number]
        backlog.offer_again(number, start, chunk, end)


def small_backlog() -> Backlog:
    return Backlog(lambda _: 1, memory_most=320_000)


def test_nothing_is_committable_before_it_is_done() -> None:
    backlog = small_backlog()
    backlog.offer([make_record("a", n) for n in range(10, 14)])
    assert backlog.committable().offsets == {0: 10}
    first, second, third, fourth = backlog.take(4)
    backlog.finished([second, fourth])
    assert backlog.committable().offsets == {0: 10}
    backlog.finished([first])
    assert backlog.committable().offsets == {0: 12}
    backlog.finished([third])
    assert backlog.committable().offsets == {0: 14}


def test_one_behind_a_thousand_of_another_tenant_is_served_at_once() -> None:
    backlog = small_backlog()
    backlog.offer([make_record("a", n) for n in range(1000)])
    backlog.offer([make_record("b", 1000)])
    assert "b" in {item.tenant for item in backlog.take(5)}
    assert backlog.holds_back


def test_there_is_room_left_for_who_comes_next_however_many_are_there() -> None:
    backlog = Backlog(lambda _: 1, memory_most=20_000_000)
    for tenant in range(200):
        backlog.offer([make_record(f"t{tenant}", tenant * 1000 + n) for n in range(1000)])
    assert not backlog.full
    assert {item.tenant for item in backlog.take(800)} == {f"t{n}" for n in range(200)}


def test_memory_is_bounded_whatever_the_backlog() -> None:
    backlog = small_backlog()
    for start in range(0, 20_000, 500):
        backlog.offer([make_record(f"t{n % 3}", n, size=500) for n in range(start, start + 500)])
    assert backlog.memory <= 3 * (320_000 // 32 + 3_000)


def test_backlog_of_very_many_tenants_says_that_it_is_full() -> None:
    backlog = small_backlog()
    backlog.offer([make_record(f"t{n}", n) for n in range(200)])
    assert backlog.full
    backlog.finished(backlog.take(200))
    assert not backlog.full


def test_forgotten_partition_is_gone_and_the_others_stay() -> None:
    backlog = Backlog(lambda _: 1)
    backlog.offer([make_record("a", n, partition=n % 2) for n in range(8)])
    in_flight = backlog.take(3)
    backlog.forget([0])
    assert backlog.committable().offsets.keys() == {1}
    backlog.finished(in_flight)
    rest = backlog.take(100)
    assert {item.record.partition for item in rest} == {1}
    backlog.finished(rest)
    assert backlog.memory == 0
    assert backlog.committable().offsets == {1: 8}


def test_partition_that_came_back_begins_anew() -> None:
    backlog = small_backlog()
    backlog.offer([make_record("a", n) for n in range(4)])
    stale = backlog.take(4)
    backlog.forget([0])
    backlog.offer([make_record("a", n) for n in range(4)])
    backlog.finished(stale)
    assert backlog.committable().offsets == {0: 0}


offsets_of = st.lists(st.sampled_from("aaaaaabbc"), max_size=120)


@settings(max_examples=150, deadline=None)
@given(
    partitions=st.lists(offsets_of, min_size=1, max_size=3),
    gaps=st.sets(st.integers(0, 119), max_size=40),
    read=st.integers(1, 40),
    again=st.integers(1, 40),
    batch=st.integers(1, 20),
    memory_most=st.sampled_from([5_000, 30_000, 200_000, 1_000_000]),
    data=st.data(),
)
def test_everything_is_indexed_once_in_order_and_no_commit_leads(
    partitions: list[list[str]],
    gaps: set[int],
    read: int,
    again: int,
    batch: int,
    memory_most: int,
    data: st.DataObject,
) -> None:
    log = Log(
        *(
            [make_record(t, n, number) for n, t in enumerate(tenants) if n not in gaps]
            for number, tenants in enumerate(partitions)
        )
    )
    backlog = Backlog(lambda _: 1, memory_most=memory_most)
    indexed: set[tuple[int, int]] = set()
    order: dict[tuple[int, str], list[int]] = defaultdict(list)
    in_flight: list[list[Item]] = []
    for _ in range(2_000):
        # Where there was no room for more, there may be more.
        progress = backlog.full or log.read_on(backlog, read)
        log.read_again(backlog, again)
        if items := backlog.take(batch):
            in_flight.append(items)
        if in_flight and (len(in_flight) > 1 or not items or data.draw(st.booleans())):
            done = in_flight.pop(0)
            for item in done:
                place = item.record.partition, item.record.offset
                assert place not in indexed
                indexed.add(place)
                order[item.record.partition, item.tenant].append(item.record.offset)
            backlog.finished(done)
        for number, committable in backlog.committable().offsets.items():
            before = {r.offset for r in log.partitions[number] if r.offset < committable}
            assert {(number, offset) for offset in before} <= indexed
        if not progress and not in_flight and not len(backlog) and not backlog.holds_back:
            break
    assert indexed == {(r.partition, r.offset) for records in log.partitions for r in records}
    assert all(offsets == sorted(offsets) for offsets in order.values())
    assert backlog.memory == 0
    for number, records in enumerate(log.partitions):
        if records:
            assert backlog.committable().offsets[number] == records[-1].offset + 1


def test_tenant_has_more_while_records_wait_here_or_were_left_in_the_log() -> None:
    backlog = small_backlog()
    backlog.offer([make_record("a", 0), make_record("b", 1)])
    assert backlog.has_more("a")
    taken = backlog.take(10)
    assert len(taken) == 2
    assert not backlog.has_more("a")
    backlog.offer([make_record("a", offset) for offset in range(2, 200)])
    while backlog.take(10):
        pass
    assert backlog.holds_back
    assert backlog.has_more("a")
    assert not backlog.has_more("b")
