"""The forms of the revision guard that are compared: all of them have to mean the same."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_gateway.vector_store.port import Change, Delete
from bench.guard import FORMS, SIZES, Cell, body, row
from builders import make_context, make_upsert

TENANT = make_context()
GUARDS = [form for form in FORMS if form != "none"]


def passes(condition: dict[str, Any], point: str, revision: int) -> bool:
    """Whether a stored point fulfils a condition, as Qdrant's documentation defines them."""
    if "has_id" in condition:
        return point in condition["has_id"]
    if "key" in condition:
        assert condition["key"] == "revision"
        return bool(revision < condition["range"]["lt"])
    found = [all(passes(one, point, revision) for one in condition.get("must", []))]
    if "should" in condition:
        found.append(any(passes(one, point, revision) for one in condition["should"]))
    return all(found)


@pytest.mark.parametrize("form", GUARDS)
@settings(deadline=None)
@given(
    new=st.lists(st.integers(0, 20), min_size=1, max_size=80),
    stored=st.lists(st.integers(0, 20), min_size=80, max_size=80),
)
def test_guard_lets_pass_exactly_what_is_newer(
    form: str, new: list[int], stored: list[int]
) -> None:
    changes: list[tuple[str, Change]] = [
        (f"point-{n}", Delete(TENANT, f"p{n}", revision)) for n, revision in enumerate(new)
    ]
    guard = FORMS[form](changes)
    assert guard is not None
    for (point, change), was in zip(changes, stored, strict=False):
        assert passes(guard, point, was) == (was < change.revision)


@pytest.mark.parametrize("form", FORMS)
def test_bodies_differ_in_their_guard_alone(form: str) -> None:
    changes: list[tuple[str, Change]] = [
        (f"point-{n}", make_upsert(TENANT, f"p{n}", revision=n)) for n in range(3)
    ]
    points = orjson.loads(body(changes, "none"))
    other = orjson.loads(body(changes, form))
    assert other.pop("update_filter", None) == FORMS[form](changes)
    assert other == points
    assert len(points["points"]) == 3


def test_row_compares_each_form_with_none() -> None:
    cells = [Cell(size, "new", form) for size in SIZES for form in FORMS]
    wall = {cell: [2e-5 if cell.form == "none" else 3e-5] for cell in cells}
    found = row(128, "new", 20_000, "Qdrant 1.18.3", wall, {cell: [1e-5] for cell in cells})
    assert "flat 1.5 [1.5 - 1.5]" in found.measured
    assert "none 20 (10), flat 30 (10)" in found.detail
    assert found.detail.endswith("Qdrant 1.18.3")
    # What a row is known by in the document ends at a semicolon.
    assert ";" not in found.what
