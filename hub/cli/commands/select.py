"""`llm-hub select`: which endpoint the hub would choose for a model, and why."""

from collections.abc import Mapping

import click

from hub.cli.calling.connection import HubConnection, hub_command
from hub.cli.commands.endpoints import label_option
from hub.cli.failures import CommandFailed
from hub.cli.output.grids import Grid, print_grids, print_message
from hub.contract.dialect.names import enum_words
from llmhub.v1.registry_service_pb2 import (
    Candidate,
    Rejection,
    SelectEndpointRequest,
    SelectEndpointResponse,
    Strategy,
)

# What an error's metadata call a candidate, see hub/service/handlers/select_endpoint.py.
_REJECTED = "rejected "

_STRATEGIES = {word: f"STRATEGY_{word.upper()}" for word in enum_words(Strategy.DESCRIPTOR)}
_REJECTION_WORDS = {number: word for word, number in enum_words(Rejection.DESCRIPTOR).items()}


@click.command()
@click.argument("model")
@click.option("--count", type=click.IntRange(1, 100), default=1, help="How many, best first.")
@label_option
@click.option("--strategy", type=click.Choice(list(_STRATEGIES)), help="How to choose.")
@click.option("--min-context", type=click.IntRange(0), default=0, help="Least context in tokens.")
@click.option("--explain", is_flag=True, help="Show every candidate with its score or rejection.")
@hub_command
def select(
    *,
    connection: HubConnection,
    output: str,
    model: str,
    count: int,
    labels: Mapping[str, str],
    strategy: str | None,
    min_context: int,
    explain: bool,
) -> None:
    """Choose an endpoint for MODEL, as a caller of the hub would get it.

    No lease is taken. In a pipe each line begins with the endpoint's id.
    """
    request = SelectEndpointRequest(
        model=model,
        count=count,
        labels=labels,
        strategy=_STRATEGIES[strategy] if strategy else None,
        min_context_length=min_context,
        explain=explain,
    )
    try:
        response: SelectEndpointResponse = connection.call(
            connection.registry.SelectEndpoint, request
        )
    except CommandFailed as error:
        if explain and output == "table" and (rejected := _rejected(error.metadata)):
            print_grids(Grid(("CANDIDATE", "WHY"), rejected, folds="WHY"))
        raise
    if output != "table":
        print_message(response, output)
        return
    chosen = [
        (each.endpoint.id, each.endpoint.name, each.model, f"{each.score:.3f}")
        for each in response.selections
    ]
    grids = [Grid(("ENDPOINT", "NAME", "MODEL", "SCORE"), chosen, "Chosen", optional=("NAME",))]
    if explain:
        grids.append(_candidates(response))
    print_grids(*grids)


def _candidates(response: SelectEndpointResponse) -> Grid:
    rows = [
        (
            each.endpoint_id,
            f"{each.score:.3f}" if not each.rejection else "-",
            str(each.in_flight),
            _why(each),
        )
        for each in response.candidates
    ]
    return Grid(("CANDIDATE", "SCORE", "LEASES", "WHY"), rows, "Candidates", folds="WHY")


def _rejected(metadata: Mapping[str, str]) -> list[tuple[str, str]]:
    """The candidates that a refusal names, and what each lacks."""
    return [
        (key.removeprefix(_REJECTED), why)
        for key, why in sorted(metadata.items())
        if key.startswith(_REJECTED)
    ]


def _why(candidate: Candidate) -> str:
    """What the score is made of, the weightiest part first, or why there is none."""
    if candidate.rejection:
        word = _REJECTION_WORDS.get(candidate.rejection, "rejected").replace("_", " ")
        return f"{word}: {candidate.detail}" if candidate.detail else word
    parts = sorted(candidate.parts.items(), key=lambda part: (-abs(part[1]), part[0]))
    return ", ".join(f"{name} {value:+.2f}" for name, value in parts if value)
