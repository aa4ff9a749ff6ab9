"""TLS on the way to a hub: whose certificates a command trusts."""

import os
import ssl
from pathlib import Path

import grpc

from hub.cli.failures import CommandFailed, ExitCode


def find_credentials(file: str | None, *, tls: bool) -> grpc.ChannelCredentials | None:
    """What --tls-ca, LLM_HUB_TLS_CA and --tls ask for; None: plain text. Raises CommandFailed.

    A file of certificates is trusted instead of the authorities that gRPC brings.
    """
    file = file or os.environ.get("LLM_HUB_TLS_CA")
    if not file:
        return grpc.ssl_channel_credentials() if tls else None
    try:
        certificates = Path(file).expanduser().read_bytes()
        # gRPC itself would only say later that no hub answers.
        ssl.create_default_context(cadata=certificates.decode("ascii"))
    # An SSLError is an OSError too, a UnicodeDecodeError a ValueError.
    except (ssl.SSLError, ValueError):
        raise CommandFailed(f"--tls-ca: {file}: no certificate in PEM", ExitCode.USAGE) from None
    except OSError as error:
        raise CommandFailed(
            f"--tls-ca: {file}: {error.strerror or error}", ExitCode.USAGE
        ) from None
    return grpc.ssl_channel_credentials(certificates)
