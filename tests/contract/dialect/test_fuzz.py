"""A share of the fuzz of the JSON dialect; CI compares a million frames each day, other ones."""

import pytest

from tests.support import dialect_fuzz

_COMPARED = 8_000


@pytest.mark.parametrize("first", range(0, _COMPARED, 2_000))
def test_frames_mean_what_protobufs_own_parser_says(first: int) -> None:
    for seed in range(first, first + 2_000):
        dialect_fuzz.play(seed)


def test_a_difference_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        dialect_fuzz, "canonical", lambda _descriptor, value: {**value, "agent_id": "another"}
    )
    assert dialect_fuzz.main(200, 0)
