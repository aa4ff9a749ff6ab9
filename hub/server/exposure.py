"""Keeps a hub from serving plain text to other machines unless that is wanted."""

import ipaddress

from hub.base.load_settings import StartError
from hub.base.settings import Listener, Settings


def require_safe(settings: Settings) -> None:
    """Raises StartError if tokens would cross a network in plain text.

    With a trusted proxy, the proxy is where TLS ends. The message says how to mend it.
    """
    tls = settings.tls
    if tls.cert_file or tls.insecure or settings.ws.trusted_proxies:
        return
    listeners = {"ws": settings.ws, "grpc": settings.grpc, "http": settings.http}
    exposed = [
        f"{name} ({listener.address})"
        for name, listener in listeners.items()
        if not _is_loopback(listener)
    ]
    if exposed:
        raise StartError(
            f"{', '.join(exposed)} would show tokens to the network in plain text:"
            f"\n  make certificates:       llm-hub tls init --dir {settings.data_dir / 'tls'}"
            " --host NAME-OF-THIS-MACHINE"
            "\n  or name the TLS proxy:   LLM_HUB_WS__TRUSTED_PROXIES=ADDRESS/32"
            "\n  or allow plain text:     llm-hub serve --insecure"
        )


def _is_loopback(listener: Listener) -> bool:
    if listener.host == "localhost" or listener.host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(listener.host).is_loopback
    except ValueError:
        return False
