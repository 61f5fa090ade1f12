"""Whose uid it is."""

import pytest

from builders import make_policy
from meshkit.tenancy.claims import Declared, uid_owners

OWNER = Declared("uid-1", "uid-1")
ADOPTER = Declared("uid-2", "uid-1")
ANOTHER_ADOPTER = Declared("uid-3", "uid-1")


@pytest.mark.parametrize("first", ["owner", "adopter"])
def test_own_uid_goes_before_an_adopted_one_whoever_comes_first(first: str) -> None:
    claims = {"owner": OWNER, "adopter": ADOPTER}
    ordered = {first: claims.pop(first), **claims}
    assert uid_owners(ordered, {})["uid-1"] == "owner"


def test_own_uid_stays_its_own_where_its_tenant_has_adopted_another() -> None:
    moved = Declared("uid-1", "uid-9")
    owners = uid_owners({"thief": ADOPTER, "moved": moved}, {})
    assert owners["uid-1"] == "moved"
    assert owners["uid-9"] == "moved"
    assert owners["uid-2"] == "thief"


def test_data_that_nobody_has_is_whose_who_asks_for_it() -> None:
    assert uid_owners({"adopter": ADOPTER}, {})["uid-1"] == "adopter"


def test_among_those_who_ask_who_has_it_keeps_it_else_the_first_gets_it() -> None:
    claims = {"a": ADOPTER, "b": ANOTHER_ADOPTER}
    assert uid_owners(claims, {})["uid-1"] == "a"
    held = {"b": make_policy("b", tenant_uid="uid-1")}
    assert uid_owners(claims, held)["uid-1"] == "b"
