"""Who owns a bucket: members that stand, and what is believed of one that does not answer."""

from math import inf

import pytest

from meshkit.limits.peers import PROBE_SECONDS, Peers

KEYS = [(f"uid-{number}", "users.write") for number in range(500)]


def peers(me: str, *others: str) -> Peers:
    found = Peers(me)
    found.listed({name: f"http://{name}" for name in (me, *others)}, 0.0)
    return found


def test_all_replicas_agree_on_the_owner_and_share_the_buckets() -> None:
    names = ("a", "b", "c", "d")
    views = [peers(name, *names) for name in names]
    owners = [{view.owner(key) for view in views} for key in KEYS]
    assert all(len(found) == 1 for found in owners)
    counts = [sum(found == {name} for found in owners) for name in names]
    assert min(counts) > len(KEYS) / 8


def test_member_that_goes_moves_only_its_own_buckets() -> None:
    view = peers("a", "b", "c")
    before = {key: view.owner(key) for key in KEYS}
    view.listed({"b": "http://b"}, 1.0)
    moved = {key for key in KEYS if view.owner(key) != before[key]}
    assert moved == {key for key in KEYS if before[key] == "c"}


def test_first_replica_has_always_owned_and_one_that_joins_begins_then() -> None:
    first = peers("a")
    assert (first.epoch, first.owned_since(KEYS[0])) == (0, -inf)
    joined = Peers("b")
    joined.listed({"a": "http://a", "b": "http://b"}, 7.0)
    mine = next(key for key in KEYS if joined.owner(key) == "b")
    assert joined.owned_since(mine) == 7.0


def test_bucket_that_stayed_keeps_its_owner_s_past_and_one_that_came_has_none() -> None:
    view = peers("a")
    view.listed({"b": "http://b"}, 5.0)
    stayed = next(key for key in KEYS if view.owner(key) == "a")
    left = next(key for key in KEYS if view.owner(key) == "b")
    view.listed({}, 9.0)
    assert view.owned_since(stayed) == -inf
    assert view.owned_since(left) == 9.0


def test_refused_for_half_a_second_is_dead_and_its_buckets_move() -> None:
    view = peers("a", "b", "c")
    lost = next(key for key in KEYS if view.owner(key) == "b")
    view.failed("b", 10.0, refused=True)
    assert view.owner(lost) == "b"
    view.failed("b", 10.5, refused=True)
    assert view.owner(lost) != "b"
    assert view.gone == ["b"]


def test_connection_that_breaks_once_and_is_then_refused_is_dead_too() -> None:
    view = peers("a", "b")
    view.failed("b", 10.0, refused=False)
    view.failed("b", 10.1, refused=True)
    view.failed("b", 10.6, refused=True)
    assert view.gone == ["b"]
    assert not view.isolated


def test_silent_member_is_left_out_by_those_who_reach_most() -> None:
    view = peers("a", "b", "c", "d")
    view.failed("b", 10.0, refused=False)
    view.look(10.9)
    assert view.gone == []
    view.look(11.0)
    assert view.gone == ["b"]
    assert not view.isolated


def test_member_that_reaches_less_than_half_is_the_one_cut_off_and_owns_nothing() -> None:
    view = peers("a", "b", "c", "d")
    for name in ("b", "c", "d"):
        view.failed(name, 10.0, refused=False)
    assert view.isolated
    assert {view.owner(key) for key in KEYS} == {""}
    view.look(60.0)
    assert view.gone == []
    view.answered("b", 61.0)
    assert not view.isolated
    mine = next(key for key in KEYS if view.owner(key) == "a")
    assert view.owned_since(mine) == 61.0


def test_of_two_that_do_not_hear_each_other_neither_takes_over() -> None:
    view = peers("a", "b")
    theirs = next(key for key in KEYS if view.owner(key) == "b")
    view.failed("b", 10.0, refused=False)
    view.look(60.0)
    assert view.owner(theirs) == "b"
    assert not view.isolated


def test_one_that_answers_again_is_back() -> None:
    view = peers("a", "b", "c")
    theirs = next(key for key in KEYS if view.owner(key) == "b")
    view.failed("b", 10.0, refused=True)
    view.failed("b", 10.6, refused=True)
    epoch = view.epoch
    view.answered("b", 12.0)
    assert view.owner(theirs) == "b"
    assert view.epoch > epoch


def test_few_neighbours_are_asked_while_all_is_well_and_everybody_once_one_is_away() -> None:
    view = peers("a", *(f"r{number}" for number in range(20)))
    assert len(view.due(PROBE_SECONDS)) == 2
    assert view.due(PROBE_SECONDS + 0.1) == []
    view.failed("r7", 1.0, refused=False)
    assert len(view.due(2.0)) == 20


def test_suspect_is_asked_at_once() -> None:
    view = peers("a", *(f"r{number}" for number in range(20)))
    view.suspect("r9")
    assert "r9" in view.due(0.01)


@pytest.mark.parametrize("identity", ["a", "stranger"])
def test_strangers_and_oneself_are_never_away(identity: str) -> None:
    view = peers("a", "b")
    view.failed(identity, 1.0, refused=True)
    view.answered(identity, 1.0)
    assert (view.away, view.url(identity)) == ([], None)
