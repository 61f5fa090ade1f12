"""Notices records that lie elsewhere than a deletion of their user would.

user-service puts all events of a user under one key, into the partition that belongs to the key. A
deletion ends the user there: compaction removes what came before it, and the deletion itself a day
later. A record under another key, or in another partition, is not reached by that. It stays in the
log after the deletion is forgotten, so whoever reads the log again takes the user for alive.

Every key is compared. A partition costs a hash of the key (3 µs), so not all are: always those of
records that user-service has not written; of its own, which are elsewhere only if an older version
wrote them or partitions were added since, the first of each partition, and then one in 64.
"""

from ai_gateway.vector_store.port import PARTITIONS_ADDED
from meshkit.events.envelope import SOURCE, UserEvent, record_key
from meshkit.events.log import Record
from meshkit.events.partition import partition_of

_OWN_SOURCE = ("ce_source", SOURCE.encode())
_ALWAYS_FIRST = 100
# One offset in 64.
_ALL_BUT_ONE = 63


class PlacementCheck:
    """Compares where records lie with where they belong, for one reading of the log.

    `partitions` is the number of partitions that the topic has, 0 while it is not known.
    """

    def __init__(self) -> None:
        self.partitions = 0
        self._always: dict[int, int] = {}

    def misplaced(self, record: Record, event: UserEvent) -> str | None:
        """Return how a record lies elsewhere, None where it does not or was not looked at."""
        if record.key != record_key(event.tenant, event.user_id):
            return "a record lies under another key than its user's"
        partition, headers = record.partition, record.headers
        if always := self._always.get(partition, _ALWAYS_FIRST):
            self._always[partition] = always - 1
        elif record.offset & _ALL_BUT_ONE and len(headers) > 1 and headers[1] == _OWN_SOURCE:
            return None
        if not self.partitions:
            return None
        if partition >= self.partitions:
            return PARTITIONS_ADDED
        if partition != partition_of(record.key, self.partitions):
            return "a record lies in another partition than its key's"
        return None
