from hub.cli.failures import CommandFailed, ExitCode


def test_a_failure_is_one_line_made_of_its_fields() -> None:
    whole = CommandFailed("it broke", ExitCode.NOT_FOUND, advice="mend it", reason="BROKEN")
    assert whole.message == "it broke; mend it [BROKEN]"
    assert (whole.found, whole.advice, whole.code) == ("it broke [BROKEN]", "mend it", 5)
    short = CommandFailed("it broke")
    assert (short.message, short.found, short.code) == ("it broke", "it broke", 1)
