"""The dashboard's files, read once and served from memory.

The path of every file except the page contains a digest of all contents, so that a
browser may cache files forever and never mixes two versions. The page itself is
requested each time, which usually costs only a 304.
"""

import gzip
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from aiohttp import web

from hub.transports.http.responses import has_etag

_TYPES: Final = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}
_PAGE: Final = "index.html"
_BUILD_PLACEHOLDER: Final = b"{{build}}"

# Only the hub's own files and API, no inline scripts, no framing.
_CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

_PAGE_HEADERS: Final = {
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "X-Frame-Options": "DENY",
}

SECURITY_HEADERS: Final = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""The headers of every HTTP response."""


@dataclass(frozen=True, slots=True)
class _File:
    content_type: str
    body: bytes
    gzipped: bytes
    etag: str
    headers: dict[str, str]


class StaticFiles:
    """Serves the page at "/" and its files under "/dashboard/<build>/"."""

    def __init__(self) -> None:
        contents = {
            entry.name: entry.read_bytes()
            for entry in files("hub.transports.http.dashboard.page").iterdir()
            if entry.name.rpartition(".")[2] in _TYPES
        }
        self.build = _build(contents.items())
        page = contents.pop(_PAGE).replace(_BUILD_PLACEHOLDER, self.build.encode())
        self._page = _file(_PAGE, page, {"Cache-Control": "no-cache", **_PAGE_HEADERS})
        kept = {"Cache-Control": "public, max-age=31536000, immutable"}
        self._files = {name: _file(name, body, kept) for name, body in contents.items()}

    def routes(self) -> list[web.RouteDef]:
        """GET and HEAD of the page and its files."""
        return [
            web.get("/", self._get_page),
            web.get("/dashboard/{build}/{name}", self._get_file),
        ]

    async def _get_page(self, request: web.Request) -> web.Response:
        return _answer(request, self._page)

    async def _get_file(self, request: web.Request) -> web.Response:
        # A table look-up, so names such as ".." are simply not found.
        file = self._files.get(request.match_info["name"])
        if file is None or request.match_info["build"] != self.build:
            raise web.HTTPNotFound
        return _answer(request, file)


def _build(contents: Iterable[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, body in sorted(contents):
        digest.update(f"{name}\0{len(body)}\0".encode())
        digest.update(body)
    return digest.hexdigest()[:16]


def _file(name: str, body: bytes, headers: dict[str, str]) -> _File:
    return _File(
        content_type=_TYPES[name.rpartition(".")[2]],
        body=body,
        gzipped=gzip.compress(body, 9, mtime=0),
        etag=hashlib.sha256(body).hexdigest()[:32],
        headers=headers,
    )


def _answer(request: web.Request, file: _File) -> web.Response:
    zipped = "gzip" in request.headers.get("Accept-Encoding", "").lower()
    # Each encoding is a representation with its own etag (RFC 9110, section 8.8.3.3).
    etag = f"{file.etag}-gzip" if zipped else file.etag
    headers = {**file.headers, "Vary": "Accept-Encoding"}
    if has_etag(request, etag):
        response = web.Response(status=304, headers=headers)
    else:
        response = web.Response(
            body=file.gzipped if zipped else file.body,
            content_type=file.content_type,
            charset="utf-8",
            headers=headers,
        )
        if zipped:
            response.headers["Content-Encoding"] = "gzip"
    response.etag = etag
    return response
