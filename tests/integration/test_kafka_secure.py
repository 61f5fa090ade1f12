"""A broker that wants TLS and SCRAM: right settings work, and what is wrong is told."""

import ipaddress
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kafka_broker import KafkaBroker, missing
from meshkit.backends import kafka_connection
from meshkit.errors import LogUnavailable
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.kafka_log import KafkaEventLog
from meshkit.events.kafka_topics import ensure_topics
from meshkit.events.log import NewRecord, Record, TopicSpec
from meshkit.settings import load_settings
from processes import free_ports

TOPICS = (TopicSpec("things", 1),)

pytestmark = pytest.mark.timeout(90)


def write_certificates(folder: Path) -> None:
    """ca.pem, and server.pem with a key and a certificate for 127.0.0.1."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test ca")])
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    now = datetime.now(UTC)

    def builder(subject: x509.Name) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )

    ca = (
        builder(ca_name)
        .public_key(ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    server = (
        builder(name)
        .public_key(key.public_key())
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(private + server.public_bytes(pem) + ca.public_bytes(pem))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a broker's TLS listener, and the folder with the certificates."""
    if lack := missing():
        pytest.skip(f"a broker of our own is needed, and {lack}")
    folder = tmp_path_factory.mktemp("secure-kafka")
    write_certificates(folder)
    (port,) = free_ports(1)
    broker = KafkaBroker(
        folder / "kafka",
        listener=f"SASL_SSL://127.0.0.1:{port}",
        extra=f"""
sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={folder / "server.pem"}
""",
        users={"mesh": "open-sesame"},
    )
    broker.start()
    yield f"127.0.0.1:{port}", folder
    broker.stop()


def connection(
    monkeypatch: pytest.MonkeyPatch, secure: tuple[str, Path], **changes: str
) -> KafkaConnection:
    """What the settings of a process amount to."""
    servers, folder = secure
    settings = {
        "BOOTSTRAP_SERVERS": servers,
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_USERNAME": "mesh",
        "SASL_PASSWORD": "open-sesame",
        "SSL_CA_LOCATION": str(folder / "ca.pem"),
    }
    for name, value in (settings | changes).items():
        monkeypatch.setenv(f"MESH_KAFKA_{name}", value)
    made = kafka_connection(load_settings())
    assert made is not None
    return made


async def test_events_go_through_tls_and_scram(
    monkeypatch: pytest.MonkeyPatch, secure: tuple[str, Path]
) -> None:
    given = connection(monkeypatch, secure)
    await ensure_topics(given, TOPICS)
    log = KafkaEventLog(given, TOPICS)
    position = await log.publish("things", NewRecord(b"k", b"v"))
    consumer = log.consumer("things", "g")
    records: list[Record] = []
    while not records:
        records = list(await consumer.consume(10, 5))
    assert [(r.partition, r.offset, r.value) for r in records] == [
        (position.partition, position.offset, b"v")
    ]
    await log.close()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"SASL_PASSWORD": "wrong"}, "authentication"),
        ({"SASL_USERNAME": "nobody"}, "authentication"),
        ({"SSL_CA_LOCATION": ""}, "certificate"),
    ],
)
async def test_what_is_wrong_is_told(
    monkeypatch: pytest.MonkeyPatch,
    secure: tuple[str, Path],
    changes: dict[str, str],
    says: str,
) -> None:
    with pytest.raises(LogUnavailable) as refusal:
        await ensure_topics(connection(monkeypatch, secure, **changes), TOPICS)
    assert says in refusal.value.detail.lower()
    assert "open-sesame" not in refusal.value.detail
