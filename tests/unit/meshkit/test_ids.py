"""Random ids."""

from uuid import UUID

from meshkit.ids import random_id


def test_random_id_is_a_version_4_uuid() -> None:
    ids = {random_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert {UUID(one).version for one in ids} == {4}
    assert {str(UUID(one)) for one in ids} == ids
