import sys
from pathlib import Path

import pytest

from hub.base.data_dir import default_data_dir


@pytest.mark.skipif(sys.platform != "linux", reason="other platforms have other places")
def test_the_usual_place_is_the_platforms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_data_dir() == tmp_path / "llm-hub"
