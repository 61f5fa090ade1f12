"""Settings of every process, from the environment, prefix `MESH_`.

The names are fixed: charts and people rely on them. `docs/settings.md` is generated from the
descriptions here (`make docs`). A value that cannot be used stops the start with the variable's
name and what it takes.
"""

import binascii
from base64 import b64decode
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from meshkit.errors import StartError
from meshkit.telemetry.tracing import Target

PREFIX = "MESH_"
Port = Annotated[int, Field(ge=0, le=65535)]


class SettingsError(StartError):
    """A setting cannot be used; the message names the variable and what it takes."""


class MeshSettings(BaseSettings):
    """What a process of the mesh is told by its environment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    data_dir: Path = Field(Path(".mesh"), description="Folder of the embedded log and vectors.")
    tenants: str = Field(
        "tenants",
        description="Folder of Tenant and TenantPlan files, watched; or `kubernetes[:namespace]`:"
        " the TenantPolicy objects of a cluster.",
    )
    member_lease_seconds: int = Field(
        15,
        ge=3,
        le=60,
        description="With tenants from a cluster: how long this replica counts as live after it was"
        " last heard of. It renews its Lease three times as often.",
    )
    pod_name: str | None = Field(
        None,
        description="Name of the pod, set by the chart; the replica's identity. Unset: host name"
        " and admin port.",
    )
    pod_uid: str | None = Field(
        None, description="UID of the pod, set by the chart; its Lease is removed together with it."
    )
    pod_ip: str | None = Field(
        None,
        description="Address of the pod, set by the chart; where other replicas find the admin"
        " port. Unset: `MESH_HOST`.",
    )
    host: str = Field("127.0.0.1", description="Address that the public and admin ports listen on.")
    user_service_port: Port = Field(8081, description="Public port of user-service.")
    ai_gateway_port: Port = Field(8090, description="Public port of ai-gateway.")
    admin_port: Port | None = Field(
        None,
        description="Admin port of a service; 9081 for user-service and 9091 for ai-gateway where"
        " unset. `mesh up` has both: this one, and the one ten above it.",
    )
    kafka_bootstrap_servers: str | None = Field(
        None, description="Kafka or Redpanda, `host:port,…`; unset: the embedded log."
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How the brokers are spoken to."
    )
    kafka_ssl_ca_location: Path | None = Field(
        None, description="CA certificates (PEM) of the brokers; unset: the system's."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-256", description="How this process proves who it is, with SASL_*."
    )
    kafka_sasl_username: str | None = Field(None, description="User at the brokers, with SASL_*.")
    kafka_sasl_password: SecretStr | None = Field(
        None, description="Password at the brokers, with SASL_*."
    )
    kafka_prefix: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
        description="Goes before the names of topics and groups, for a cluster that is shared.",
    )
    qdrant_url: str | None = Field(
        None,
        pattern=r"^https?://[^/\s]+/?$",
        description="Qdrant server, `http://host:6333`; unset: Qdrant Edge, embedded.",
    )
    qdrant_api_key: SecretStr | None = Field(None, description="API key of the Qdrant server.")
    qdrant_collection: str = Field(
        "user_embeddings",
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="Alias of the collection in the Qdrant server.",
    )
    position_key: SecretStr | None = Field(
        None,
        description="Key that seals positions, the same for all processes: 32 bytes in base64"
        " (`openssl rand -base64 32`); unset: one made in the data folder.",
    )
    peer_key: SecretStr | None = Field(
        None,
        description="Key by which replicas of a service know each other, the same for all of them:"
        " 32 bytes in base64 (`openssl rand -base64 32`). Unset: replicas in a cluster do not share"
        " rate limits, each takes limit / replicas.",
    )
    rate_limit_fallback: Literal["divide", "open", "closed"] = Field(
        "divide",
        description="What a replica does with a limit while the replica that runs its bucket cannot"
        " be reached: `divide` takes limit / replicas, `open` lets all pass, `closed` nothing.",
    )
    auth_mode: Literal["header"] = Field(
        "header",
        description="How the tenant of a request is known: `header` trusts X-Tenant-Id"
        " (development, or behind a mesh that has verified it).",
    )
    embedder: Literal["hash"] = Field("hash", description="What turns users into vectors.")
    requests_most: int = Field(
        512,
        ge=1,
        le=100_000,
        description="How many requests of tenants a service handles at once. Beyond it, up to twice"
        " as many, only those of tenants that have little in flight; the others get a 503.",
    )
    after_timeout_seconds: float = Field(
        2.0,
        ge=0,
        le=30,
        description="How long a search with `after` waits for its position before it answers"
        " with `upToDate: false`.",
    )
    drain_seconds: float = Field(
        0.0,
        ge=0,
        le=300,
        description="How long a service goes on serving after it was told to stop: not ready any"
        " more, and closing each connection with its answer, so that callers go over to other"
        " replicas. The charts set it; together with 15 s it has to fit into the pod's grace"
        " period.",
    )
    traces: Target = Field(
        "none",
        description="`otlp` sends spans to where the OTEL_EXPORTER_OTLP_* variables say.",
    )
    log_format: Literal["console", "json"] | None = Field(
        None, description="`console` or `json`; unset: console on a terminal, else json."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least severe log events that are written."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kafka_security_protocol.startswith("SASL_") and not (
            self.kafka_sasl_username and self.kafka_sasl_password
        ):
            raise ValueError(
                f"{PREFIX}KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol} needs"
                f" {PREFIX}KAFKA_SASL_USERNAME and {PREFIX}KAFKA_SASL_PASSWORD"
            )
        return self


S = TypeVar("S", bound=MeshSettings)


def load_settings() -> MeshSettings:
    """Return the settings of this process. Raises SettingsError naming each bad variable."""
    return settings_of(MeshSettings)


def settings_of(kind: type[S]) -> S:
    """Return the settings of a process that has more of them. Raises SettingsError."""
    try:
        return kind()
    except ValidationError as error:
        problems = [
            f"{PREFIX}{'_'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}"
            if problem["loc"]
            else problem["msg"].removeprefix("Value error, ")
            for problem in error.errors()
        ]
        raise SettingsError("; ".join(problems)) from None


def key_in(secret: SecretStr, name: str, length: int) -> bytes:
    """Return the key of `length` bytes that the setting `name` gives in base64.

    Raises SettingsError.
    """
    try:
        key = b64decode(secret.get_secret_value(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != length:
        raise SettingsError(
            f"{PREFIX}{name}: has to be {length} bytes in base64"
            f" (openssl rand -base64 {length} makes one)"
        )
    return key


def settings_markdown() -> str:
    """Return `docs/settings.md`: every setting with its default and meaning."""
    lines = [
        "# Settings",
        "",
        "Every process reads its settings from the environment. This file is generated from",
        "`meshkit.settings` by `make docs`.",
        "",
        "| variable | default | what |",
        "|---|---|---|",
    ]
    for name, field in MeshSettings.model_fields.items():
        default = "unset" if field.default is None else f"`{field.default}`"
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines) + "\n"


__all__ = [
    "PREFIX",
    "MeshSettings",
    "SettingsError",
    "key_in",
    "load_settings",
    "settings_markdown",
    "settings_of",
]
