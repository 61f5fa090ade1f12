"""The guard that the Qdrant server applies means what `Position.is_after` says."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from ai_gateway.vector_store.port import REVISION_FIELDS, Change
from ai_gateway.vector_store.qdrant_guard import older_than_all, older_than_each
from builders import make_context, make_delete
from meshkit.events.log import Position

TENANT = make_context()

positions = st.builds(Position, st.integers(0, 2), st.integers(0, 3), st.integers(0, 3))


def fields(revision: Position) -> dict[str, int]:
    """A stored revision, by the keys that conditions name."""
    names = (f"revision.{field}" for field in REVISION_FIELDS)
    values = (revision.partition, revision.offset, revision.timestamp_ms)
    return dict(zip(names, values, strict=True))


def passes(condition: dict[str, Any], point: str, stored: dict[str, int]) -> bool:
    """Whether a stored point fulfils a condition, as Qdrant's documentation defines them."""
    if "has_id" in condition:
        return point in condition["has_id"]
    if "match" in condition:
        return bool(stored[condition["key"]] == condition["match"]["value"])
    if "range" in condition:
        value, limits = stored[condition["key"]], condition["range"]
        assert set(limits) <= {"lt", "lte", "gte"}
        return bool(
            value < limits.get("lt", value + 1)
            and value <= limits.get("lte", value)
            and value >= limits.get("gte", value)
        )
    assert set(condition) <= {"must", "must_not", "should"}
    found = [all(passes(one, point, stored) for one in condition.get("must", []))]
    found += [not passes(one, point, stored) for one in condition.get("must_not", [])]
    if "should" in condition:
        found.append(any(passes(one, point, stored) for one in condition["should"]))
    return all(found)


@given(
    new=st.lists(positions, min_size=1, max_size=40),
    stored=st.lists(positions, min_size=40, max_size=40),
)
def test_guard_lets_pass_exactly_what_is_newer(new: list[Position], stored: list[Position]) -> None:
    changes: list[tuple[str, Change]] = [
        (f"point-{n}", make_delete(TENANT, f"p{n}", revision)) for n, revision in enumerate(new)
    ]
    condition = orjson.loads(older_than_each(changes))
    for (point, change), was in zip(changes, stored, strict=False):
        assert passes(condition, point, fields(was)) == change.revision.is_after(was)


@given(new=st.lists(positions, min_size=1, max_size=12), stored=positions)
def test_guard_of_all_lets_nothing_pass_that_is_not_older_than_each(
    new: list[Position], stored: Position
) -> None:
    changes: list[tuple[str, Change]] = [
        (f"point-{n}", make_delete(TENANT, f"p{n}", revision)) for n, revision in enumerate(new)
    ]
    condition = orjson.loads(older_than_all(changes))
    if passes(condition, "any", fields(stored)):
        assert all(revision.is_after(stored) for revision in new)
    # What is before the batch in every way is never held up.
    if all(stored.offset < r.offset and stored.timestamp_ms < r.timestamp_ms for r in new):
        assert passes(condition, "any", fields(stored))


@given(st.tuples(positions, positions))
def test_of_two_positions_one_is_newer_unless_they_are_one_place(
    pair: tuple[Position, Position],
) -> None:
    one, other = pair
    same_place = (one.partition, one.offset) == (other.partition, other.offset)
    assert one.is_after(other) + other.is_after(one) == (not same_place)
