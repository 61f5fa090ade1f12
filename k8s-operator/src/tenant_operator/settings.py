"""What the operator is told by its environment: the mesh's settings, and its own."""

from pydantic import Field

from meshkit.settings import MeshSettings

ADMIN_PORT = 9093


class OperatorSettings(MeshSettings):
    """Settings of `tenant-operator`."""

    tenants: str = Field(
        "kubernetes",
        pattern=r"^kubernetes(:[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$",
        description="`kubernetes[:namespace]`: the namespace that the operator looks after; without"
        " one that of its pod, else that of the kubeconfig's context.",
    )
    resync_seconds: float = Field(
        300.0,
        ge=1,
        description="How often everything is listed and compared with what the watches have told.",
    )
    leadership_lease_seconds: int = Field(
        15, ge=3, le=120, description="How long a silent operator keeps others from taking over."
    )

    @property
    def namespace(self) -> str | None:
        """The namespace that is named, None where it is to be found out."""
        return self.tenants.partition(":")[2] or None
