import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from hub.base.data_dir import ADMIN_TOKEN_FILE
from hub.base.load_settings import StartError
from hub.contract.errors import InvalidToken
from hub.server.first_start import ensure_admin_token, prepare_data_dir
from hub.service.records import token_key
from hub.stores.store import Delete
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER
from tests.support.core import Core, running_core
from tests.support.fleet import NOW

not_root = pytest.mark.skipif(os.geteuid() == 0, reason="modes do not bind root")


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with running_core(tmp_path) as running:
        yield running


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_data_directory_is_private_to_its_owner(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        prepare_data_dir(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert mode(tmp_path / "a" / "b") == 0o700
    prepare_data_dir(tmp_path / "a" / "b")


def test_a_file_instead_of_the_directory_is_reported_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "hub"
    file.write_text("")
    for directory in (file, file / "below"):
        with pytest.raises(StartError) as refused:
            prepare_data_dir(directory)
        assert str(directory) in str(refused.value)
        assert "\n" not in str(refused.value)


@not_root
def test_an_unwritable_directory_is_reported_in_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StartError, match="not writable"):
        prepare_data_dir(tmp_path)
    with pytest.raises(StartError, match="ermission"):
        prepare_data_dir(tmp_path / "below")


async def test_the_first_start_creates_and_saves_an_admin_token(core: Core, tmp_path: Path) -> None:
    secret = await ensure_admin_token(tmp_path, core.store, core.tokens, NOW)
    assert secret is not None
    assert core.tokens.authenticate(secret, NOW).role == ROLE_ADMIN
    file = tmp_path / ADMIN_TOKEN_FILE
    assert file.read_text() == secret + "\n"
    assert mode(file) == 0o600


async def test_a_later_start_creates_no_token(core: Core, tmp_path: Path) -> None:
    await ensure_admin_token(tmp_path, core.store, core.tokens, NOW)
    kept = (tmp_path / ADMIN_TOKEN_FILE).read_text()
    assert await ensure_admin_token(tmp_path, core.store, core.tokens, NOW + 1) is None
    assert (tmp_path / ADMIN_TOKEN_FILE).read_text() == kept


async def test_only_a_valid_admin_token_prevents_a_new_one(core: Core, tmp_path: Path) -> None:
    await core.token(ROLE_READER)
    await core.token(ROLE_ADMIN, ttl_ms=1)
    core.clock.advance(1)
    assert await ensure_admin_token(tmp_path, core.store, core.tokens, core.clock.now_ms())


async def test_a_start_after_the_last_admin_token_was_revoked_creates_a_new_one(
    core: Core, tmp_path: Path
) -> None:
    old = await ensure_admin_token(tmp_path, core.store, core.tokens, NOW)
    (info,) = core.tokens.list(NOW)
    await core.store.commit([Delete(token_key(info.id))])
    new = await ensure_admin_token(tmp_path, core.store, core.tokens, NOW)
    assert new is not None
    assert (tmp_path / ADMIN_TOKEN_FILE).read_text() == new + "\n"
    assert old is not None
    with pytest.raises(InvalidToken):
        core.tokens.authenticate(old, NOW)


async def test_a_readable_token_file_becomes_private(core: Core, tmp_path: Path) -> None:
    file = tmp_path / ADMIN_TOKEN_FILE
    file.write_text("a much longer line than a token has, from somebody else\n" * 3)
    file.chmod(0o644)
    secret = await ensure_admin_token(tmp_path, core.store, core.tokens, NOW)
    assert file.read_text() == f"{secret}\n"
    assert mode(file) == 0o600


async def test_no_token_is_created_if_the_file_cannot_be_written(
    core: Core, tmp_path: Path
) -> None:
    (tmp_path / ADMIN_TOKEN_FILE).mkdir()
    with pytest.raises(StartError, match=ADMIN_TOKEN_FILE):
        await ensure_admin_token(tmp_path, core.store, core.tokens, NOW)
    assert core.tokens.list(NOW) == ()


def test_the_limit_of_open_files_is_raised_to_the_maximum() -> None:
    """In a process of its own: a limit that is lowered cannot be trusted to come back."""
    script = (
        "import resource\n"
        "from hub.server.first_start import raise_open_files\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 1024))\n"
        "raise_open_files()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "(1024, 1024)\n"


def test_an_existing_directory_becomes_private(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    directory.chmod(0o755)
    with structlog.testing.capture_logs() as logged:
        prepare_data_dir(directory)
        prepare_data_dir(directory)
    assert mode(directory) == 0o700
    assert [(each["log_level"], each["mode"]) for each in logged] == [("info", "0755")]


def test_a_shared_directory_stays_shared_with_a_warning(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    directory.chmod(0o1777)
    with structlog.testing.capture_logs() as logged:
        prepare_data_dir(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o1777
    (reported,) = logged
    assert reported["log_level"] == "warning"
    assert "chmod 700" in reported["event"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")
def test_a_directory_of_another_user_is_reported(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    directory.chmod(0o755)
    os.chown(directory, 12345, -1)
    with structlog.testing.capture_logs() as logged:
        prepare_data_dir(directory)
    assert (mode(directory), logged[0]["log_level"]) == (0o755, "warning")
