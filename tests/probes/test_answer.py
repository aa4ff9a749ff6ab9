import pytest

from hub.probes.answer import Answer
from hub.probes.faults import Busy, NeedsApiKey


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("", None), ("-1", None), ("soon", None), ("9" * 40, None)]
)
def test_retry_after_is_read_in_seconds(header: str, seconds: float | None):
    answer = Answer("/x", 429, "", "", header, "", b"")
    with pytest.raises(Busy) as caught:
        answer.require_ok()
    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize(("has_key", "said"), [(False, "needs an API key"), (True, "refuses")])
@pytest.mark.parametrize("status", [401, 403])
def test_refused_key_is_distinguished_from_a_missing_one(status: int, has_key: bool, said: str):
    answer = Answer("/x", status, "", "", "", "", b"", has_key)
    with pytest.raises(NeedsApiKey, match=f"^{said} .*{status} to /x"):
        answer.require_ok()


def test_json_is_read_whatever_the_status():
    assert Answer("/x", 503, "", "", "", "", b'{"a": 1}').json_or_none() == {"a": 1}
    assert Answer("/x", 200, "", "", "", "", b"<html>").json_or_none() is None
