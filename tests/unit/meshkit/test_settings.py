"""Settings that cannot be used stop the start, with the variable and what it takes."""

from base64 import b64encode
from pathlib import Path

import pytest

from builders import make_context
from meshkit.backends import kafka_connection, position_sealer
from meshkit.events.log import Position
from meshkit.events.position import Written
from meshkit.settings import MeshSettings, SettingsError, load_settings

KEY = b64encode(bytes(range(32))).decode()


def given(monkeypatch: pytest.MonkeyPatch, **settings: str) -> MeshSettings:
    for name, value in settings.items():
        monkeypatch.setenv(f"MESH_{name}", value)
    return load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("USER_SERVICE_PORT", "70000"),
        ("KAFKA_PREFIX", "with space"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS"),
        ("QDRANT_URL", "qdrant:6333"),
        ("QDRANT_COLLECTION", "a/b"),
        ("EMBEDDER", "magic"),
        ("TRACES", "yes"),
        ("AFTER_TIMEOUT_SECONDS", "-1"),
    ],
)
def test_value_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=f"MESH_{name}"):
        given(monkeypatch, **{name: value})


def test_sasl_needs_a_user_and_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"needs MESH_KAFKA_SASL_USERNAME"):
        given(monkeypatch, KAFKA_SECURITY_PROTOCOL="SASL_SSL", KAFKA_SASL_USERNAME="mesh")


def test_log_is_embedded_where_no_brokers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kafka_connection(given(monkeypatch, KAFKA_BOOTSTRAP_SERVERS="")) is None


def test_brokers_are_spoken_to_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = given(
        monkeypatch,
        KAFKA_BOOTSTRAP_SERVERS="one:9092,two:9092",
        KAFKA_SECURITY_PROTOCOL="SASL_SSL",
        KAFKA_SASL_MECHANISM="SCRAM-SHA-512",
        KAFKA_SASL_USERNAME="mesh",
        KAFKA_SASL_PASSWORD="secret",
        KAFKA_SSL_CA_LOCATION="/ca.pem",
        KAFKA_PREFIX="staging.",
    )
    assert "secret" not in repr(settings)
    connection = kafka_connection(settings)
    assert connection is not None
    assert "secret" not in repr(connection)
    told = connection.settings()
    assert told["bootstrap.servers"] == "one:9092,two:9092"
    assert told["security.protocol"] == "SASL_SSL"
    assert told["sasl.mechanism"] == "SCRAM-SHA-512"
    assert (told["sasl.username"], told["sasl.password"]) == ("mesh", "secret")
    assert told["ssl.ca.location"] == "/ca.pem"
    assert connection.consumer_settings("g")["group.id"] == "staging.g"


def test_processes_with_one_key_understand_each_others_positions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = given(monkeypatch, POSITION_KEY=KEY, DATA_DIR=str(tmp_path / "none"))
    tenant = make_context()
    sealed = position_sealer(settings).seal(tenant, "u-1", Position(3, 14))
    assert position_sealer(settings).open(tenant, sealed) == Written("u-1", Position(3, 14))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("key", ["short", "not base64!", b64encode(b"x" * 31).decode()])
def test_key_that_is_none_says_how_to_make_one(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    with pytest.raises(SettingsError, match=r"MESH_POSITION_KEY.*openssl rand"):
        position_sealer(given(monkeypatch, POSITION_KEY=key))
