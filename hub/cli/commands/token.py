"""`llm-hub token create|list|path|revoke`: manages the tokens of callers."""

import re
from pathlib import Path

import click
import grpc

from hub.base.data_dir import ADMIN_TOKEN_FILE, default_data_dir
from hub.cli.calling.connection import data_dir_option, hub_command
from hub.cli.calling.options import parse_labels
from hub.cli.failures import CommandFailed, ExitCode
from hub.cli.output.grids import (
    ROLE_WORDS,
    ROLES,
    Grid,
    print_grids,
    print_messages,
    print_value,
    time_text,
)
from hub.client import CallFailed, Hub
from hub.contract.dialect.encode import to_json
from llmhub.v1.resources_pb2 import TokenInfo, TokenScope

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class TtlType(click.ParamType[int]):
    """A span of time on the command line: a whole number and s, m, h, d or w."""

    name = "ttl"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Returns seconds."""
        match = re.fullmatch(r"([0-9]{1,9})([smhdw])", str(value))
        if not match or int(match[1]) == 0:
            self.fail(f"{value!r} is not a time such as 45s, 90m, 12h, 30d or 4w.", param, ctx)
        return int(match[1]) * _UNIT_SECONDS[match[2]]


@click.group()
def token() -> None:
    """Create, list and revoke tokens."""


@token.command()
@click.option("--role", type=click.Choice(list(ROLES)), required=True, help="What it allows.")
@click.option("--agent", default="", help="The agent that a sidecar token is bound to.")
@click.option(
    "--ttl", type=TtlType(), metavar="30d", help="How long it is valid; by default until revoked."
)
@click.option("--description", default="", help="A note that the list of tokens shows.")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    callback=parse_labels,
    help="Limit a reader to endpoints with this label. Repeatable.",
)
@click.option(
    "--model", "models", multiple=True, help="Limit a reader to this model or alias. Repeatable."
)
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="HOST[:PORT]|CIDR",
    help="Limit where a sidecar may register servers. Repeatable.",
)
@click.option("--rpc", "rpcs", multiple=True, help="Limit it to this call. Repeatable.")
@click.option("--read-only", is_flag=True, help="Limit an admin to calls that change nothing.")
@hub_command
def create(
    *,
    hub: Hub,
    output: str,
    role: str,
    agent: str,
    ttl: int | None,
    description: str,
    labels: dict[str, str],
    models: tuple[str, ...],
    addresses: tuple[str, ...],
    rpcs: tuple[str, ...],
    read_only: bool,
) -> None:
    """Create a token and print its secret, which is shown only once.

    Standard output has only the secret, so that a script can capture it.
    """
    scope = TokenScope(
        labels=labels, models=models, addresses=addresses, rpcs=rpcs, read_only=read_only
    )
    response = hub.create_token(
        ROLES[role],
        agent_id=agent,
        ttl_s=ttl,
        description=description,
        # A hub that is older than scopes would ignore them, so none is sent without need.
        scope=scope if scope.ByteSize() else None,
    )
    info = response.token_info
    if output != "table":
        # Field by field, so that the output does not depend on how the dialect treats secrets.
        print_value({"token": response.token, "token_info": to_json(info)}, output)
        return
    if scope.ByteSize() and not info.HasField("scope"):
        hub.revoke_token(info.id)
        raise CommandFailed("the hub is too old to limit a token: update it", ExitCode.FAILED)
    bound = f" for agent {info.agent_id}" if info.agent_id else ""
    bound += f", limited to {_limits(info.scope)}" if info.HasField("scope") else ""
    click.echo(
        f"token {info.id}: {ROLE_WORDS.get(info.role, '-')}{bound}, expires {_expiry(info)}; "
        "the secret is shown only once",
        err=True,
    )
    click.echo(response.token)


@token.command(name="list")
@click.option("--valid", is_flag=True, help="Leave out expired tokens.")
@hub_command
def list_tokens(*, hub: Hub, output: str, valid: bool) -> None:
    """List the tokens, without their secrets.

    Expired tokens are kept for at least 30 days, but only the latest 1,000.
    """
    found = list(hub.list_tokens(include_expired=not valid))
    if output != "table":
        print_messages("tokens", found, output)
        return
    rows = [
        (
            each.id,
            ROLE_WORDS.get(each.role, "-"),
            each.agent_id or "-",
            "expired" if each.expired else "valid",
            time_text(each.created_at, present=each.HasField("created_at")),
            _expiry(each),
            time_text(each.last_used_at, present=each.HasField("last_used_at")),
            each.last_used_from or "-",
            _limits(each.scope) or "-",
            each.description or "-",
        )
        for each in found
    ]
    headings = (
        *("ID", "ROLE", "AGENT", "STATUS", "CREATED", "EXPIRES"),
        *("USED", "FROM", "SCOPE", "DESCRIPTION"),
    )
    optional = ("CREATED", "FROM", "DESCRIPTION", "EXPIRES", "SCOPE", "USED")
    print_grids(Grid(headings, rows, optional=optional, folds="DESCRIPTION"))


@token.command()
@data_dir_option
def path(*, data_dir: Path | None) -> None:
    """Print the path of the file with the admin token of a hub on this machine."""
    click.echo((data_dir or default_data_dir()) / ADMIN_TOKEN_FILE)


@token.command()
@click.argument("token_id", metavar="[ID]", required=False)
@click.option("--expired", is_flag=True, help="Revoke all expired tokens, instead of ID.")
@hub_command
def revoke(*, hub: Hub, output: str, token_id: str | None, expired: bool) -> None:
    """Revoke a token by its id; a sidecar that uses it is disconnected.

    With --expired it removes all expired tokens.
    """
    if (token_id is None) is not expired:
        raise CommandFailed("give the ID of a token, or --expired", ExitCode.USAGE)
    ids = [token_id] if token_id is not None else _expired_ids(hub)
    for each in ids:
        try:
            hub.revoke_token(each)
        except CallFailed as failed:
            # Another admin, or the hub itself, has already removed it.
            if not expired or failed.code is not grpc.StatusCode.NOT_FOUND:
                raise
        if output == "table":
            click.echo(f"revoked {each}")
    if output != "table":
        print_value({"revoked": ids} if expired else {}, output)
    elif not ids:
        click.echo("no expired tokens")


def _expired_ids(hub: Hub) -> list[str]:
    return [each.id for each in hub.list_tokens(include_expired=True) if each.expired]


def _limits(scope: TokenScope) -> str:
    """The limits of a token in words; "" if it has none."""
    words = [f"label {key}={value}" for key, value in sorted(scope.labels.items())]
    words += [f"model {name}" for name in scope.models]
    words += [f"address {address}" for address in scope.addresses]
    words += [f"rpc {name}" for name in scope.rpcs]
    return ", ".join([*words, "read-only"] if scope.read_only else words)


def _expiry(info: TokenInfo) -> str:
    present = info.HasField("expires_at")
    return time_text(info.expires_at, present=True) if present else "never"
