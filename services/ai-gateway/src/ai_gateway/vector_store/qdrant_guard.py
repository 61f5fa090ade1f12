"""The revision guard of the Qdrant server.

An upsert carries, as `update_filter`, for each of its points the condition that the stored revision
is older. The server looks and writes in one step, so not even a second indexer that does not know
it has lost its partition can put an old state back.
"""

from collections.abc import Sequence

from msgspec.structs import astuple

from ai_gateway.vector_store.port import Change


def guard(changes: Sequence[tuple[str, Change]]) -> bytes:
    """Return the filter that a stored point has to pass to be overwritten: its revision is older.

    It is `Position.is_after`, spelt in conditions, and written as text: as objects it would cost
    as much as all the vectors. The server holds each stored point against one condition after the
    other, so they are grouped by partition: a point passes the others' groups in one step each.
    """
    by_partition: dict[int, list[tuple[str, Change]]] = {}
    for point, change in changes:
        by_partition.setdefault(change.revision.partition, []).append((point, change))
    groups = [_older(partition, some) for partition, some in by_partition.items()]
    return b'{"should":[%b]}' % ",".join(groups).encode()


_OLDER = (
    '{"must":[{"has_id":[%s]}],"should":['
    '{"must":[{"key":"revision.partition","match":{"value":%d}}],"should":[%s]},'
    '{"must_not":[{"key":"revision.partition","match":{"value":%d}}],"should":[%s]}]}'
)
_LOWER_OFFSET = '{"must":[{"has_id":["%s"]},{"key":"revision.offset","range":{"lt":%d}}]}'
_EARLIER = '{"must":[{"has_id":["%s"]},{"key":"revision.at","range":{"lt":%d}}]}'
_SAME_TIME = (
    '{"must":[{"has_id":["%s"]},{"key":"revision.at","range":{"gte":%d,"lte":%d}},'
    '{"key":"revision.partition","range":{"lt":%d}}]}'
)


def _older(partition: int, changes: Sequence[tuple[str, Change]]) -> str:
    ids, same_partition, other_partition = [], [], []
    for point, change in changes:
        _, offset, at = astuple(change.revision)
        ids.append(f'"{point}"')
        same_partition.append(_LOWER_OFFSET % (point, offset))
        other_partition.append(_EARLIER % (point, at))
        other_partition.append(_SAME_TIME % (point, at, at, partition))
    parts = ",".join(ids), partition, ",".join(same_partition), partition
    return _OLDER % (*parts, ",".join(other_partition))
