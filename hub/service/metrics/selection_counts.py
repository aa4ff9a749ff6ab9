"""Counts of selections and of the outcomes that callers report, as metrics."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from hub.contract.dialect.names import enum_word
from hub.registry.outcomes.fleet_outcomes import FleetOutcomes
from hub.registry.outcomes.outcome_book import OutcomeBook
from hub.registry.state import Registry
from llmhub.v1.registry_service_pb2 import OutcomeResult


@dataclass(slots=True)
class SelectionCounts:
    """What selections have done since the start.

    `waiting` is the number of those that wait now, and `waits` counts those that have
    waited, by how the wait ended. `affinity` counts selections with an affinity key by
    whether they got the key's own endpoint.
    """

    waiting: int = 0
    waits: Counter[str] = field(default_factory=Counter)
    affinity: Counter[str] = field(default_factory=Counter)


def outcome_metrics(book: OutcomeBook) -> Iterator[Metric]:
    """The outcomes of requests, and the circuit breakers."""
    results = CounterMetricFamily(
        "llmhub_outcomes", "Outcomes of requests that callers reported.", labels=("result",)
    )
    for result, count in book.results.items():
        results.add_metric((enum_word(OutcomeResult.DESCRIPTOR, result),), count)
    yield results
    tokens = CounterMetricFamily(
        "llmhub_outcome_tokens",
        "Tokens in these outcomes: of prompts, of prompts found in a cache, of output.",
        labels=("kind",),
    )
    for kind, count in book.tokens.items():
        tokens.add_metric((kind,), count)
    yield tokens
    yield GaugeMetricFamily(
        "llmhub_breakers_open",
        "Circuit breakers of models of servers that are open or half open.",
        value=book.ejected(),
    )
    yield CounterMetricFamily(
        "llmhub_breaker_openings", "Times that a circuit breaker opened.", value=book.openings
    )
    yield CounterMetricFamily(
        "llmhub_breaker_openings_refused",
        "Times that a circuit breaker stayed closed because of a bound on ejected servers.",
        value=book.refused_openings,
    )


def selection_metrics(counts: SelectionCounts) -> Iterator[Metric]:
    """Selections that wait, and those with an affinity key."""
    yield GaugeMetricFamily(
        "llmhub_selections_waiting", "Selections that wait for a place.", value=counts.waiting
    )
    waits = CounterMetricFamily(
        "llmhub_selection_waits",
        "Selections that waited for a place, by how the wait ended.",
        labels=("end",),
    )
    for end, count in counts.waits.items():
        waits.add_metric((end,), count)
    yield waits
    affinity = CounterMetricFamily(
        "llmhub_affinity_selections",
        "Selections with an affinity key, by whether they got the key's own endpoint.",
        labels=("place",),
    )
    for place, count in counts.affinity.items():
        affinity.add_metric((place,), count)
    yield affinity


class LearnedSelections:
    """What the hub knows of the selections from a registry and of their outcomes."""

    def __init__(self, registry: Registry) -> None:
        self.outcomes = FleetOutcomes(registry)
        self.counts = SelectionCounts()

    def metrics(self) -> Iterator[Metric]:
        """The metrics, in the order of docs/metrics.md."""
        yield from outcome_metrics(self.outcomes.book)
        yield from selection_metrics(self.counts)
