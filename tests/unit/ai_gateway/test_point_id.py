"""Ids of points: the same for the same incarnation and user, quick or not."""

from hypothesis import given
from hypothesis import strategies as st

from ai_gateway.vector_store.port import point_id, point_text
from builders import make_context


@given(st.text(min_size=1, max_size=60), st.from_regex(r"\A[a-z0-9][a-z0-9-]{0,30}\Z"))
def test_text_of_an_id_is_that_of_its_uuid(user_id: str, uid: str) -> None:
    tenant = make_context(uid=uid)
    assert point_text(tenant, user_id) == str(point_id(tenant, user_id))


def test_same_user_of_another_incarnation_is_another_point() -> None:
    ids = {point_id(make_context(uid=uid), "u-1") for uid in ("one", "two")}
    assert len(ids) == 2
