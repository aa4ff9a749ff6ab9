from pathlib import Path

from hub.sidecar.collectors.amd import Amd
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


def test_invalid_number_is_unknown(tmp_path: Path) -> None:
    card(tmp_path, 0, "0x1002", {"mem_info_vram_total": "lots", "gpu_busy_percent": "-1"})
    assert Amd(tmp_path)() == [Gpu(0)]
