"""An affinity key for a request to an inference server, from what the request contains. Pure.

The turns of a conversation repeat its beginning: the system prompt and the first message
of the user. A hash of them is the same in each turn and different in other conversations.
"""

import json
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

PREFIX_CHARACTERS: Final = 4096
"""How much of a prompt without messages is used, because later turns only add to its end."""

_PROMPTS: Final = ("messages", "input", "prompt", "contents")
_PROMPT: Final = re.compile(r'"(?:messages|input|prompt|contents)"\s*:\s*')
_DECODER: Final = json.JSONDecoder()
_BETWEEN: Final = re.compile(r"\s*,?\s*")
_USER_ROLES: Final = ("user",)


# Any: the body is what a caller sent.
def key_of_request(body: Mapping[str, Any]) -> str:
    """The key of a request in the form of OpenAI's, Ollama's or llama.cpp's API.

    The first of these that the body has: `prompt_cache_key`, the beginning of the prompt up to
    the first message of the user, and `user`. Empty if it has none.
    """
    explicit = body.get("prompt_cache_key")
    if isinstance(explicit, str) and explicit:
        return _key("cache", explicit)
    for name in _PROMPTS:
        prefix = _prefix(body.get(name))
        if prefix:
            system = body.get("instructions") or body.get("system")
            return _key("prompt", f"{system}\n{prefix}" if isinstance(system, str) else prefix)
    user = body.get("user")
    return _key("user", user) if isinstance(user, str) and user else ""


def key_of_head(head: bytes) -> str:
    """The key of a request by the first bytes of its body, which may be incomplete JSON.

    Empty if they contain no prompt. A head that contains the whole body has the key of
    `key_of_request`; so callers should read as much as they can spare, and the same
    amount each time.
    """
    text = head.decode("utf-8", "ignore")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    if isinstance(body, dict):
        return key_of_request(body)
    found = _PROMPT.search(text)
    if found is None:
        return ""
    prefix = _prefix(_complete_items(text, found.end()))
    return _key("prompt", prefix or text[found.end() : found.end() + PREFIX_CHARACTERS])


# Any: as above.
def _prefix(prompt: Any) -> str:
    """The beginning of a prompt that all turns share."""
    if isinstance(prompt, str):
        return prompt[:PREFIX_CHARACTERS]
    if not isinstance(prompt, list):
        return ""
    parts = []
    for message in prompt:
        parts.append(_text(message))
        if not isinstance(message, dict) or message.get("role") in _USER_ROLES:
            break
    return "\n".join(parts)


# Any: as above.
def _text(message: Any) -> str:
    if isinstance(message, dict):
        content = message.get("content", message.get("parts"))
        return f"{message.get('role')}: {json.dumps(content, sort_keys=True)}"
    return json.dumps(message, sort_keys=True)


def _complete_items(text: str, at: int) -> list[Any]:
    """The first items of an array that is cut off; empty if it is no array."""
    items: list[Any] = []
    if text[at : at + 1] != "[":
        return items
    at += 1
    while True:
        between = _BETWEEN.match(text, at)
        at = between.end() if between is not None else at
        try:
            item, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            # Without the user's message, the items are those of all conversations.
            return []
        items.append(item)
        if isinstance(item, dict) and item.get("role") in _USER_ROLES:
            return items


def _key(kind: str, text: str) -> str:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, person=kind.encode())
    return digest.hexdigest()
