from structlog.testing import capture_logs

from hub.service.metrics.refusals import Refusals


def test_each_refusal_is_counted_and_one_per_second_is_logged() -> None:
    times = iter((0.0, 0.2, 0.9, 1.0, 1.5, 2.5, 2.5))
    refusals = Refusals(lambda: next(times))
    with capture_logs() as logged:
        for _ in range(6):
            refusals.note("http", "connections", "192.0.2.7")
        refusals.note("http", "body")
    assert refusals.counts == {("http", "connections"): 6, ("http", "body"): 1}
    assert [(line["bound"], line["refused"]) for line in logged] == [
        ("connections", 1),
        ("connections", 3),
        ("connections", 2),
        ("body", 1),
    ]
    assert logged[0]["remote_address"] == "192.0.2.7"
    assert {line["log_level"] for line in logged} == {"warning"}
