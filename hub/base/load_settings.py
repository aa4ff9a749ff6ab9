"""Loads settings from a TOML file, the environment and flags; later sources win.

A setting's key is its path in the file ("ws.address"). Its environment variable
is LLM_HUB_ plus the path in capitals, with two underscores for each dot
(LLM_HUB_WS__ADDRESS). An unknown or invalid setting raises ConfigError with one line
that names its source. Nothing is guessed and nothing is ignored.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hub.base.section import Section
from hub.base.settings import Settings


class StartError(Exception):
    """The hub cannot start; the message is one readable line."""


ENVIRONMENT_PREFIX = "LLM_HUB_"

# The commands read these themselves; they are not settings.
_COMMAND_VARIABLES = frozenset(
    {"LLM_HUB_ADDRESS", "LLM_HUB_CONFIG", "LLM_HUB_TLS_CA", "LLM_HUB_TOKEN"}
)

# Kubernetes sets these in every pod of a namespace with a Service named "llm-hub".
_SERVICE_LINK = re.compile(r"LLM_HUB_(SERVICE_.*|PORT(_.*)?)")

FLAG_KEYS = {
    "--data-dir": "data_dir",
    "--ws": "ws.address",
    "--grpc": "grpc.address",
    "--http": "http.address",
    "--insecure": "tls.insecure",
}

_Path = tuple[str, ...]


class ConfigError(Exception):
    """A setting is unknown or invalid, or the file is unreadable; the message is one line."""


def load_settings(
    config_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, str | None] | None = None,
) -> Settings:
    """Reads the settings from a file, an environment and flags (the keys of FLAG_KEYS).

    A flag that is None was not given. Raises ConfigError.
    """
    values: dict[_Path, object] = {}
    places: dict[_Path, str] = {}
    if config_file is not None:
        for path, value in _flatten(_read_toml(config_file)).items():
            values[path] = value
            places[path] = f"{config_file}: {'.'.join(path)}"
    for name, text in sorted((environment or {}).items()):
        if _is_setting(name):
            path = tuple(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))
            values[path] = text
            places[path] = name
    for flag, given in (flags or {}).items():
        if given is not None:
            path = tuple(FLAG_KEYS[flag].split("."))
            values[path] = given
            places[path] = flag
    try:
        return Settings.model_validate(_nest(values))
    except ValidationError as error:
        raise ConfigError(_describe(error.errors()[0], places)) from None


def setting_paths(section: type[Section] = Settings, prefix: _Path = ()) -> list[_Path]:
    """The path of every setting, in the order of the model."""
    paths = []
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            paths += setting_paths(field.annotation, (*prefix, name))
        else:
            paths.append((*prefix, name))
    return paths


def _is_setting(name: str) -> bool:
    return (
        name.startswith(ENVIRONMENT_PREFIX)
        and name not in _COMMAND_VARIABLES
        and not _SERVICE_LINK.fullmatch(name)
    )


def _read_toml(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{file}: not TOML: {error}") from None


def _flatten(table: Mapping[str, object], prefix: _Path = ()) -> dict[_Path, object]:
    flat: dict[_Path, object] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat |= _flatten(value, (*prefix, key))
        else:
            flat[(*prefix, key)] = value
    return flat


def _nest(values: Mapping[_Path, object]) -> dict[str, object]:
    nested: dict[str, object] = {}
    for path in sorted(values, key=len):
        table = nested
        for key in path[:-1]:
            below = table.setdefault(key, {})
            if not isinstance(below, dict):
                # The value here should be a table; validation reports it.
                break
            table = below
        else:
            table[path[-1]] = values[path]
    return nested


def _describe(error: ErrorDetails, places: Mapping[_Path, str]) -> str:
    """Formats a pydantic error as one line: the source of the setting, then the problem."""
    path = tuple(str(part) for part in error["loc"])
    place = _place(path, places)
    kind = error["type"]
    if kind == "extra_forbidden":
        return f"{place}: unknown setting{_suggestion(path)}"
    if kind in {"model_type", "model_attributes_type"}:
        return f"{place}: is a section, not a value"
    if kind == "value_error":
        return f"{place}: {error['ctx']['error']}"
    message = error["msg"].replace("Input should be", "must be", 1)
    shown = repr(error["input"])
    return f"{place}: {message}, not {shown if len(shown) <= 60 else shown[:57] + '...'}"


def _place(path: _Path, places: Mapping[_Path, str]) -> str:
    """The source of the setting at `path`, or of the list that contains it."""
    for given, place in places.items():
        if given[: len(path)] == path:
            return place
        if path[: len(given)] == given:
            below = (f"[{part}]" if part.isdigit() else f".{part}" for part in path[len(given) :])
            return place + "".join(below)
    return ".".join(path)


def _suggestion(path: _Path) -> str:
    known = [".".join(each) for each in setting_paths()]
    close = difflib.get_close_matches(".".join(path), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
