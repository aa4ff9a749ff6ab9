"""The systemd units, by systemd's own verifier."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[2] / "packaging").glob("*.service"))


def test_both_are_there() -> None:
    assert [unit.name for unit in UNITS] == ["llm-hub-sidecar.service", "llm-hub.service"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_has_nothing_to_say_about_it(unit: Path, tmp_path: Path) -> None:
    # The verifier wants the program to be there.
    text = unit.read_text().replace("/opt/llm-hub/bin/llm-hub", sys.executable)
    copy = tmp_path / unit.name
    copy.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if unit.name in line]
    assert ours == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_it_gives_away_nothing(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    for hardened in (
        "DynamicUser=yes",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "CapabilityBoundingSet=",
        "SystemCallFilter=@system-service",
    ):
        assert hardened in lines
    assert not any("--token " in line for line in lines)


def test_the_sidecars_token_is_a_credential() -> None:
    text = UNITS[0].read_text()
    assert "LoadCredential=token:" in text
    assert "--token-file ${CREDENTIALS_DIRECTORY}/token" in text
