"""A copy of the embedded store as the body of a response."""

import asyncio

from aiohttp import web

from hub.service.handlers.observe_hub import StoreCopy

_CHUNK_BYTES = 256 * 1024
_CHUNK_S = 30.0


async def send_copy(request: web.Request, copy: StoreCopy) -> web.StreamResponse:
    """Answers with the copy and closes it."""
    with copy.file as file:
        response = web.StreamResponse(
            headers={"Content-Disposition": 'attachment; filename="hub.db"'}
        )
        response.content_type = "application/vnd.sqlite3"
        response.content_length = copy.size
        await response.prepare(request)
        try:
            while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
                async with asyncio.timeout(_CHUNK_S):
                    await response.write(chunk)
            await response.write_eof()
        except (OSError, TimeoutError):
            # The head is sent, so only a cut connection can still signal failure.
            if request.transport is not None:
                request.transport.abort()
    return response
