import click

from hub.cli.lazy import LazyCommands


def test_a_command_is_imported_when_it_is_looked_up() -> None:
    commands = LazyCommands({"serve": "hub.cli.commands.serve:serve", "none": "no.such.module:x"})
    assert list(commands) == ["serve", "none"]
    assert len(commands) == 2
    assert commands["serve"].name == "serve"
    assert commands["serve"] is commands["serve"]


def test_a_command_can_be_added_and_taken_away() -> None:
    commands = LazyCommands({})
    commands["x"] = click.Command("x")
    assert commands["x"].name == "x"
    del commands["x"]
    assert "x" not in commands
