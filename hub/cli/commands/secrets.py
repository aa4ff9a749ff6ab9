"""`llm-hub secrets list|rotate`: the key ring that encrypts the store's secrets. Asks no hub."""

import os
from pathlib import Path

import click

from hub.base.data_dir import KEY_FILE, default_data_dir
from hub.cli.calling.connection import data_dir_option
from hub.cli.failures import CommandFailed, ExitCode
from hub.stores.keyring import Key, read_keys, write_keys
from hub.stores.store import StoreError

_key_file_option = click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The key ring, if the hub's settings name one (secrets.key_file).",
)


@click.group()
def secrets() -> None:
    """List and rotate the keys that encrypt secrets in the store."""


@secrets.command(name="list")
@data_dir_option
@_key_file_option
def list_keys(*, data_dir: Path | None, key_file: Path | None) -> None:
    """List the ids of the keys, the current one first. It never shows a key."""
    for i, key in enumerate(_read(_ring(data_dir, key_file))):
        click.echo(f"{key.id}{'' if i else '  current'}")


@secrets.command()
@data_dir_option
@_key_file_option
def rotate(*, data_dir: Path | None, key_file: Path | None) -> None:
    """Add a new key and make it the current one.

    The hub encrypts all secrets with it at its next start, or on SIGHUP if it has a settings
    file. The older keys stay in the ring: copies of the store need them.
    """
    file = _ring(data_dir, key_file)
    keys = _read(file)
    try:
        write_keys(file, (Key.new(), *keys))
    except StoreError as error:
        raise CommandFailed(str(error)) from None
    click.echo(f"{_read(file)[0].id}  current")
    click.echo(
        f"restart the hub, or send it SIGHUP if it has a settings file; every hub of the store "
        f"needs {file}",
        err=True,
    )


def _ring(data_dir: Path | None, key_file: Path | None) -> Path:
    named = os.environ.get("LLM_HUB_SECRETS__KEY_FILE", "")
    return key_file or (Path(named) if named else (data_dir or default_data_dir()) / KEY_FILE)


def _read(file: Path) -> tuple[Key, ...]:
    if not file.exists():
        raise CommandFailed(
            f"{file} does not exist: a hub creates its key ring when it starts", ExitCode.NOT_FOUND
        )
    try:
        return read_keys(file)
    except StoreError as error:
        raise CommandFailed(str(error)) from None
