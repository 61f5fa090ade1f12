"""Which partition a key belongs to.

CRC-32 of the key modulo the number of partitions: librdkafka's `consistent` partitioner, so that
the embedded log and Kafka put a key in the same partition.
"""

import zlib


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of `key` among `partitions` of them."""
    return zlib.crc32(key) % partitions


__all__ = ["partition_of"]
