"""TARGETS row 3: reading events as the indexer does, against `Consumer.consume(500)` alone.

Ours is everything before the embedding: Kafka's messages to records, the tenants' lines, offsets
and commits, decoded events. Both in one process, on the same topic, in turn.
"""

import asyncio
import sys
import time
from contextlib import suppress
from uuid import uuid4

import uvloop
from confluent_kafka import Consumer  # noqa: TID251 - the baseline

from ai_gateway.backlog import Backlog
from ai_gateway.intake import Intake
from bench.engines import Engines, created, lacking, own_log, publish, running_engines
from bench.harness import Figure, Result, console, ratios, report
from meshkit.events.kafka_log import KafkaEventLog
from meshkit.events.log import USER_EVENTS
from meshkit.events.reading import from_record

TENANTS = 20
_COMMIT_SECONDS = 1.0


def bare(
    connection_settings: dict[str, object], topic: str, count: int, *, look: bool = False
) -> float:
    """Return how many messages a second `consume(500)` brings; with `look`, also looked into."""
    consumer = Consumer({**connection_settings, "group.id": uuid4().hex})
    consumer.subscribe([topic])
    read = len(consumer.consume(1, 20))
    started = time.perf_counter()
    while read < count:
        # It waits for as many as it was asked for: not for more than there are.
        messages = consumer.consume(min(500, count - read), 1.0)
        read += len(messages)
        if look:
            for message in messages:
                _ = (message.key(), message.value(), message.headers(), message.timestamp())
                _ = (message.partition(), message.offset())
    rate = count / (time.perf_counter() - started)
    consumer.close()
    return rate


async def ours(log: KafkaEventLog, count: int) -> float:
    """Return how many decoded events a second come out of the backlog."""
    backlog = Backlog(lambda _: 1)
    consumer, reader = log.consumer(USER_EVENTS, uuid4().hex), log.reader(USER_EVENTS)
    intake = Intake(consumer, reader, backlog)
    reading = asyncio.create_task(intake.run())
    await intake.arrived.wait()
    started = committed = time.perf_counter()
    done = 0
    while done < count:
        intake.arrived.clear()
        items = backlog.take(256)
        for item in items:
            from_record(item.record, lambda _: None)
        backlog.finished(items)
        done += len(items)
        if not items:
            await intake.arrived.wait()
        await asyncio.sleep(0)
        if time.perf_counter() - committed > _COMMIT_SECONDS:
            committed = time.perf_counter()
            await consumer.commit(*backlog.committable())
    rate = count / (time.perf_counter() - started)
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading
    await consumer.close()
    await reader.close()
    return rate


async def measure(engines: Engines, rounds: int, count: int) -> list[Result]:
    """Run the rounds and return the row."""
    async with own_log(engines) as log:
        await publish(log, [created(f"tenant-{n % TENANTS}", n) for n in range(count)])
        settings = log._connection.consumer_settings("unused")
        topic = log._connection.prefix + USER_EVENTS
        theirs, looking, our = [], [], []
        for _ in range(rounds):
            theirs.append(await asyncio.to_thread(bare, settings, topic, count))
            looking.append(await asyncio.to_thread(bare, settings, topic, count, look=True))
            our.append(await ours(log, count))
            console.print(
                f"bare {theirs[-1]:.0f}/s, looked into {looking[-1]:.0f}/s, ours {our[-1]:.0f}/s"
            )
    ratio = ratios(our, theirs)
    return [
        Result(
            "3",
            "consuming (tenants' lines, offsets, decoded events) against bare consume(500)",
            "≥ 0.28",
            str(ratio),
            ratio.median >= 0.28,
            f"{Figure.of(our).median:.0f} against {Figure.of(theirs).median:.0f} events a second;"
            f" against a consumer that looks into its messages {ratios(our, looking)}",
        )
    ]


def main(*, quick: bool = False) -> None:
    """Measure and report."""
    if lack := lacking():
        console.print(f"consume is left out: {lack}")
        return
    with running_engines() as engines:
        report(uvloop.run(measure(engines, 2 if quick else 5, 50_000 if quick else 200_000)))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
