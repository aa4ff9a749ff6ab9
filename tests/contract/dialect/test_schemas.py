import orjson
import pytest

from hub.contract.dialect.decode import compile_decoder
from hub.contract.dialect.schemas import schemas
from hub.contract.errors import ValidationFailed
from hub.contract.rpcs import FRAMES
from hub.contract.validation import check
from llmhub.v1.admin_service_pb2 import CreateTokenRequest, RegisterEndpointRequest

HTTP = {
    "tokens.create": (CreateTokenRequest, "Creates a token."),
    "llm_registry.register": (RegisterEndpointRequest, "Registers an endpoint."),
}
REPLY = schemas(HTTP)
WEBSOCKET = {entry["type"]: entry for entry in REPLY["schemas"]["websocket"]}
BODIES = {entry["key"]: entry for entry in REPLY["schemas"]["http"]}


def test_the_reply_is_json_with_versions_and_sorted_lists():
    reply = orjson.loads(orjson.dumps(REPLY))
    assert reply["version"] == "1.0"
    assert reply["schemas"]["version"] == "1.0"
    assert [entry["type"] for entry in reply["schemas"]["websocket"]] == sorted(FRAMES)
    assert [entry["key"] for entry in reply["schemas"]["http"]] == sorted(HTTP)
    assert set(WEBSOCKET["ping"]) == {
        "type",
        "description",
        "required_fields",
        "optional_fields",
        "json_schema",
    }


def test_the_fields_of_identify():
    assert WEBSOCKET["identify"]["required_fields"] == [
        {"name": "agent_id", "type": "string"},
        {"name": "token", "type": "string"},
    ]
    assert WEBSOCKET["identify"]["optional_fields"] == [
        {"name": "capabilities", "type": "array"},
        {"name": "name", "type": "string"},
        {"name": "ollama_url", "type": "string"},
        {"name": "status", "type": "string"},
    ]


def test_the_schema_of_identify():
    schema = WEBSOCKET["identify"]["json_schema"]
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["required"] == ["type", "agent_id", "token"]
    assert schema["properties"]["type"] == {"const": "identify"}
    assert schema["properties"]["token"] == {
        "type": "string",
        "minLength": 1,
        "maxLength": 256,
        "writeOnly": True,
    }
    assert schema["properties"]["capabilities"] == {
        "type": ["array", "null"],
        "items": {
            "type": "string",
            "maxLength": 256,
            "pattern": r"^[^\u0000-\u001F\u007F-\u009F\u2028-\u202E\u2066-\u2069]*$",
        },
        "maxItems": 64,
    }


def test_the_schema_of_a_report():
    properties = WEBSOCKET["resource_report"]["json_schema"]["properties"]
    assert properties["cpu_percent"] == {"type": ["number", "null"], "minimum": 0, "maximum": 100}
    assert properties["vram_total_bytes"] == {
        "type": ["integer", "null"],
        "minimum": 0,
        "maximum": 2**53 - 1,
    }
    assert properties["timestamp"]["type"] == ["integer", "null"]
    gpu = properties["gpus"]["items"]
    assert gpu["properties"]["index"] == {
        "type": ["integer", "null"],
        "minimum": 0,
        "maximum": 1023,
    }


def test_the_schema_of_a_registration():
    entry = BODIES["llm_registry.register"]
    assert entry["description"] == "Registers an endpoint."
    assert entry["required_fields"] == [{"name": "host", "type": "string"}]
    properties = entry["json_schema"]["properties"]
    assert "type" not in properties
    assert properties["host"]["description"].startswith("must be a host name")
    assert properties["scheme"]["enum"] == ["", "http", "https", None]
    assert properties["backend"]["enum"][:2] == ["ollama", "vllm"]
    labels = properties["labels"]
    assert labels["maxProperties"] == 64
    assert labels["propertyNames"]["maxLength"] == 63
    assert labels["additionalProperties"]["pattern"] == (
        r"^[^\u0000-\u001F\u007F-\u009F\u2028-\u202E\u2066-\u2069]*$"
    )


def test_durations_are_bounded_in_milliseconds():
    entry = BODIES["tokens.create"]["json_schema"]
    assert entry["properties"]["ttl"] == {
        "type": ["number", "null"],
        "minimum": 1000,
        "maximum": 315_360_000_000,
        "description": "milliseconds",
    }
    assert entry["description"].startswith("agent_id: a sidecar token needs one")


@pytest.mark.parametrize(
    ("frame", "description"),
    [
        ("identify", 'The request of SidecarService.Identify; answered by "identified".'),
        ("resource_report", "The request of SidecarService.ReportResources; not answered."),
        ("ping", 'The request of SidecarService.Ping; answered by "pong".'),
    ],
)
def test_descriptions_pair_a_frame_with_its_rpc_and_reply(frame, description):
    assert WEBSOCKET[frame]["description"] == description


def errors(message_class, field, value):
    decoded = compile_decoder(message_class).decode({field: value})
    try:
        check(decoded.message, decoded.violations)
    except ValidationFailed as error:
        return {each.error for each in error.violations if each.field == field}
    return set()


def bounds():
    for name, entry in WEBSOCKET.items():
        for field, schema in entry["json_schema"]["properties"].items():
            for keyword in ("maxLength", "maxItems", "minimum", "maximum"):
                if keyword in schema:
                    yield pytest.param(
                        FRAMES[name].rpc.request,
                        field,
                        keyword,
                        schema[keyword],
                        id=f"{name}.{field}.{keyword}",
                    )


@pytest.mark.parametrize(("message_class", "field", "keyword", "limit"), list(bounds()))
def test_the_hub_enforces_the_limits_that_it_publishes(message_class, field, keyword, limit):
    item = {} if field in {"gpus", "models"} else "x"
    at, beyond, error = {
        "maxLength": lambda: ("x" * limit, "x" * (limit + 1), "too_long"),
        "maxItems": lambda: ([item] * limit, [item] * (limit + 1), "too_many_items"),
        "minimum": lambda: (limit, limit - 1, "out_of_range"),
        "maximum": lambda: (limit, limit + 1, "out_of_range"),
    }[keyword]()
    assert errors(message_class, field, at) == set()
    assert errors(message_class, field, beyond) == {error}
