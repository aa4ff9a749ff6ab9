import pytest

from hub.registry.outcomes.evidence import (
    HALF_LIFE_MS,
    MAX_TOKENS,
    STREAK_MS,
    Evidence,
    is_broken,
    says_nothing,
)
from llmhub.v1.registry_service_pb2 import (
    OUTCOME_RESULT_CANCELLED,
    OUTCOME_RESULT_CONNECT_FAILED,
    OUTCOME_RESULT_OK,
    OUTCOME_RESULT_OVERLOADED,
    OUTCOME_RESULT_REQUEST_REJECTED,
    OUTCOME_RESULT_UNSPECIFIED,
    Outcome,
    OutcomeResult,
)

OK = Outcome(result=OUTCOME_RESULT_OK)
FAILED = Outcome(result=OUTCOME_RESULT_CONNECT_FAILED)
BUSY = Outcome(result=OUTCOME_RESULT_OVERLOADED)


def took(first_ms: int, total_ms: int = 0, tokens: int = 0) -> Outcome:
    outcome = Outcome(result=OUTCOME_RESULT_OK)
    outcome.time_to_first_token.FromMilliseconds(first_ms)
    if total_ms:
        outcome.duration.FromMilliseconds(total_ms)
        outcome.output_tokens = tokens
    return outcome


def filled(*outcomes: tuple[str, Outcome]) -> Evidence:
    evidence = Evidence()
    for token, outcome in outcomes:
        evidence.add(token, outcome, 0)
    return evidence


def test_each_result_is_a_failure_a_success_or_nothing() -> None:
    results = {*OutcomeResult.values()} - {OUTCOME_RESULT_UNSPECIFIED}
    neutral = {each for each in results if says_nothing(Outcome(result=each))}
    assert neutral == {OUTCOME_RESULT_CANCELLED, OUTCOME_RESULT_REQUEST_REJECTED}
    sound = {each for each in results if not is_broken(Outcome(result=each))}
    assert sound - neutral == {OUTCOME_RESULT_OK, OUTCOME_RESULT_OVERLOADED}


def test_outcomes_that_say_nothing_change_nothing() -> None:
    evidence = filled(
        ("a", FAILED),
        ("a", Outcome(result=OUTCOME_RESULT_CANCELLED)),
        ("b", Outcome(result=OUTCOME_RESULT_REQUEST_REJECTED)),
    )
    found = evidence.findings(0)
    assert (found.requests, found.failed, found.active) == (1, 1, {"a"})
    assert evidence.streak == 1


def test_the_weight_of_an_outcome_halves_every_minute() -> None:
    evidence = filled(*[("a", FAILED)] * 8)
    evidence.add("a", OK, 3 * HALF_LIFE_MS)
    found = evidence.findings(3 * HALF_LIFE_MS)
    assert (found.requests, found.failed, found.broken) == (2, 0.5, 0.5)


def test_a_success_ends_a_streak_and_so_does_time() -> None:
    evidence = filled(("a", FAILED), ("b", FAILED), ("a", FAILED))
    assert (evidence.streak, evidence.streak_tokens) == (3, {"a", "b"})
    evidence.add("c", BUSY, 0)
    assert evidence.streak == 3, "a busy server is neither broken nor proven to work"
    evidence.add("c", OK, 0)
    assert evidence.streak == 0
    evidence.add("a", FAILED, 0)
    evidence.add("a", FAILED, STREAK_MS + 1)
    assert evidence.streak == 1


@pytest.mark.parametrize("flood", [10, 10_000])
def test_a_token_weighs_no_more_than_all_others_together(flood) -> None:
    evidence = filled(*[("liar", FAILED)] * flood, *[("b", OK)] * 4, *[("c", OK)] * 2)
    found = evidence.findings(0)
    assert found.requests == pytest.approx(12)
    assert found.failed == pytest.approx(0.5)
    assert found.blaming == {"liar"}


def test_a_token_alone_is_believed() -> None:
    evidence = filled(("b", OK), *[("a", FAILED)] * 3)
    later = evidence.findings(2 * HALF_LIFE_MS)
    assert later.active == {"a"}
    assert later.failed == pytest.approx(0.75)
    assert later.requests == pytest.approx(1)


def test_one_absurd_figure_counts_no_more_than_a_bad_one() -> None:
    figures = [("a", took(100))] * 9
    absurd = filled(*figures, ("a", took(86_400_000))).findings(0).first_token_s
    bad = filled(*figures, ("a", took(30_000))).findings(0).first_token_s
    assert absurd is not None
    assert bad is not None
    assert absurd < 0.25
    assert absurd == pytest.approx(bad, rel=0.05)


def test_figures_are_typical_of_what_was_reported() -> None:
    found = filled(*[("a", took(200, 4200, 80))] * 5).findings(0)
    assert found.first_token_s == pytest.approx(0.2)
    assert found.tokens_per_s == pytest.approx(20)


def test_short_answers_and_impossible_times_have_no_rate() -> None:
    found = filled(("a", took(200, 300, 2)), ("a", took(500, 400, 100)), ("a", OK)).findings(0)
    assert found.tokens_per_s is None
    assert filled(("a", OK)).findings(0).first_token_s is None


def test_extreme_figures_are_finite() -> None:
    found = filled(("a", took(0, 1, 100_000_000))).findings(0)
    assert found.first_token_s == 0
    assert found.tokens_per_s is not None
    assert 1e6 < found.tokens_per_s < 1e9


def test_the_tokens_that_are_told_apart_are_bounded() -> None:
    evidence = Evidence()
    for n in range(3 * MAX_TOKENS):
        evidence.add(f"t{n}", FAILED, n)
    assert len(evidence._shares) == MAX_TOKENS
    assert len(evidence.streak_tokens) == MAX_TOKENS


def test_a_successful_trial_clears_the_failures() -> None:
    evidence = filled(("a", FAILED), ("a", OK), ("b", FAILED))
    evidence.clear_failures()
    found = evidence.findings(0)
    assert (found.requests, found.failed, found.active) == (1, 0, {"a"})
