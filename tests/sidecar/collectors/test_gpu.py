import pytest

from hub.sidecar.collectors.gpu import Gpu, total


def test_zero_is_known_and_none_is_not() -> None:
    assert Gpu(0, utilization_percent=0.0).frame() == {"index": 0, "utilization_percent": 0.0}


@pytest.mark.parametrize(
    ("values", "whole"), [([], None), ([None], None), ([1, None], None), ([0, 2], 2)]
)
def test_total(values: list[int | None], whole: int | None) -> None:
    assert total(values) == whole
