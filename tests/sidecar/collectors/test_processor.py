import psutil
import pytest

from hub.sidecar.collectors.processor import Processor, memory


def test_a_reading_needs_an_earlier_one_and_enough_time() -> None:
    processor = Processor()
    assert processor.cpu_percent() is None
    assert processor.cpu_percent() is None


def test_busy_time_is_a_share_of_all_time(monkeypatch: pytest.MonkeyPatch) -> None:
    real = psutil.cpu_times()
    processor = Processor()
    processor.cpu_percent()
    # Ten seconds later: four of them idle, two waiting for the disk.
    later = real._replace(user=real.user + 4, idle=real.idle + 4, iowait=real.iowait + 2)
    monkeypatch.setattr(psutil, "cpu_times", lambda: later)
    share = processor.cpu_percent()
    assert share is not None
    assert 35.0 < share < 50.0


def test_memory_in_use_excludes_available_memory() -> None:
    used, whole = memory()
    assert whole == psutil.virtual_memory().total
    assert used is not None
    assert 0 < used < whole


def test_figures_of_an_unreadable_system_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError

    monkeypatch.setattr(psutil, "cpu_times", refuse)
    monkeypatch.setattr(psutil, "virtual_memory", refuse)
    assert Processor().cpu_percent() is None
    assert memory() == (None, None)
