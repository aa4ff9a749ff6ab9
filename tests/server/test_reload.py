import asyncio
import contextlib
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from hub.base.load_settings import ConfigError, load_settings
from hub.base.settings import Settings
from hub.server.reload import Reloader, changes, is_reloadable
from tests.support.waiting import wait_until


class Applied:
    """Takes settings over, or refuses them."""

    def __init__(self) -> None:
        self.settings: list[Settings] = []
        self.error: ConfigError | None = None

    async def __call__(self, settings: Settings) -> None:
        if self.error is not None:
            raise self.error
        self.settings.append(settings)


def reloader(file: Path, applied: Applied) -> Reloader:
    def load() -> Settings:
        return load_settings(file, {"LLM_HUB_LOG__FORMAT": "json"}, {"--ws": "127.0.0.1:0"})

    return Reloader(load(), load, applied, file)


async def test_reloadable_changes_apply_and_others_are_logged(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text("[log]\nlevel = 'info'\n")
    applied = Applied()
    it = reloader(file, applied)
    file.write_text(
        "[log]\nlevel = 'debug'\nformat = 'console'\n[ws]\naddress = '0.0.0.0:9'\npath = '/x'\n"
    )
    with capture_logs() as logged:
        assert await it.reload()
    assert applied.settings[0].log.level == "debug"
    # The environment and the flags still win.
    assert applied.settings[0].log.format == "json"
    assert applied.settings[0].ws.address == "127.0.0.1:0"
    assert logged == [
        {"event": "settings reloaded", "changed": ["log.level"], "log_level": "info"},
        {
            "event": "settings changed that take a restart",
            "settings": ["ws.path"],
            "log_level": "warning",
        },
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[log\n", "not TOML"),
        ("[log]\nlevel = 'loud'\n", "hub.toml: log.level: must be"),
        ("[[endpoints]]\nname = 'x'\n", r"hub.toml: endpoints[0].url"),
    ],
)
async def test_an_error_keeps_the_old_settings_and_is_logged_in_one_line(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "hub.toml"
    file.write_text("")
    applied = Applied()
    it = reloader(file, applied)
    file.write_text(text)
    with capture_logs() as logged:
        assert not await it.reload()
    assert applied.settings == []
    [line] = logged
    assert line["log_level"] == "error"
    assert said in line["reason"]
    assert "\n" not in line["reason"]


async def test_rejected_settings_do_not_become_current(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text("")
    applied = Applied()
    it = reloader(file, applied)
    file.write_text("[log]\nlevel = 'debug'\n")
    applied.error = ConfigError("endpoints[0].url: may not be probed")
    assert not await it.reload()
    applied.error = None
    with capture_logs() as logged:
        assert await it.reload()
    assert logged[0]["changed"] == ["log.level"]


async def test_a_changed_file_and_a_signal_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.server.reload.POLL_S", 0.01)
    file = tmp_path / "hub.toml"
    file.write_text("")
    applied = Applied()
    it = reloader(file, applied)
    task = asyncio.create_task(it.run())
    try:
        # As an editor, or a ConfigMap, swaps a file.
        new = tmp_path / "new"
        new.write_text("[log]\nlevel = 'debug'\n")
        os.replace(new, file)
        await wait_until(lambda: len(applied.settings) == 1)
        it.request()
        await wait_until(lambda: len(applied.settings) == 2)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_is_reloadable_matches_paths_and_sections() -> None:
    assert is_reloadable("log.level")
    assert is_reloadable("endpoints")
    assert is_reloadable("rate_limits.sidecar.heavy")
    assert not is_reloadable("logs.level")
    assert not is_reloadable("probes.interval_s")
    assert not is_reloadable("ws.address")


def test_equal_settings_have_no_changes() -> None:
    assert changes(Settings(), Settings()) == []
