import json
from pathlib import Path

import pytest

from hub.sidecar.collectors.amd import EVERY_S, Amd, Rocm, parse
from hub.sidecar.collectors.gpu import Gpu


def card(drm: Path, number: int, vendor: str, files: dict[str, str]) -> None:
    device = drm / f"card{number}" / "device"
    (device / "hwmon" / "hwmon3").mkdir(parents=True)
    (device / "vendor").write_text(f"{vendor}\n")
    for name, text in files.items():
        (device / name).write_text(f"{text}\n")


def test_the_drivers_files_in_the_units_of_the_frames(tmp_path: Path) -> None:
    card(
        tmp_path,
        10,
        "0x1002",
        {
            "product_name": "Radeon PRO W7900",
            "unique_id": "5d7c9e2f1a3b4c6d",
            "gpu_busy_percent": "42",
            "mem_info_vram_used": "1073741824",
            "mem_info_vram_total": "51522830336",
            "hwmon/hwmon3/temp1_input": "46000",
            "hwmon/hwmon3/power1_average": "38000000",
        },
    )
    card(tmp_path, 2, "0x1002", {})
    card(tmp_path, 1, "0x10de", {"mem_info_vram_total": "1"})
    (tmp_path / "card10-DP-1").mkdir()
    assert Amd(tmp_path)() == [
        Gpu(0),
        Gpu(1, "Radeon PRO W7900", "5d7c9e2f1a3b4c6d", 42.0, 1 << 30, 51_522_830_336, 46.0, 38.0),
    ]


def test_a_host_without_the_driver_has_no_devices(tmp_path: Path) -> None:
    assert Amd(tmp_path / "none")() == []


def test_an_invalid_number_is_unknown(tmp_path: Path) -> None:
    card(tmp_path, 0, "0x1002", {"mem_info_vram_total": "lots", "gpu_busy_percent": "-1"})
    assert Amd(tmp_path)() == [Gpu(0)]


CARD = {
    "Card Series": "AMD Instinct MI210",
    "Unique ID": "0x5d7c9e2f1a3b4c6d",
    "GPU use (%)": "17",
    "VRAM Total Memory (B)": "68702699520",
    "VRAM Total Used Memory (B)": "11079680",
    "Temperature (Sensor edge) (C)": "41.0",
    "Average Graphics Package Power (W)": "43.0",
}


def test_strings_of_rocm_smi_become_figures() -> None:
    text = json.dumps({"card0": CARD, "system": {"Driver version": "6.8"}})
    assert parse(text) == [
        Gpu(
            0,
            "AMD Instinct MI210",
            "0x5d7c9e2f1a3b4c6d",
            17.0,
            11_079_680,
            68_702_699_520,
            41.0,
            43.0,
        )
    ]


@pytest.mark.parametrize("text", ["", "ERROR: no driver", "[]", '{"card0": "N/A"}', "7"])
def test_invalid_output_of_rocm_smi_gives_no_devices(text: str) -> None:
    assert parse(text) == []


def test_not_available_is_unknown() -> None:
    card = dict.fromkeys(CARD, "N/A") | {"GPU use (%)": "nan", "VRAM Total Memory (B)": "-1"}
    assert parse(json.dumps({"card0": card})) == [Gpu(0)]


def test_rocm_smi_runs_rarely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "rocm-smi"
    asked = tmp_path / "asked"
    card = json.dumps({"card0": CARD})
    program.write_text(f"#!/bin/sh\necho x >> {asked}\ncat <<'EOF'\n{card}\nEOF\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    now = [0.0]
    read = Rocm(lambda: now[0])
    assert len(read()) == len(read()) == 1
    assert asked.read_text().count("x") == 1
    now[0] = EVERY_S
    read()
    assert asked.read_text().count("x") == 2


def test_without_rocm_smi_there_are_no_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Rocm(lambda: 0.0)() == []
