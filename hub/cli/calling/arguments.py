"""Arguments that several commands take: an endpoint's address, labels."""

from collections.abc import Sequence

import click

from hub.base.address import AddressError, EndpointAddress, parse_endpoint_url


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
    """A list of KEY=VALUE as a mapping."""
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
    help="Repeatable.",
)
