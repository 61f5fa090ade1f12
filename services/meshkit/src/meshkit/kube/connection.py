"""How this process reaches the Kubernetes API: as a pod, or as the person with a kubeconfig."""

import os
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from meshkit.clock import monotonic
from meshkit.errors import StartError

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_RELOAD_SECONDS = 300.0
_HOST, _PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"


@dataclass(frozen=True, slots=True)
class KubeConnection:
    """Where the API server is, and how to prove who we are. `token` is asked for every request:
    tokens are renewed while we run. `pod_namespace` is where our pod is, None where we are in none.
    """

    url: str
    tls: ssl.SSLContext
    namespace: str
    token: Callable[[], Awaitable[str | None]]
    pod_namespace: str | None = None


async def connect(namespace: str | None = None) -> KubeConnection:
    """Return the connection of the pod that this process runs in, else of the kubeconfig.

    `namespace` goes before the pod's or the context's. Raises StartError where there is neither.
    """
    host = os.environ.get(_HOST)  # noqa: TID251 - Kubernetes names these, not we
    if host and (_ACCOUNT / "token").exists():
        port = os.environ.get(_PORT, "443")  # noqa: TID251
        return _in_pod(host, port, namespace)
    return await _as_person(namespace)


def _in_pod(host: str, port: str, namespace: str | None) -> KubeConnection:
    async def token() -> str:
        # The kubelet renews it; reading some hundred bytes costs less than knowing when.
        return (_ACCOUNT / "token").read_text().strip()

    address = f"[{host}]" if ":" in host else host
    own = (_ACCOUNT / "namespace").read_text().strip()
    return KubeConnection(
        f"https://{address}:{port}",
        ssl.create_default_context(cafile=str(_ACCOUNT / "ca.crt")),
        namespace or own,
        token,
        own,
    )


async def _as_person(namespace: str | None) -> KubeConnection:
    # It takes most of a second to load, and pods never need it.
    try:
        from kubernetes_asyncio import client, config
    except ImportError:
        raise StartError(
            "this process runs in no pod, and reading a kubeconfig needs: pip install"
            " 'meshkit[kubernetes]'"
        ) from None
    settings = client.Configuration()
    try:
        loader = await config.load_kube_config(client_configuration=settings, persist_config=False)
    except (config.ConfigException, OSError) as error:
        raise StartError(f"there is no cluster to talk to: {error} (KUBECONFIG)") from None
    tls = ssl.create_default_context(cafile=settings.ssl_ca_cert)
    if not settings.verify_ssl:
        # The kubeconfig says so (insecure-skip-tls-verify).
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    if settings.cert_file:
        tls.load_cert_chain(settings.cert_file, settings.key_file)

    loaded = monotonic()

    async def token() -> str | None:
        nonlocal loaded
        if monotonic() - loaded > _RELOAD_SECONDS:
            # Plugins (exec, OIDC) are asked again; what they gave may be about to expire.
            await loader.load_and_set(settings)
            loaded = monotonic()
        bearer = settings.api_key.get("BearerToken")
        return bearer.removeprefix("Bearer ") if bearer else None

    context: dict[str, str] = (loader.current_context or {}).get("context", {})
    return KubeConnection(
        (settings.host or "").rstrip("/"),
        tls,
        namespace or context.get("namespace", "default"),
        token,
    )


__all__ = ["KubeConnection", "connect"]
