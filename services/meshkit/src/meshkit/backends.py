"""Which engines a process uses: the embedded ones, or those that its settings name.

The only place that looks at the settings of Kafka; services get an EventLog and do not know which.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from meshkit.embedded import EmbeddedData, has_event_log
from meshkit.errors import StartError
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.log import EventLog
from meshkit.events.position import KEY_BYTES, PositionSealer
from meshkit.settings import PREFIX, MeshSettings, key_in


def kafka_connection(settings: MeshSettings) -> KafkaConnection | None:
    """Return how to reach the brokers, None where the log is embedded."""
    if settings.kafka_bootstrap_servers is None:
        return None
    sasl = settings.kafka_security_protocol.startswith("SASL_")
    password = settings.kafka_sasl_password
    return KafkaConnection(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism if sasl else "",
        sasl_username=(settings.kafka_sasl_username or "") if sasl else "",
        sasl_password=password.get_secret_value() if sasl and password is not None else "",
        ssl_ca_location=str(settings.kafka_ssl_ca_location or ""),
        prefix=settings.kafka_prefix,
    )


@asynccontextmanager
async def opened_event_log(
    settings: MeshSettings, *, must_exist: bool = False
) -> AsyncIterator[EventLog]:
    """Open the event log for as long as the block lasts. Raises StartError.

    An embedded log that is not there is made; with `must_exist` that is an error, for whoever
    would take an empty log for an answer.
    """
    connection = kafka_connection(settings)
    if connection is None:
        if must_exist and not has_event_log(settings.data_dir):
            raise StartError(
                f"there is no event log in {settings.data_dir}: name the mesh's folder with"
                f" {PREFIX}DATA_DIR, or its brokers with {PREFIX}KAFKA_BOOTSTRAP_SERVERS"
            )
        async with EmbeddedData(settings.data_dir).event_log() as log:
            yield log
        return
    # The client library takes a moment to load: only who needs it waits for it.
    from meshkit.events.kafka_log import KafkaEventLog

    kafka = KafkaEventLog(connection)
    try:
        yield kafka
    finally:
        await kafka.close()


def position_sealer(settings: MeshSettings) -> PositionSealer:
    """Return the sealer over the key that the settings give, else over the data folder's.

    Raises StartError.
    """
    if settings.position_key is None:
        return EmbeddedData(settings.data_dir).position_sealer()
    return PositionSealer(key_in(settings.position_key, "POSITION_KEY", KEY_BYTES))


__all__ = ["kafka_connection", "opened_event_log", "position_sealer"]
