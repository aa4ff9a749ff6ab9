import re
from ipaddress import ip_network
from pathlib import Path

import pytest

from hub.base.data_dir import default_data_dir
from hub.base.load_settings import ConfigError, load_settings, setting_paths
from hub.base.section import Section
from hub.base.settings import Settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def write(directory: Path, text: str) -> Path:
    file = directory / "hub.toml"
    file.write_text(text)
    return file


def test_the_defaults() -> None:
    settings = load_settings()
    assert settings == Settings()
    assert settings.data_dir == default_data_dir()
    assert (settings.ws.address, settings.ws.path) == ("127.0.0.1:4000", "/ws")
    assert settings.grpc.address == "127.0.0.1:50051"
    assert (settings.http.host, settings.http.port) == ("127.0.0.1", 8080)
    assert settings.ws.max_frame_bytes == 64 * 1024
    assert settings.probes.unhealthy_after == 2
    assert settings.rate_limits.enabled
    limits = settings.rate_limits.sidecar
    assert (limits.light, limits.normal, limits.heavy) == (120, 60, 10)


def test_the_later_source_wins(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        data_dir = "/srv/from-file"
        [ws]
        address = "0.0.0.0:1"
        path = "/from-file"
        [grpc]
        address = "0.0.0.0:2"
        [rate_limits]
        enabled = false
        """,
    )
    environment = {
        "LLM_HUB_GRPC__ADDRESS": "[::1]:3",
        "LLM_HUB_WS__ADDRESS": "10.0.0.1:4",
        "HOME": "/root",
    }
    settings = load_settings(file, environment, {"--ws": "127.0.0.1:0", "--http": None})
    assert settings.data_dir == Path("/srv/from-file")
    assert settings.ws.address == "127.0.0.1:0"
    assert settings.ws.path == "/from-file"
    assert (settings.grpc.host, settings.grpc.port) == ("::1", 3)
    assert settings.http.address == "127.0.0.1:8080"
    assert settings.rate_limits.enabled is False


def test_the_environment_reaches_every_kind_of_setting() -> None:
    settings = load_settings(
        environment={
            "LLM_HUB_DATA_DIR": "~/hub",
            "LLM_HUB_RATE_LIMITS__ENABLED": "false",
            "LLM_HUB_PROBES__INTERVAL_S": "7.5",
            "LLM_HUB_PROBES__DENY": "10.0.0.0/8, fd00::/8",
            "LLM_HUB_LOG__LEVEL": "debug",
            # Variables of the commands, and those that Kubernetes adds for a Service.
            "LLM_HUB_TOKEN": "secret",
            "LLM_HUB_ADDRESS": "127.0.0.1:1",
            "LLM_HUB_SERVICE_HOST": "10.0.0.1",
            "LLM_HUB_PORT_4000_TCP": "tcp://10.0.0.1:4000",
        }
    )
    assert settings.data_dir == Path.home() / "hub"
    assert settings.rate_limits.enabled is False
    assert settings.probes.interval_s == 7.5
    assert settings.probes.deny == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert settings.log.level == "debug"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "[ws]\nadress = 'x'",
            r"hub\.toml: ws\.adress: unknown setting; did you mean ws\.address\?",
        ),
        ("zzz = 1", r"hub\.toml: zzz: unknown setting$"),
        ("[zzz]\na = 1", r"hub\.toml: zzz\.a: unknown setting$"),
        ("[ws]\naddress = '127.0.0.1'", r"hub\.toml: ws\.address: '127\.0\.0\.1' has no port"),
        ("[ws]\naddress = 4000", r"hub\.toml: ws\.address: must be a valid string, not 4000"),
        ("ws = 4000", r"hub\.toml: ws: is a section, not a value"),
        ("[data_dir]\nx = 1", r"hub\.toml: data_dir\.x: "),
        ("[probes]\ninterval_s = -1", r"probes\.interval_s: must be greater than 0, not -1"),
        ("[probes]\ninterval_s = nan", r"probes\.interval_s: must be a finite number, not nan"),
        ("[probes]\nper_host = true", r"probes\.per_host: must be a number, not true or false"),
        ("[probes]\nallow = ['10.0.0.1/8']", r"probes\.allow: '10\.0\.0\.1/8' is not a CIDR block"),
        ("[probes]\nallow = 5", r"probes\.allow: must be a list of CIDR blocks"),
        ("[log]\nformat = 'xml'", r"log\.format: must be 'auto', 'console' or 'json', not 'xml'"),
        ("[ws]\npath = 'ws'", r"ws\.path: 'ws' is not a path"),
        ("[ws", r"hub\.toml: not TOML: "),
    ],
)
def test_a_bad_file_gets_one_clear_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_settings(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_gets_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load_settings(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.toml: not TOML"):
        load_settings(tmp_path / "binary.toml")


@pytest.mark.parametrize(
    ("environment", "flags", "complaint"),
    [
        ({"LLM_HUB_WS__ADRESS": "x:1"}, {}, r"^LLM_HUB_WS__ADRESS: unknown setting; did you mean"),
        ({"LLM_HUB_WS__ADDRESS": "x"}, {}, r"^LLM_HUB_WS__ADDRESS: 'x' has no port"),
        ({"LLM_HUB_WS": "x"}, {}, r"^LLM_HUB_WS: is a section"),
        ({"LLM_HUB_WS": "x", "LLM_HUB_WS__PATH": "/a"}, {}, r"^LLM_HUB_WS: is a section"),
        (
            {"LLM_HUB_LIMITS__MAX_TOKENS": "many"},
            {},
            r"^LLM_HUB_LIMITS__MAX_TOKENS: must be a valid",
        ),
        ({}, {"--grpc": "x:70000"}, r"^--grpc: port '70000' is not a number from 0 to 65535"),
        ({"LLM_HUB_WS__ADDRESS": "x"}, {"--ws": "y"}, r"^--ws: 'y' has no port"),
    ],
)
def test_an_error_names_the_variable_or_the_flag(
    environment: dict[str, str], flags: dict[str, str | None], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_settings(environment=environment, flags=flags)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().ws.path = "/x"


def documented_default(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def test_every_setting_is_documented_and_nothing_else() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.+?) \| (.+?) \|$", DOCUMENT.read_text(), re.MULTILINE)
    expected = []
    for path in setting_paths():
        section: Section = Settings()
        for part in path[:-1]:
            section = getattr(section, part)
        description = type(section).model_fields[path[-1]].description
        default = f"`{documented_default(getattr(section, path[-1]))}`"
        expected.append((".".join(path), default, description))
    # Only this default differs between machines.
    expected[0] = ("data_dir", "the platform's user data directory", expected[0][2])
    assert rows == expected
