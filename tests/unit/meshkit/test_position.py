"""Positions: what a tenant is given says nothing, and only it can use it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import make_context
from meshkit.errors import InvalidPosition
from meshkit.events.log import Position
from meshkit.events.position import PositionSealer, Written

SEALER = PositionSealer(bytes(range(32)))
A, B = make_context("tenant-a"), make_context("tenant-b")


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**63),
    st.integers(0, 2**63),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=128),
)
def test_opens_what_it_sealed(partition: int, offset: int, timestamp_ms: int, user_id: str) -> None:
    position = Position(partition, offset, timestamp_ms)
    assert SEALER.open(A, SEALER.seal(A, user_id, position)) == Written(user_id, position)


def test_same_position_looks_different_each_time() -> None:
    assert SEALER.seal(A, "u-1", Position(0, 1)) != SEALER.seal(A, "u-1", Position(0, 1))


def test_another_tenant_cannot_use_it() -> None:
    with pytest.raises(InvalidPosition):
        SEALER.open(B, SEALER.seal(A, "u-1", Position(3, 17)))


def test_another_incarnation_cannot_use_it() -> None:
    with pytest.raises(InvalidPosition):
        SEALER.open(make_context("tenant-a", "uid-2"), SEALER.seal(A, "u-1", Position(3, 17)))


def test_another_mesh_cannot_use_it() -> None:
    with pytest.raises(InvalidPosition):
        PositionSealer(bytes(32)).open(A, SEALER.seal(A, "u-1", Position(3, 17)))


@given(st.text(max_size=80))
def test_anything_else_is_refused(token: str) -> None:
    with pytest.raises(InvalidPosition):
        SEALER.open(A, token)


@given(st.integers(0, 67), st.sampled_from("AZaz09-_"))
def test_one_changed_character_is_refused(place: int, character: str) -> None:
    token = SEALER.seal(A, "u-1", Position(3, 17))
    forged = token[:place] + character + token[place + 1 :]
    # The last character holds two bits that base64 ignores: the same token, spelt differently.
    if forged != token and place != 67:
        with pytest.raises(InvalidPosition):
            SEALER.open(A, forged)


def test_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        PositionSealer(b"short")
