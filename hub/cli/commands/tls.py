"""`llm-hub tls init|client|renew|revoke`: a private authority and its certificates. Asks no hub."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import click
from cryptography import x509

from hub.base.private_ca import Issued, PrivateCa
from hub.cli.failures import CommandFailed, ExitCode

_RENEWED_BEFORE_DAYS = 30
_DAY_MS = 86_400_000

_directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The directory of the authority: ca.pem, ca.key and all that it has made.",
)


@click.group()
def tls() -> None:
    """Make and renew certificates of a private authority."""


@tls.command()
@_directory_option
@click.option("--host", "hosts", multiple=True, required=True, help="A name or address of the hub.")
def init(*, directory: Path, hosts: Sequence[str]) -> None:
    """Make an authority and the hub's certificate.

    It prints the settings that use them. Keep ca.key off the hub's machine if you can: the
    hub needs only hub.pem, hub.key and ca.pem.
    """
    if (directory / "ca.pem").exists():
        raise CommandFailed(
            f"{directory} already has an authority; see `llm-hub tls renew --dir {directory}`"
        )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandFailed(f"{directory}: {error.strerror}") from None
    authority = PrivateCa.create("LLM Registry Hub", _now_ms())
    _write(directory, "ca", authority.pem())
    _write(directory, "hub", authority.issue_server([*hosts, "localhost", "127.0.0.1"], _now_ms()))
    _write_file(directory / "crl.pem", authority.revoke([], _now_ms()), 0o644)
    place = directory.absolute()
    click.echo(
        f'[tls]\ncert_file = "{place / "hub.pem"}"\nkey_file = "{place / "hub.key"}"\n\n'
        "# With these, every client needs a certificate:\n"
        f"# llm-hub tls client --dir {place} NAME\n"
        f'# client_ca_file = "{place / "ca.pem"}"\n# crl_file = "{place / "crl.pem"}"'
    )
    click.echo(f"clients trust the hub by --tls-ca {place / 'ca.pem'}", err=True)


@tls.command()
@_directory_option
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def client(*, directory: Path, names: Sequence[str]) -> None:
    """Make a client's certificate for its names, DNS names or URIs such as spiffe://fleet/ci.

    Settings say what a name stands for: [[tls.identities]].
    """
    stem = f"client-{_stem(names[0])}"
    if (directory / f"{stem}.pem").exists():
        raise CommandFailed(
            f"{directory / stem}.pem exists; `llm-hub tls renew --dir {directory}` renews it"
        )
    _write(directory, stem, _authority(directory).issue_client(names, _now_ms()))
    click.echo(f"--tls-cert {directory / stem}.pem --tls-key {directory / stem}.key")


@tls.command()
@_directory_option
@click.option("--all", "everything", is_flag=True, help="Also those that end in over 30 days.")
def renew(*, directory: Path, everything: bool) -> None:
    """Renew the certificates that end within 30 days, each with a new key and the same names.

    The hub takes its new certificate on SIGHUP. Meant to be run daily.
    """
    authority = _authority(directory)
    due_ms = _now_ms() + _RENEWED_BEFORE_DAYS * _DAY_MS
    if authority.expires_at_ms < due_ms:
        raise CommandFailed(f"{directory / 'ca.pem'} itself ends soon: make a new authority")
    for file in [directory / "hub.pem", *sorted(directory.glob("client-*.pem"))]:
        old = x509.load_pem_x509_certificate(_read(file))
        if everything or old.not_valid_after_utc.timestamp() * 1000 < due_ms:
            _write(directory, file.stem, authority.renew(old, _now_ms()))
            click.echo(f"renewed {file}")


@tls.command()
@_directory_option
@click.argument("certificates", metavar="FILE...", nargs=-1, required=True, type=click.Path())
def revoke(*, directory: Path, certificates: Sequence[str]) -> None:
    """Add client certificates to crl.pem; the hub refuses them from its next SIGHUP on."""
    authority = _authority(directory)
    crl = directory / "crl.pem"
    revoked = [_read(Path(each)) for each in certificates]
    try:
        extended = authority.revoke(revoked, _now_ms(), _read(crl))
    except ValueError:
        raise CommandFailed("not a certificate in PEM", ExitCode.INVALID) from None
    _write_file(crl, extended, 0o644)
    click.echo(f"{crl} names {len(x509.load_pem_x509_crl(extended))} certificates")


def _authority(directory: Path) -> PrivateCa:
    try:
        return PrivateCa.load(_read(directory / "ca.pem"), _read(directory / "ca.key"))
    except ValueError as error:
        raise CommandFailed(f"{directory}: {error}") from None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CommandFailed(f"{file}: {error.strerror}", ExitCode.NOT_FOUND) from None


def _write(directory: Path, stem: str, issued: Issued) -> None:
    # The key first: a hub that reloads in between finds an old pair or one that does not fit.
    _write_file(directory / f"{stem}.key", issued.key, 0o600)
    _write_file(directory / f"{stem}.pem", issued.certificate, 0o644)


def _write_file(file: Path, content: bytes, mode: int) -> None:
    """Writes a file whole or not at all. Raises CommandFailed."""
    temporary = file.with_name(f"{file.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
        temporary.replace(file)
    except OSError as error:
        raise CommandFailed(f"{file}: {error.strerror}") from None


def _stem(name: str) -> str:
    return "".join(each if each.isalnum() or each in "-." else "_" for each in name)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
