"""The forms of the revision guard that are compared differ in nothing else."""

import orjson
import pytest

from ai_gateway.vector_store.port import Change
from bench.guard import FORMS, SIZES, Cell, body, row
from builders import make_context, make_upsert

TENANT = make_context()


@pytest.mark.parametrize("form", FORMS)
def test_bodies_differ_in_their_guard_alone(form: str) -> None:
    changes: list[tuple[str, Change]] = [
        (f"point-{n}", make_upsert(TENANT, f"p{n}", revision=n)) for n in range(3)
    ]
    points = orjson.loads(body(changes, "none"))["operations"][0]["upsert"]
    other = orjson.loads(body(changes, form))["operations"][0]["upsert"]
    assert (other.pop("update_filter", None) is None) == (form == "none")
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
