import gzip
import re

import pytest
from yarl import URL

from tests.support.hub import RunningHub


async def fetch(hub: RunningHub, path: str, method: str = "GET", **headers: str):
    async with hub.session.request(
        method,
        URL(f"http://{hub.http_address}{path}", encoded=True),
        headers={"Accept-Encoding": "identity"} | headers,
        auto_decompress=False,
        allow_redirects=False,
    ) as response:
        return response.status, response.headers, await response.read()


@pytest.fixture
async def files(hub) -> list[str]:
    """The paths that the page names."""
    _, _, page = await fetch(hub, "/")
    return ["/" + path for path in re.findall(r'(?:src|href)="(dashboard/[^"]+)"', page.decode())]


async def test_the_page_needs_no_token_and_loads_nothing_foreign(hub):
    status, headers, page = await fetch(hub, "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-cache"
    assert b"{{" not in page
    assert not re.search(rb"<script>|<style|style=|\son[a-z]+=|//[a-z]", page)


async def test_files_are_cached_forever(hub, files):
    assert len(files) >= 5
    for path in files:
        status, headers, body = await fetch(hub, path)
        assert status == 200
        assert body
        assert "immutable" in headers["Cache-Control"]
        assert headers["X-Content-Type-Options"] == "nosniff"


async def test_every_import_of_a_module_is_served(hub, files):
    (entry,) = [path for path in files if path.endswith("/app.js")]
    folder, seen, wanted = entry.rpartition("/")[0], set(), {entry}
    while wanted:
        path = wanted.pop()
        seen.add(path)
        status, headers, body = await fetch(hub, path)
        assert (status, headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
        imports = re.findall(r'from "\./([^"]+)"', body.decode())
        wanted |= {f"{folder}/{name}" for name in imports} - seen
    assert len(seen) > 8


@pytest.mark.parametrize("encoding", ["identity", "gzip", "br, GZIP;q=0.9"])
async def test_a_cached_file_is_not_sent_again(hub, encoding):
    _, headers, body = await fetch(hub, "/", **{"Accept-Encoding": encoding})
    etag = headers["ETag"]
    status, again, empty = await fetch(
        hub, "/", **{"Accept-Encoding": encoding, "If-None-Match": f'"other", {etag}'}
    )
    assert (status, empty, again["ETag"]) == (304, b"", etag)
    assert again["Content-Security-Policy"] == headers["Content-Security-Policy"]
    status, _, fresh = await fetch(
        hub, "/", **{"Accept-Encoding": encoding, "If-None-Match": '"other"'}
    )
    assert (status, fresh) == (200, body)


async def test_gzip_has_its_own_etag(hub):
    _, plain, body = await fetch(hub, "/")
    _, zipped, small = await fetch(hub, "/", **{"Accept-Encoding": "gzip"})
    assert zipped["Content-Encoding"] == "gzip"
    assert gzip.decompress(small) == body
    assert zipped["ETag"] != plain["ETag"]
    assert zipped["Vary"] == plain["Vary"] == "Accept-Encoding"


async def test_head_has_the_headers_of_get(hub, files):
    for path in ("/", files[0]):
        _, got, body = await fetch(hub, path)
        status, headers, nothing = await fetch(hub, path, "HEAD")
        assert (status, nothing) == (200, b"")
        assert int(headers["Content-Length"]) == len(body)
        assert headers["ETag"] == got["ETag"]


@pytest.mark.parametrize(
    "name",
    [
        "__init__.py",
        "index.html",
        "nothing.js",
        "..%2fapp.js",
        "..%2f..%2fapp.py",
        "%2e%2e%2f%2e%2e%2fconfig.py",
        "%2fetc%2fpasswd",
        "..%5capp.py",
        "app.js%00",
        "",
    ],
)
async def test_nothing_else_is_served(hub, files, name):
    folder = files[0].rpartition("/")[0]
    status, _, body = await fetch(hub, f"{folder}/{name}")
    assert (status, body) == (404, b'{"error":"not_found"}')


async def test_files_of_another_build_are_not_found(hub):
    status, headers, _ = await fetch(hub, "/dashboard/0123456789abcdef/app.js")
    assert status == 404
    assert headers["Cache-Control"] == "no-store"
