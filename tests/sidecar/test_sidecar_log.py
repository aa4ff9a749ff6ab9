import io
import logging

from hub.sidecar.sidecar_log import REDACTED, configure


def test_the_token_is_nowhere_not_even_in_a_traceback() -> None:
    out = io.StringIO()
    configure("debug", lambda: "llmhub_t1_secret", out)
    logger = logging.getLogger("any")
    logger.info("token=%s", "llmhub_t1_secret")
    try:
        raise ValueError("cannot send llmhub_t1_secret")
    except ValueError:
        logger.exception("failed")
    assert "llmhub_t1_secret" not in out.getvalue()
    assert f"token={REDACTED}" in out.getvalue()
    assert f"ValueError: cannot send {REDACTED}" in out.getvalue()


def test_the_library_that_would_show_whole_frames_is_quiet() -> None:
    out = io.StringIO()
    configure("debug", lambda: None, out)
    logging.getLogger("websockets.client").debug("> TEXT '{...}'")
    logging.getLogger("any").debug("kept")
    assert out.getvalue().endswith("Z DEBUG   kept\n")
    assert "TEXT" not in out.getvalue()
