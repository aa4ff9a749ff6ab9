"""The options and arguments that many commands share: which hub, addresses, labels."""

from collections.abc import Callable, Iterable, Sequence

import click

from hub.base.address import AddressError, EndpointAddress, parse_endpoint_url

FORMATS = ("table", "json", "yaml")

Function = Callable[..., object]


def global_options(command: Function) -> Function:
    """Adds the options that may come before or after a command's name."""
    return with_options(
        command,
        (
            click.option(
                "--hub", metavar="HOST:PORT", help="The hub's gRPC port (127.0.0.1:50051)."
            ),
            click.option("--token", metavar="TOKEN", help="The token to call with."),
            click.option("--tls", is_flag=True, help="Use TLS with the default authorities."),
            click.option(
                "--tls-ca", metavar="FILE", help="Use TLS, and trust only the certificates in FILE."
            ),
            click.option(
                "--tls-cert", metavar="FILE", help="Use TLS with this client certificate."
            ),
            click.option(
                "--tls-key", metavar="FILE", help="Its key, if the certificate's file has none."
            ),
            click.option(
                "--timeout", type=click.FloatRange(0.001, 3600), help="Seconds per call (10)."
            ),
            click.option("--output", "-o", type=click.Choice(FORMATS), help="The output format."),
        ),
    )


def with_options(command: Function, options: Iterable[Callable[[Function], Function]]) -> Function:
    """Applies decorators so that the first one's option is listed first."""
    for option in reversed(tuple(options)):
        command = option(command)
    return command


def option_of(field: str) -> str:
    """What the running command calls a field of the API: "scope.models[2]" is --model[2].

    A field that the command does not set keeps its name.
    """
    context = click.get_current_context(silent=True)
    path, bracket, place = field.partition("[")
    name = path.rpartition(".")[2]
    for parameter in context.command.params if context is not None else ():
        # The field agent_id is the option --agent.
        if parameter.name in (name, name.removesuffix("_id")) and context is not None:
            is_option = isinstance(parameter, click.Option)
            shown = parameter.opts[0] if is_option else parameter.make_metavar(context)
            return f"{shown}{bracket}{place}"
    return field


class AddressType(click.ParamType[EndpointAddress]):
    """An endpoint's address on the command line: HOST, HOST:PORT or a URL."""

    name = "address"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> EndpointAddress:
        """See click.ParamType."""
        try:
            return parse_endpoint_url(str(value))
        except AddressError as error:
            self.fail(f"{error}.", param, ctx)


def parse_labels(
    context: click.Context, parameter: click.Parameter, pairs: Sequence[str]
) -> dict[str, str]:
    """Turns a list of KEY=VALUE into a mapping."""
    labels = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE.", context, parameter)
        labels[key] = value
    return labels


label_option = click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    callback=parse_labels,
    help="A label; may be repeated.",
)
