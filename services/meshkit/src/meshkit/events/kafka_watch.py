"""Whether the topics in Kafka are right: looked at before the first event is accepted, and again
while the process runs.

Publishing to a topic is refused until it was seen, and as long as it is missing or would lose what
is accepted (`topic_rules`). So a topic that is removed, or whose clean-up somebody changes, is
noticed within seconds; one that was made or repaired is used again as soon. While the brokers are
away, what was seen last holds.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from meshkit.errors import LogUnavailable
from meshkit.events.kafka_calls import called
from meshkit.events.kafka_topics import look_at
from meshkit.events.log import TopicSpec
from meshkit.events.topic_rules import FoundTopic, differences, missing, refusal
from meshkit.tasks import end

log = structlog.get_logger()

LOOK_EVERY_SECONDS = 5.0
LOOK_SOON_SECONDS = 0.5
_FIRST_LOOK_SECONDS = 5.0


class TopicWatch:
    """Watches the topics, by their names in Kafka, from the event loop in which it is made."""

    def __init__(self, admin: AdminClient, topics: Mapping[str, TopicSpec]) -> None:
        self._admin = admin
        self._topics = topics
        self._refusals: Mapping[str, str | None] | None = None
        self._remarks: Mapping[str, str] = {}
        self._unreachable = "not looked at yet"
        self._seen = asyncio.Event()
        self._waiting = 0
        self._look_now = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="kafka-topics-watch")

    def problem(self, names: Collection[str]) -> str | None:
        """Return why publishing to one of these topics is refused, None where it is not."""
        if self._refusals is None:
            return f"the topics are not checked yet: {self._unreachable}"
        texts = [text for name in names if (text := self._refusals[name]) is not None]
        return "; ".join(texts) or None

    @property
    def remarks(self) -> str:
        """How the topics differ, all of it."""
        return "; ".join(f"{name} {text}" for name, text in self._remarks.items())

    async def allow(self, name: str) -> None:
        """Return where a topic may be published to; waits for the first look at it.

        Raises LogUnavailable, which names the topic and the way out.
        """
        if self._refusals is None:
            self._waiting += 1
            try:
                await self._first_look()
            finally:
                self._waiting -= 1
        if (problem := self.problem((name,))) is not None:
            raise LogUnavailable(problem, retry_after=1.0)

    def look_soon(self) -> None:
        """Look again: something about a topic went wrong."""
        self._look_now.set()

    async def close(self) -> None:
        """Look no more, once those who wait for the first look had it."""
        if self._waiting:
            await self._first_look()
        await end(self._task)

    async def _first_look(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_LOOK_SECONDS):
                await self._seen.wait()

    async def _run(self) -> None:
        while True:
            wait = LOOK_EVERY_SECONDS
            try:
                found = await called(lambda: look_at(self._admin, self._topics), "kafka-watch")
            except KafkaException as error:
                self._unreachable = f"the brokers do not answer: {error.args[0].str()}"
                wait = LOOK_SOON_SECONDS
            except Exception as error:
                # A loop that must survive: what was seen last holds meanwhile.
                self._unreachable = f"looking at them failed ({type(error).__name__})"
                log.exception("topics_watch_failed")
            else:
                self._take_in(found)
                self._seen.set()
                if any(self._refusals_now.values()):
                    wait = LOOK_SOON_SECONDS
            self._look_now.clear()
            await asyncio.sleep(min(wait, LOOK_SOON_SECONDS))
            try:
                async with asyncio.timeout(wait - LOOK_SOON_SECONDS):
                    await self._look_now.wait()
            except TimeoutError:
                continue

    @property
    def _refusals_now(self) -> Mapping[str, str | None]:
        return self._refusals or {}

    def _take_in(self, found: Mapping[str, FoundTopic | None]) -> None:
        refusals: dict[str, str | None] = {}
        remarks: dict[str, str] = {}
        for name, spec in self._topics.items():
            one = found[name]
            if one is None:
                refusals[name] = missing(name)
                remarks[name] = "does not exist"
                continue
            differing = differences(spec, one)
            refusals[name] = refusal(name, differing)
            if differing:
                remarks[name] = ", ".join(difference.text for difference in differing)
        if (refusals, remarks) != (self._refusals, self._remarks):
            self._tell(refusals, remarks)
        self._refusals, self._remarks = refusals, remarks

    def _tell(self, refusals: Mapping[str, str | None], remarks: Mapping[str, str]) -> None:
        refused = [text for text in refusals.values() if text is not None]
        if refused:
            log.error("topics_refused", problems=refused)
        elif remarks:
            log.warning("topics_differ", differences=dict(remarks))
        else:
            log.info("topics_checked", topics=list(refusals))


def by_kafka_name(prefix: str, topics: Iterable[TopicSpec]) -> dict[str, TopicSpec]:
    """Return topics by their names in Kafka."""
    return {prefix + topic.name: topic for topic in topics}


__all__ = ["LOOK_EVERY_SECONDS", "TopicWatch", "by_kafka_name"]
