import stat
from pathlib import Path

from hub.base.data_dir import KEY_FILE
from hub.stores.keyring import Key, read_keys, write_keys
from tests.support.command import llm_hub


def test_rotate_adds_a_key_in_front_and_shows_none(tmp_path: Path) -> None:
    old = Key.new()
    write_keys(tmp_path / KEY_FILE, (old,))
    done = llm_hub("secrets", "rotate", "--data-dir", str(tmp_path))
    new, *rest = read_keys(tmp_path / KEY_FILE)
    assert rest == [old]
    assert (done.code, done.out) == (0, f"{new.id}  current\n")
    assert new.line not in done.out + done.err
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600


def test_the_file_that_the_settings_name(tmp_path: Path) -> None:
    file, key = tmp_path / "ring", Key.new()
    write_keys(file, (key,))
    for arguments, environment in (
        (("--key-file", str(file)), {}),
        ((), {"LLM_HUB_SECRETS__KEY_FILE": str(file)}),
    ):
        done = llm_hub("secrets", "list", *arguments, env=environment)
        assert (done.code, done.out) == (0, f"{key.id}  current\n")


def test_a_ring_that_is_not_there_or_none(tmp_path: Path) -> None:
    for command in ("list", "rotate"):
        done = llm_hub("secrets", command, "--data-dir", str(tmp_path))
        assert done.code == 5
        assert f"{tmp_path / KEY_FILE} does not exist" in done.err
    (tmp_path / KEY_FILE).write_text("nonsense\n")
    (tmp_path / KEY_FILE).chmod(0o600)
    done = llm_hub("secrets", "rotate", "--data-dir", str(tmp_path))
    assert done.code == 1
    assert "line 1 is not a key" in done.err
    assert (tmp_path / KEY_FILE).read_text() == "nonsense\n"
