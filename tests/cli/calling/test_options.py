import click

from hub.cli.calling.options import global_options, with_options


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
