"""`llm-hub select`: shows which endpoint the hub chooses for a model, and why."""

from collections.abc import Mapping

import click

from hub.cli.calling.connection import hub_command
from hub.cli.calling.options import label_option
from hub.cli.output.grids import (
    REJECTION_WORDS,
    STRATEGIES,
    Grid,
    print_grids,
    print_message,
    print_value,
)
from hub.client import CallFailed, Hub
from llmhub.v1.registry_service_pb2 import (
    STRATEGY_UNSPECIFIED,
    Candidate,
    SelectEndpointResponse,
)


@click.command()
@click.argument("model")
@click.option("--count", type=click.IntRange(1, 100), default=1, help="How many to choose.")
@label_option
@click.option("--strategy", type=click.Choice(list(STRATEGIES)), help="How to choose.")
@click.option("--min-context", type=click.IntRange(0), default=0, help="Minimum context in tokens.")
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    metavar="NAME",
    help="A capability of the model, such as tools or vision; may be repeated.",
)
@click.option("--certain", is_flag=True, help="Leave out endpoints with an unknown required fact.")
@click.option("--affinity", metavar="KEY", default="", help="Choose the endpoint of this key.")
@click.option("--max-in-flight", type=click.IntRange(0), default=0, help="Maximum leases there.")
@click.option(
    "--wait",
    type=click.FloatRange(0, 300),
    metavar="SECONDS",
    help="Wait until an endpoint fits.",
)
@click.option("--priority", type=click.IntRange(0, 9), default=0, help="Who waits first: 0 to 9.")
@click.option("--explain", is_flag=True, help="Show every candidate with its score or rejection.")
@hub_command
def select(
    *,
    hub: Hub,
    output: str,
    model: str,
    count: int,
    labels: Mapping[str, str],
    strategy: str | None,
    min_context: int,
    capabilities: tuple[str, ...],
    certain: bool,
    affinity: str,
    max_in_flight: int,
    wait: float | None,
    priority: int,
    explain: bool,
) -> None:
    """Choose an endpoint for MODEL, as the hub would for any caller.

    No lease is taken. In a pipe each line begins with the endpoint's id.
    """
    try:
        response = hub.select_all(
            model,
            count=count,
            labels=labels,
            strategy=STRATEGIES[strategy] if strategy else STRATEGY_UNSPECIFIED,
            min_context_length=min_context,
            capabilities=capabilities,
            require_known_facts=certain,
            affinity_key=affinity,
            max_in_flight=max_in_flight,
            wait_s=wait,
            priority=priority,
            explain=explain,
        )
    except CallFailed as failed:
        if failed.rejections and output == "table":
            print_grids(Grid(("CANDIDATE", "WHY"), [*failed.rejections.items()], folds="WHY"))
        elif failed.rejections:
            print_value({"rejections": dict(failed.rejections)}, output)
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


def _why(candidate: Candidate) -> str:
    """The parts of the score, largest first, or why there is no score."""
    if candidate.rejection:
        word = REJECTION_WORDS.get(candidate.rejection, "rejected").replace("_", " ")
        return f"{word}: {candidate.detail}" if candidate.detail else word
    parts = sorted(candidate.parts.items(), key=lambda part: (-abs(part[1]), part[0]))
    # A part that rounds to nothing would read "-0.00".
    scored = ", ".join(f"{name} {value:+.2f}" for name, value in parts if round(value, 2))
    return f"{scored}; {candidate.detail}" if candidate.detail else scored
