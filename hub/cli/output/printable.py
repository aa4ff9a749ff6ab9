"""Text from other programs, made safe to show."""


def printable(text: str) -> str:
    """`text` on one line, with control characters as escapes.

    Model names and error texts come from servers that are not trusted; they must not
    move the cursor of the terminal that shows them.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
