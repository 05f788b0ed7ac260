"""The HTTP application: everything is built by `create_app`, nothing lives in globals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from lsr.core.manifest import lsr_version
from serving import http_errors, middleware
from serving.engine import Engine
from serving.forwarding import Place
from serving.routes import collections, documents, health, indexes, search, tasks
from serving.service import Service
from serving.settings import IndexSource, ServeSettings

__all__ = ["create_app"]

WEB = Path(__file__).parent / "web"

_DESCRIPTION = """\
Learned sparse retrieval: search by weighted terms, with every score explained.

Every error has one shape, `{"error": {"code", "message", "hint", "request_id"}}`; every answer
carries `X-Request-ID`, which a request may set. A body is JSON of at most 4 MiB unless the service
was told otherwise.
"""


def create_app(
    settings: ServeSettings,
    sources: Sequence[IndexSource] = (),
    *,
    engines: Sequence[Engine] = (),
    place: Place | None = None,
    on_started: Callable[[Exception | None], None] = lambda failure: None,
) -> FastAPI:
    """Return the application; its lifespan opens and warms up the indexes and closes them.

    Parameters
    ----------
    settings : ServeSettings
        How to serve.
    sources : sequence of IndexSource
        What to open at the start.
    engines : sequence of Engine
        What is open already; closed at the end too.
    place : Place, optional
        This process among those of the service, where there are several.
    on_started : callable
        Called when searches are answered, or with what keeps them from it.

    Raises
    ------
    ConfigError
        If the file of API keys cannot be used.
    """
    service = Service(settings, sources, engines, place=place)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            await service.start()
        except Exception as error:
            on_started(error)
            await service.stop()
            raise
        on_started(None)
        try:
            yield
        finally:
            await service.stop()

    app = _Application(
        title="lsr",
        version=lsr_version(),
        description=_DESCRIPTION,
        lifespan=lifespan,
        # FastAPI's pages load their scripts from a content network; ours work offline.
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.state.service = service
    for module in (search, indexes, documents, collections, tasks, health):
        app.include_router(module.router)
    _add_pages(app)
    http_errors.install(app)
    middleware.install(app, service)
    return app


class _Application(FastAPI):
    """An application whose OpenAPI document tells what the settings ask of every request."""

    def openapi(self) -> dict[str, Any]:
        """Return the document; made once."""
        if self.openapi_schema is not None:
            return self.openapi_schema
        document = super().openapi()
        service: Service = self.state.service
        if service.keys is not None:
            _document_keys(document)
        if service.limiter is not None:
            _document_limits(document)
        return document


def _document_limits(document: dict[str, Any]) -> None:
    """Say that every route under ``/v1`` may answer 429."""
    limited = http_errors.documented_limit()
    for path, methods in document["paths"].items():
        if path.startswith("/v1/"):
            for operation in methods.values():
                described = operation["responses"].setdefault("429", limited)
                described["headers"] = {
                    "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}
                }


def _document_keys(document: dict[str, Any]) -> None:
    """Say that every route but the health checks needs a key."""
    schemes = document["components"].setdefault("securitySchemes", {})
    schemes["apiKey"] = {"type": "http", "scheme": "bearer"}
    for path, methods in document["paths"].items():
        if path not in health.OPEN_PATHS:
            for operation in methods.values():
                operation["security"] = [{"apiKey": []}]


def _add_pages(app: FastAPI) -> None:
    def page(file: str) -> Any:
        async def answer() -> Response:
            # Revalidated, so that an upgrade shows at once; unchanged files answer 304.
            return FileResponse(WEB / file, headers={"Cache-Control": "no-cache"})

        return answer

    app.add_api_route("/", page("index.html"), include_in_schema=False)
    app.add_api_route("/docs", page("docs.html"), include_in_schema=False)
    app.mount("/web", StaticFiles(directory=WEB), name="web")
