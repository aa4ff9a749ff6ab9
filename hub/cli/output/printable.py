"""Text from strangers, made safe to show."""


def printable(text: str) -> str:
    """`text` on one line, with control characters as escapes.

    Model names and error texts come from servers that nobody vouches for; one
    must not be able to move the cursor of whoever lists them.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
