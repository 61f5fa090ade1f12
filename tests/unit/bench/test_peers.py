"""What a run beside the peers says, when it says that a target is met, and what fails it."""

from importlib.metadata import version

import pytest

from bench.peer_environments import pinned
from bench.peers import (
    BARE,
    FASTSTREAM,
    NAMES,
    OURS,
    QUIXSTREAMS,
    SIZES,
    Run,
    check_same,
    check_stored,
    comparable,
    fastest,
    last_of_each,
    rotated,
    rows,
)
from builders import make_context

A, B = make_context("tenant-a"), make_context("tenant-b")
RUNS = {
    OURS: [Run(9000.0, 60.0, 200.0)] * 3,
    FASTSTREAM: [Run(3600.0, 120.0, 200.0)] * 3,
    QUIXSTREAMS: [Run(4500.0, 100.0, 200.0)] * 3,
    BARE: [Run(10_000.0, 0.0, 200.0)] * 3,
}


def met(**changed: Run) -> list[bool]:
    runs = RUNS | {name: [run] * 3 for name, run in changed.items()}
    return [row.met for row in rows(runs, "Qdrant 1.18.3", "versions")]


def test_targets_are_met_at_their_bounds() -> None:
    assert met() == [True, True, True, True]


@pytest.mark.parametrize(
    ("name", "run", "missed"),
    [
        (QUIXSTREAMS, Run(4600.0, 100.0, None), 0),
        (FASTSTREAM, Run(3700.0, 120.0, None), 1),
        (BARE, Run(10_100.0, 0.0, None), 2),
        (FASTSTREAM, Run(3600.0, 90.0, None), 3),
    ],
)
def test_each_target_is_missed_by_itself(name: str, run: Run, missed: int) -> None:
    assert met(**{name: run}) == [number != missed for number in range(4)]


def test_rows_name_the_server_the_versions_and_the_servers_own_cpu() -> None:
    found = rows(RUNS, "Qdrant 1.18.3", "faststream 0.7.8")
    assert all(row.row == "6" and row.detail.endswith("Qdrant 1.18.3") for row in found)
    assert all("faststream 0.7.8" in row.detail for row in found)
    assert "the server's: ours 200" in found[3].detail
    # What a row is known by in the document ends at a semicolon.
    assert not any(";" in row.what for row in found)
    assert len({row.what for row in found}) == len(found)


def test_server_elsewhere_has_no_cpu_figures() -> None:
    elsewhere = {name: [Run(run.rate, run.client, None) for run in RUNS[name]] for name in NAMES}
    assert "the server's is not known" in rows(elsewhere, "Qdrant 1.18.3", "v")[3].detail


def test_peers_get_the_size_that_was_fastest_for_them() -> None:
    tried = {
        (FASTSTREAM, 256): [Run(100.0, 1.0, None)],
        (FASTSTREAM, 500): [Run(90.0, 1.0, None), Run(120.0, 1.0, None)],
        (QUIXSTREAMS, 1000): [Run(50.0, 1.0, None)],
    }
    assert fastest(tried) == {FASTSTREAM: 500, QUIXSTREAMS: 1000}


def test_each_begins_a_round_in_turn() -> None:
    orders = [rotated(NAMES, number) for number in range(len(NAMES))]
    assert [order[0] for order in orders] == list(NAMES)
    assert all(sorted(order) == sorted(NAMES) for order in orders)


def test_last_users_are_those_of_every_tenant_in_every_partition() -> None:
    users = [(A, 0), (B, 1), (A, 2), (B, 3), (A, 4)]
    assert sorted(last_of_each(users, [0, 0, 1, 0, 0]), key=lambda one: one[1]) == [
        (A, 2),
        (B, 3),
        (A, 4),
    ]


def test_stored_points_are_compared_without_what_is_only_ours() -> None:
    payload = {
        "tenantId": "tenant-a",
        "tenantUid": "u",
        "userId": "p1",
        "email": "p@example.com",
        "name": "P",
        "attributes": {},
        "revision": {"partition": 1, "offset": 7, "at": 9},
    }
    lexical = {"indices": [3, 1], "values": [0.5, 0.25]}
    point = {"payload": payload, "vector": {"dense": [1.0], "lexical": lexical}}
    same = {
        "payload": payload | {"revision": {"partition": 1, "offset": 8, "at": 9}, "updatedAt": 1},
        "vector": {"dense": [1.0], "lexical": {"indices": [1, 3], "values": [0.25, 0.5]}},
    }
    other = {"payload": payload | {"name": "Q"}, "vector": point["vector"]}
    assert comparable(point) == comparable(same)
    assert comparable(point) != comparable(other)


def test_run_fails_where_a_user_is_not_stored() -> None:
    check_stored(OURS, 2, 2, ["a", "b"], {"a": 1, "b": 1})
    with pytest.raises(AssertionError, match="quixstreams has stored 1 of 2 users"):
        check_stored(QUIXSTREAMS, 2, 1, ["a"], {"a": 1})
    with pytest.raises(AssertionError, match="1 points are not there, b first"):
        check_stored(QUIXSTREAMS, 2, 2, ["a", "b"], {"a": 1, "c": 1})


def test_run_fails_where_something_else_is_stored() -> None:
    check_same(OURS, {"a": [1.0]}, {"a": [1.0]})
    with pytest.raises(AssertionError, match="faststream"):
        check_same(FASTSTREAM, {"a": [0.5]}, {"a": [1.0]})


@pytest.mark.parametrize("peer", [FASTSTREAM, QUIXSTREAMS])
def test_peers_use_the_same_clients_as_we_do(peer: str) -> None:
    """Another version of the client would be a comparison with that."""
    versions = pinned(peer)
    assert versions["qdrant-client"] == version("qdrant-client")
    assert peer in versions


def test_peer_has_our_kafka_client_where_its_framework_allows_it() -> None:
    assert pinned(FASTSTREAM)["confluent-kafka"] == version("confluent-kafka")


def test_several_sizes_are_tried_for_all_but_ours() -> None:
    assert {name for name in NAMES if len(SIZES[name]) >= 3} == set(NAMES) - {OURS}
