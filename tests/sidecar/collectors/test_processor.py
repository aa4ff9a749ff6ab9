import psutil
import pytest

from hub.sidecar.collectors.processor import Processor, memory


def test_the_first_reading_knows_nothing_and_the_second_needs_time() -> None:
    processor = Processor()
    assert processor.cpu_percent() is None
    assert processor.cpu_percent() is None


def test_busy_time_is_a_share_of_all_time(monkeypatch: pytest.MonkeyPatch) -> None:
    real = psutil.cpu_times()
    processor = Processor()
    processor.cpu_percent()
    # Ten seconds later, of which four were idle and two waited for the disk.
    later = real._replace(user=real.user + 4, idle=real.idle + 4, iowait=real.iowait + 2)
    monkeypatch.setattr(psutil, "cpu_times", lambda: later)
    share = processor.cpu_percent()
    assert share is not None
    assert 35.0 < share < 50.0


def test_memory_in_use_leaves_out_what_is_available() -> None:
    used, whole = memory()
    assert whole == psutil.virtual_memory().total
    assert used is not None
    assert 0 < used < whole


def test_a_system_that_does_not_tell_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError

    monkeypatch.setattr(psutil, "cpu_times", refuse)
    monkeypatch.setattr(psutil, "virtual_memory", refuse)
    assert Processor().cpu_percent() is None
    assert memory() == (None, None)
