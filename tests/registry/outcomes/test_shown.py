import pytest
from google.protobuf.duration_pb2 import Duration

from hub.registry.outcomes.shown import (
    UNREPORTED,
    learned_parts,
    needs_trial,
    next_trial_ms,
    outcomes_of,
    why_open,
    with_closed_circuit,
)
from llmhub.v1.endpoint_pb2 import (
    BREAKER_STATE_CLOSED,
    BREAKER_STATE_HALF_OPEN,
    BREAKER_STATE_OPEN,
    Endpoint,
    ModelOutcomes,
)
from tests.support.fleet_of import loaded


def endpoint(**fields: object) -> Endpoint:
    return Endpoint(id="a:1", outcomes=[ModelOutcomes(model="m", **fields)])


def test_a_model_without_outcomes_gets_the_neutral_parts() -> None:
    assert learned_parts(Endpoint(), loaded()) == UNREPORTED
    assert learned_parts(endpoint(recent_requests=9), loaded("other")) == UNREPORTED
    assert outcomes_of(endpoint(), "other") is None
    assert learned_parts(endpoint(), loaded()) == UNREPORTED


@pytest.mark.parametrize(
    ("recent", "first_token", "failures"), [(0, 0.5, 0.0), (4, 0.3, -0.5), (1_000_000, 0.1, -1.0)]
)
def test_parts_trust_many_outcomes_more_than_few(recent, first_token, failures) -> None:
    found = learned_parts(
        endpoint(
            recent_requests=recent,
            failed_ratio=1,
            time_to_first_token=Duration(seconds=9),
        ),
        loaded(),
    )
    assert found == {"first_token": first_token, "throughput": 0.5, "failures": failures}


def test_an_open_breaker_and_a_trial_under_way_keep_selections_away() -> None:
    closed = endpoint(breaker=BREAKER_STATE_CLOSED)
    opened = endpoint(breaker=BREAKER_STATE_OPEN, reason="5 failures in a row")
    half_open = endpoint(breaker=BREAKER_STATE_HALF_OPEN)
    trying = endpoint(breaker=BREAKER_STATE_HALF_OPEN, on_trial=True)
    assert why_open(closed, "m") == ""
    assert why_open(opened, "other") == ""
    assert "5 failures in a row" in why_open(opened, "m")
    assert why_open(half_open, "m") == ""
    assert "under way" in why_open(trying, "m")
    assert [needs_trial(each, "m") for each in (closed, opened, half_open, trying)] == [
        *(False, False, True, False)
    ]


def test_models_with_an_open_breaker_are_left_out_unless_all_have_one() -> None:
    opened = endpoint(breaker=BREAKER_STATE_OPEN)
    failing, other = loaded("m"), loaded("other")
    assert with_closed_circuit(opened, [failing, other]) == [other]
    assert with_closed_circuit(opened, [failing]) == [failing]


def test_the_next_trial_is_the_first_of_all_models() -> None:
    assert next_trial_ms(endpoint()) is None
    two = endpoint(breaker=BREAKER_STATE_OPEN, changes_at={"seconds": 9})
    two.outcomes.add(model="n", breaker=BREAKER_STATE_OPEN, changes_at={"seconds": 7})
    assert next_trial_ms(two) == 7000
