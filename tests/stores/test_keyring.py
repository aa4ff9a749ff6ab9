import base64
import os
import stat

import pytest

from hub.stores.keyring import (
    CREDENTIAL,
    Key,
    Keyring,
    KeySource,
    key_of,
    parse_keys,
    read_keys,
    write_keys,
)
from hub.stores.store import StoreError

SECRET = b"sk-very-secret"


def test_what_is_sealed_can_be_opened_and_tells_nothing():
    ring = Keyring([Key.new()])
    sealed = ring.seal("secrets/a", SECRET)
    assert SECRET not in sealed
    assert ring.open("secrets/a", sealed) == SECRET
    assert key_of(sealed) == ring.current
    # The same value never looks the same.
    assert ring.seal("secrets/a", SECRET) != sealed


def test_a_plain_value_is_opened_as_it_is():
    ring = Keyring([Key.new()])
    assert ring.open("secrets/a", SECRET) == SECRET
    assert key_of(SECRET) is None


def test_a_record_cannot_stand_in_for_another():
    ring = Keyring([Key.new()])
    sealed = ring.seal("secrets/a", SECRET)
    with pytest.raises(StoreError, match=r"'secrets/b' in the store is damaged"):
        ring.open("secrets/b", sealed)


def test_every_changed_bit_is_noticed():
    ring = Keyring([Key.new()])
    sealed = ring.seal("secrets/a", SECRET)
    for i in range(17, len(sealed)):
        changed = sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :]
        with pytest.raises(StoreError):
            ring.open("secrets/a", changed)
    for length in range(17, len(sealed)):
        with pytest.raises(StoreError):
            ring.open("secrets/a", sealed[:length])


def test_older_keys_open_and_the_first_one_seals():
    old, new = Key.new(), Key.new()
    sealed = Keyring([old]).seal("secrets/a", SECRET)
    ring = Keyring([new, old])
    assert ring.open("secrets/a", sealed) == SECRET
    assert ring.current == new.id
    with pytest.raises(StoreError, match=f"encrypted with the key {old.id}, which is not in") as it:
        Keyring([new]).open("secrets/a", sealed)
    assert new.line not in str(it.value)


def test_no_key_shows_itself():
    key = Key.new()
    assert key.line not in repr(key)
    assert str(key.secret) not in repr(key)
    assert key.id not in base64.b64decode(key.line).hex()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "holds no key"),
        ("# nothing\n\n", "holds no key"),
        ("AAAA", "line 1 is not a key of 32 bytes in base64"),
        ("# first\nnot base64!", "line 2 is not"),
    ],
)
def test_a_ring_that_is_none(text, why):
    with pytest.raises(StoreError, match=f"F: {why}"):
        parse_keys(text, "F")


def test_a_wrong_key_is_not_repeated():
    with pytest.raises(StoreError) as error:
        parse_keys("c2VjcmV0LXRoYXQtaXMtdG9vLXNob3J0", "F")
    assert "c2VjcmV0" not in str(error.value)


def test_a_file_is_written_for_its_owner_and_read_again(tmp_path):
    file, keys = tmp_path / "ring", (Key.new(), Key.new())
    write_keys(file, keys)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_keys(file) == keys
    write_keys(file, keys[:1])
    assert read_keys(file) == keys[:1]
    assert os.listdir(tmp_path) == ["ring"]


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o644, 0o666])
def test_a_file_that_others_can_read_is_refused(tmp_path, mode):
    file = tmp_path / "ring"
    write_keys(file, (Key.new(),))
    file.chmod(mode)
    with pytest.raises(StoreError, match="open to other users"):
        read_keys(file)


def test_where_the_ring_comes_from(tmp_path):
    own, named = tmp_path / "own", tmp_path / "named"
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    keys = {name: Key.new() for name in ("named", "systemd", "text")}
    write_keys(named, (keys["named"],))
    write_keys(credentials / CREDENTIAL, (keys["systemd"],))
    systemd = {"CREDENTIALS_DIRECTORY": str(credentials)}
    text = f"{keys['text'].line},{keys['named'].line}"

    def current(environment: dict[str, str], **given: str) -> str:
        return KeySource(own, environment=environment, **given).load().current

    assert current(systemd, text=text) == keys["text"].id
    assert current(systemd, file=str(named)) == keys["named"].id
    assert current(systemd) == keys["systemd"].id
    assert not own.exists()
    made = current({})
    assert current({}) == made
    # A directory of credentials for other things is not the key's.
    assert current({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == made


def test_a_named_file_is_not_created(tmp_path):
    with pytest.raises(StoreError, match="the key ring cannot be read: No such file"):
        KeySource(tmp_path / "own", file=str(tmp_path / "none"), environment={}).load()
    assert not os.listdir(tmp_path)


def test_a_directory_that_takes_no_file(tmp_path):
    with pytest.raises(StoreError, match="the key ring cannot be written: No such file"):
        KeySource(tmp_path / "none" / "own", environment={}).load()


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "disk").mkdir()
    file, link, keys = tmp_path / "disk" / "ring", tmp_path / "ring", (Key.new(), Key.new())
    write_keys(file, keys)
    link.symlink_to(file)
    write_keys(link, keys[:1])
    assert link.is_symlink()
    assert read_keys(file) == keys[:1]
    assert os.listdir(tmp_path / "disk") == ["ring"]
    assert sorted(os.listdir(tmp_path)) == ["disk", "ring"]


@pytest.mark.parametrize("to", ["missing", "ring"])
def test_a_link_that_leads_nowhere_is_refused(tmp_path, to):
    link = tmp_path / "ring"
    link.symlink_to(tmp_path / to)
    with pytest.raises(StoreError, match="the key ring cannot be written"):
        KeySource(link, environment={}).load()
    assert os.listdir(tmp_path) == ["ring"]
    assert link.is_symlink()


def test_a_group_that_may_read_a_ring_may_read_the_next_one(tmp_path):
    file = tmp_path / "ring"
    write_keys(file, (Key.new(),))
    file.chmod(0o640)
    write_keys(file, (Key.new(),))
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file to another user")
def test_a_ring_that_root_replaces_stays_the_hubs(tmp_path):
    file = tmp_path / "ring"
    write_keys(file, (Key.new(),))
    os.chown(file, 12_345, 12_346)
    write_keys(file, (Key.new(),))
    assert (file.stat().st_uid, file.stat().st_gid) == (12_345, 12_346)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
