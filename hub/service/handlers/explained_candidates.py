"""The candidates of an explained selection: each with its score or the reason for its rejection."""

from collections.abc import Iterator
from typing import Final

from hub.registry.selection.affinity import Affinity
from hub.registry.selection.criteria import FleetView, Verdict
from hub.registry.selection.ranking import Limits, Ranking, pick, rejections
from llmhub.v1.registry_service_pb2 import Candidate

MAX_CANDIDATES: Final = 1000
"""How many candidates an explanation has: the best ones, then the first of the others."""


def explained(
    ranking: Ranking,
    limits: Limits,
    now_ms: int,
    facts: FleetView,
    affinity: Affinity | None,
) -> Iterator[Candidate]:
    """Every candidate: the selectable ones, then those rejected for now, then the others."""
    fit = pick(ranking, limits, MAX_CANDIDATES, now_ms)
    for verdict in fit:
        candidate = _candidate(verdict)
        candidate.score = verdict.score
        placed = affinity.explain(verdict) if affinity is not None else ""
        candidate.detail = "; ".join(filter(None, (verdict.detail, placed)))
        candidate.parts.update(ranking.criteria.explain(verdict, facts))
        yield candidate
    rejected = rejections(ranking, limits, now_ms)
    for verdict, rejection, detail in rejected[: MAX_CANDIDATES - len(fit)]:
        candidate = _candidate(verdict)
        candidate.rejection, candidate.detail = rejection, detail
        yield candidate


def _candidate(verdict: Verdict) -> Candidate:
    return Candidate(
        endpoint_id=verdict.endpoint.id,
        model=verdict.model.name,
        in_flight=verdict.in_flight,
    )
