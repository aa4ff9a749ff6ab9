"""The hub's data directory: where it is, and the names of the files in it."""

from pathlib import Path

import platformdirs

ADMIN_TOKEN_FILE = "admin.token"  # noqa: S105 - the name of the file
STORE_FILE = "hub.db"
FACTS_FILE = "facts.bin"
KEY_FILE = "secrets.key"


def default_data_dir() -> Path:
    """The platform's place for a user's data of this program."""
    return Path(platformdirs.user_data_dir("llm-hub", appauthor=False))
