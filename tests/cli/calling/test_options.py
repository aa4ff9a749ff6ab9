import click
import pytest

from hub.base.address import EndpointAddress
from hub.cli.calling.options import (
    AddressType,
    global_options,
    label_option,
    option_of,
    with_options,
)


def test_the_first_option_is_listed_first() -> None:
    @click.command()
    @global_options
    def command(**_options: object) -> None:
        """Does nothing."""

    names = [parameter.name for parameter in command.params]
    assert names[:2] == ["hub", "token"]
    assert names[-1] == "output"


def test_options_are_applied_from_the_last_to_the_first() -> None:
    applied: list[str] = []

    def option(name: str):
        def decorate(function):
            applied.append(name)
            return function

        return decorate

    with_options(lambda: None, (option("a"), option("b")))
    assert applied == ["b", "a"]


@click.command()
@click.argument("address", type=AddressType())
@label_option
def command(address: EndpointAddress, labels: dict[str, str]) -> tuple[str, dict[str, str]]:
    return address.id, labels


def parsed(*arguments: str) -> object:
    return command.main(arguments, standalone_mode=False)


def test_an_address_and_labels_are_parsed() -> None:
    assert parsed("http://GPU-1", "--label", "a=b=c", "--label", "d=") == (
        "gpu-1:80",
        {"a": "b=c", "d": ""},
    )


@pytest.mark.parametrize("arguments", [("ftp://x",), ("x", "--label", "a"), ("x", "--label", "=b")])
def test_an_invalid_address_or_label_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    with pytest.raises(click.UsageError):
        parsed(*arguments)


@click.command()
@click.argument("url", metavar="URL")
@click.option("--agent")
@click.option("--model", "models", multiple=True)
@label_option
def names(**_options: object) -> list[str]:
    fields = ("agent_id", "scope.models[2]", 'labels["a"]', "url", "ttl")
    return [option_of(field) for field in fields]


def test_a_field_is_named_as_the_command_names_it() -> None:
    found = names.main(["x"], standalone_mode=False)
    assert found == ["--agent", "--model[2]", '--label["a"]', "URL", "ttl"]


def test_a_field_keeps_its_name_outside_a_command() -> None:
    assert option_of("agent_id") == "agent_id"
