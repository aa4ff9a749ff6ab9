import os
import socket
import sqlite3
from pathlib import Path

from hub.cli.commands import local_checks
from hub.cli.commands.diagnosis import Level
from tests.support.ports import lasting_port


def another_program(*_place: object) -> bool:
    return False


def test_a_free_port_is_ok_and_a_taken_one_fails() -> None:
    port = lasting_port()
    address = f"127.0.0.1:{port}"
    with socket.create_server(("127.0.0.1", port)):
        assert local_checks.own_port("ws", address, another_program).level is Level.FAILED
        asked: list[tuple[str, str, int]] = []
        found = local_checks.own_port("ws", address, lambda *place: asked.append(place) or True)
        assert (found.level, asked) == (Level.OK, [("ws", "127.0.0.1", port)])
    assert local_checks.own_port("ws", address, another_program).found == f"{address}: free"


def test_permissions_of_data_directory_and_token_file(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    directory, _disk = local_checks.data_directory(tmp_path)
    assert (directory.level, directory.advice) == (Level.WARNING, f"chmod 700 {tmp_path}")
    tmp_path.chmod(0o700)
    assert next(local_checks.data_directory(tmp_path)).level is Level.OK
    [none] = local_checks.data_directory(tmp_path / "none")
    assert none.level is Level.WARNING
    token = tmp_path / "admin.token"
    assert local_checks.token_file(token).level is Level.WARNING
    token.touch(0o600)
    assert local_checks.token_file(token).level is Level.OK
    token.chmod(0o644)
    assert local_checks.token_file(token).level is Level.FAILED


def test_an_intact_a_locked_and_a_damaged_store(tmp_path: Path) -> None:
    file = tmp_path / "hub.db"
    assert local_checks.store_file(file) is None
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    finding = local_checks.store_file(file)
    assert finding is not None
    assert finding.level is Level.OK
    os.truncate(file, 100)
    broken = local_checks.store_file(file)
    assert broken is not None
    assert broken.level is Level.FAILED


def test_valid_and_invalid_settings(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text("[ws]\naddress = '127.0.0.1:0'\n")
    finding, settings = local_checks.settings_file(file)
    assert finding.level is Level.OK
    assert settings is not None
    file.write_text("[ws\n")
    finding, settings = local_checks.settings_file(file)
    assert (finding.level, settings) == (Level.FAILED, None)
