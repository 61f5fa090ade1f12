"""The partition of a key is the one that Kafka's own clients choose."""

import random

import pytest
from confluent_kafka import KafkaError, Message, Producer  # noqa: TID251 - the outsider's view

from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.partition import murmur2, partition_of

# Of org.apache.kafka.common.utils.Utils.murmur2 in kafka-clients 4.1.0, as signed integers.
OF_JAVA = {
    b"": 275646681,
    b"a": -1563381124,
    b"ab": 316155434,
    b"abc": 479470107,
    b"abcd": -1323649548,
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"0b5a4c1e-7d53-4d0a-9a57-2f1d0c1f8a11/alice-1": -1733822851,
    "0b5a4c1e-7d53-4d0a-9a57-2f1d0c1f8a11/Zo\u00eb".encode(): -497730642,
    "0b5a4c1e-7d53-4d0a-9a57-2f1d0c1f8a11/\U0001f600".encode(): 1441741270,
    bytes(range(255, -1, -1)): -1141900935,
    b"\xff" * 5: -363838622,
}


@pytest.mark.parametrize("key", OF_JAVA, ids=len)
def test_hash_is_that_of_the_java_client(key: bytes) -> None:
    assert murmur2(key) == OF_JAVA[key] % 2**32


def word_by_word(key: bytes) -> int:
    """MurmurHash2 as its author wrote it."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(key)
    whole = len(key) // 4 * 4
    for start in range(0, whole, 4):
        k = int.from_bytes(key[start : start + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = h * m & mask ^ k
    if rest := key[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


@pytest.mark.parametrize("length", [*range(70), 255, 600, 1023, 1024, 1025, 70_001])
def test_words_that_are_mixed_at_once_give_what_one_after_the_other_does(length: int) -> None:
    rng = random.Random(length)
    for key in (rng.randbytes(length), bytes(length), b"\xff" * length, b"\x80" * length):
        assert murmur2(key) == word_by_word(key)


def test_partitions_are_those_of_the_producer() -> None:
    """librdkafka's own answer, with our settings, from its broker in memory (4 partitions)."""
    connection = KafkaConnection("")
    settings = connection.producer_settings() | {
        "test.mock.num.brokers": 1,
        # It makes its topics when they are asked for; ours are never made so.
        "allow.auto.create.topics": True,
    }
    producer = Producer(settings)
    rng = random.Random(16)
    keys = [b"%x/%d" % (rng.randrange(2**64), n) for n in range(300)]
    keys += [rng.randbytes(rng.randrange(1, 80)) for _ in range(300)]
    chosen: dict[bytes, int | None] = {}

    def note(error: KafkaError | None, message: Message) -> None:
        assert error is None
        key = message.key()
        assert isinstance(key, bytes)
        chosen[key] = message.partition()

    for key in keys:
        producer.produce("things", b"v", key, on_delivery=note)
    assert producer.flush(20) == 0
    assert chosen == {key: partition_of(key, 4) for key in keys}
    assert set(chosen.values()) == {0, 1, 2, 3}
