"""`llm-hub completion bash|zsh|fish`: prints the completion script of a shell."""

import click
from click.shell_completion import get_completion_class

_SHELLS = ("bash", "zsh", "fish")
_PROGRAM = "llm-hub"


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    r"""Print a script that completes commands and options in a shell.

    \b
    bash:  source <(llm-hub completion bash)
    zsh:   source <(llm-hub completion zsh)
    fish:  llm-hub completion fish | source
    """
    kind = get_completion_class(shell)
    assert kind is not None
    variable = f"_{_PROGRAM}_COMPLETE".replace("-", "_").upper()
    click.echo(kind(context.find_root().command, {}, _PROGRAM, variable).source())
