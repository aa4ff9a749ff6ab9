"""The floor of the HTTP server: aiohttp that returns the n-th prepared file for /<n>."""

import sys
from pathlib import Path

import uvloop
from aiohttp import web

from benchmarks.servers import ready


async def _main(answers: list[bytes]) -> None:

    async def answer(request: web.Request) -> web.Response:
        body = answers[int(request.match_info["number"])]
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.add_routes([web.get("/{number}", answer)])
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ready.say(port=runner.addresses[0][1])
    await ready.until_stopped()
    await runner.cleanup()


uvloop.run(_main([Path(name).read_bytes() for name in sys.argv[1:]]))
