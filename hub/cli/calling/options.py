"""The options of every client command, which may stand before or after its name."""

from collections.abc import Callable, Iterable

import click

FORMATS = ("table", "json", "yaml")

Function = Callable[..., object]


def global_options(command: Function) -> Function:
    """Gives `command` the options that may stand before or after a command's name."""
    return with_options(
        command,
        (
            click.option(
                "--hub", metavar="HOST:PORT", help="The hub's gRPC port (127.0.0.1:50051)."
            ),
            click.option("--token", metavar="TOKEN", help="The token to call with."),
            click.option("--tls", is_flag=True, help="Use TLS, trusting the usual authorities."),
            click.option(
                "--tls-ca", metavar="FILE", help="Use TLS, trusting the certificates in FILE alone."
            ),
            click.option(
                "--tls-cert", metavar="FILE", help="Use TLS and show the hub this certificate."
            ),
            click.option(
                "--tls-key", metavar="FILE", help="Its key, if not in the certificate's FILE."
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
