import click
import pytest

from hub.base.address import EndpointAddress
from hub.cli.calling.arguments import AddressType, label_option


@click.command()
@click.argument("address", type=AddressType())
@label_option
def command(address: EndpointAddress, labels: dict[str, str]) -> tuple[str, dict[str, str]]:
    return address.id, labels


def parsed(*arguments: str) -> object:
    return command.main(arguments, standalone_mode=False)


def test_an_address_and_labels() -> None:
    assert parsed("http://GPU-1", "--label", "a=b=c", "--label", "d=") == (
        "gpu-1:80",
        {"a": "b=c", "d": ""},
    )


@pytest.mark.parametrize("arguments", [("ftp://x",), ("x", "--label", "a"), ("x", "--label", "=b")])
def test_what_is_none_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    with pytest.raises(click.UsageError):
        parsed(*arguments)
