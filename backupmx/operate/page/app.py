"""app: what is where: pages, API, metrics, health, assets."""

from collections.abc import Awaitable, Callable
from importlib import resources

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from backupmx.operate.page import api, pages
from backupmx.operate.page.deeds import Deeds
from backupmx.operate.page.exposition import exposition
from backupmx.operate.page.openapi import document
from backupmx.operate.page.sight import Sight
from backupmx.operate.page.tokens import Tokens
from backupmx.operate.serve.lock import is_running
from backupmx.queue.entry import QueueTrouble

_KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def build(sight: Sight, deeds: Deeds, keys: Tokens) -> Starlette:
    """The application; guard.Guard goes round it."""
    described = document()

    async def openapi(request: Request) -> Response:
        return api.answer(described)

    async def healthz(request: Request) -> Response:
        """For who has no token: yes or no, and no more."""
        try:
            await sight.queue.hop_states()
            well = is_running(sight.config)
        except QueueTrouble:
            well = False
        return PlainTextResponse("ok\n" if well else "not ok\n", 200 if well else 503)

    async def metrics(request: Request) -> Response:
        try:
            told = exposition(await sight.tally(), await sight.status())
        except QueueTrouble as trouble:
            return PlainTextResponse(f"queue: {trouble}\n", 503)
        return PlainTextResponse(told.decode(), headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/metrics", metrics),
            Route("/api/openapi.json", openapi),
            *api.routes(sight, deeds),
            *_assets(),
            *pages.routes(sight, deeds, keys),
        ]
    )


def _assets() -> list[Route]:
    """The few files that are shipped, each by its name: no path leads anywhere else."""
    folder = resources.files("backupmx.operate.page").joinpath("static")
    found = []
    for file in folder.iterdir():
        kind = _KINDS.get(file.name.rpartition(".")[2])
        if kind:
            found.append(Route(f"/static/{file.name}", _asset(file.read_bytes(), kind)))
    return found


def _asset(content: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def asset(request: Request) -> Response:
        return Response(content, media_type=kind, headers={"cache-control": "private, max-age=3600"})

    return asset
