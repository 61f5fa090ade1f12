"""The peer of Quix Streams with a sink of its own: `python -m bench.peer_quixstreams KAFKA TOPIC
GROUP QDRANT COLLECTION COMMIT_EVERY`, in an environment of its own (`bench.peer_environments`).

As Quix Streams' documentation says: a `BatchingSink` whose `write` is given what has come of a
partition since the last checkpoint, in chunks as its own sinks do it; checkpoints are as far apart
as `commit_every` says. The guarantee is the default one, at least once.
"""

import sys
import tempfile

from qdrant_client import QdrantClient  # noqa: TID251 - the baseline
from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch

from bench.peer_points import Received, points

_CHUNK = 256


class QdrantSink(BatchingSink):  # type: ignore[misc] # not installed where types are checked
    """Upserts users into a collection."""

    def __init__(self, url: str, collection: str) -> None:
        super().__init__()
        self._url = url
        self._collection = collection

    def setup(self) -> None:
        """Connect."""
        self._client = QdrantClient(url=self._url)
        self._client.get_collection(self._collection)

    def write(self, batch: SinkBatch) -> None:
        """Store what has come of a partition since the last checkpoint."""
        for chunk in batch.iter_chunks(n=_CHUNK):
            users = [
                Received(
                    item.value,
                    dict(item.headers)["ce_tenantuid"].decode(),
                    {"partition": batch.partition, "offset": item.offset, "at": item.timestamp},
                )
                for item in chunk
            ]
            self._client.upsert(self._collection, points(users))


def main() -> None:
    """Run until killed."""
    kafka, topic, group, qdrant, collection, commit_every = sys.argv[1:]
    app = Application(
        broker_address=kafka,
        consumer_group=group,
        auto_offset_reset="earliest",
        commit_every=int(commit_every),
        commit_interval=1.0,
        state_dir=tempfile.gettempdir(),
        loglevel="WARNING",
    )
    users = app.topic(topic, value_deserializer="json", key_deserializer="bytes")
    app.dataframe(users).sink(QdrantSink(qdrant, collection))
    app.run()


if __name__ == "__main__":
    main()
