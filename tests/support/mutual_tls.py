"""A hub that requires client certificates, with certificates to present."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.certificates import Certificate, self_signed
from tests.support.hub_process import HubProcess, running_hub


@dataclass(frozen=True)
class MutualTls:
    """`hub` accepts the certificate `client` and rejects `stranger`; `own` is its own."""

    hub: HubProcess
    own: Certificate
    client: Certificate
    stranger: Certificate


@contextmanager
def mutual_tls_hub(directory: Path) -> Iterator[MutualTls]:
    """Runs such a hub in a separate process until the block ends."""
    own, client, stranger = (self_signed(directory, name) for name in ("own", "client", "stranger"))
    config = directory / "hub.toml"
    config.write_text(
        f'[tls]\ncert_file = "{own.cert}"\nkey_file = "{own.key}"\n'
        f'client_ca_file = "{client.cert}"\n'
    )
    with running_hub(directory / "data", "--config", str(config)) as hub:
        yield MutualTls(hub, own, client, stranger)
