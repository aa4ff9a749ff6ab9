from prometheus_client.core import Metric

from hub.registry.outcomes.outcome_book import Key, OutcomeBook, Reported
from hub.service.metrics.selection_counts import (
    SelectionCounts,
    outcome_metrics,
    selection_metrics,
)
from llmhub.v1.registry_service_pb2 import OUTCOME_RESULT_TIMED_OUT, Outcome


def values(*metrics: Metric) -> dict[str, float]:
    return {
        f"{sample.name} {' '.join(sample.labels.values())}".strip(): sample.value
        for metric in metrics
        for sample in metric.samples
    }


def test_outcomes_and_breakers_are_counted() -> None:
    book = OutcomeBook()
    outcome = Outcome(
        result=OUTCOME_RESULT_TIMED_OUT, prompt_tokens=9, cached_tokens=7, output_tokens=2
    )
    for server in ("a", "b"):
        for _ in range(5):
            book.report(Key(server, "m"), Reported(outcome, "t", "", 5_000), lambda: 3)
    assert values(*outcome_metrics(book)) == {
        "llmhub_outcomes_total timed_out": 10,
        "llmhub_outcome_tokens_total prompt": 90,
        "llmhub_outcome_tokens_total cached": 70,
        "llmhub_outcome_tokens_total output": 20,
        "llmhub_breakers_open": 1,
        "llmhub_breaker_openings_total": 1,
        "llmhub_breaker_openings_refused_total": 1,
    }


def test_waits_and_affinity_are_counted() -> None:
    counts = SelectionCounts(waiting=2)
    counts.waits["place"] += 3
    counts.affinity["own"] += 4
    assert values(*selection_metrics(counts)) == {
        "llmhub_selections_waiting": 2,
        "llmhub_selection_waits_total place": 3,
        "llmhub_affinity_selections_total own": 4,
    }
